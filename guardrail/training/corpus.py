"""Plain text for pre-training: documents from files, conversations rendered as the guard will see them."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.conversation import Message, Role, render
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import entry_name, read_entries

_TURN = re.compile(r"^(User|Assistant|Tool|System): ?", re.MULTILINE)
_ROLES = {"User": Role.USER, "Assistant": Role.ASSISTANT, "Tool": Role.TOOL, "System": Role.SYSTEM}

_MOST_IDS = 1 << 16

HELD_OUT_BUCKETS = 50
"""One document family in this many is held out of training, by the hash of its first words. Our choice."""


def read_objects(path: Path, needed: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file, gzipped or not, or the rows of a Parquet file; blank lines are passed over.

    Raises:
        ConfigurationError: no such file, damaged data, or a line (named by number) that is no JSON object or lacks a
            needed key.
    """
    if not path.is_file():
        raise ConfigurationError(f"no data file {path.name}", hint="set data_dir to the folder that holds it")
    for number, entry in read_entries(path):
        where = f"{path.name}, {entry_name(entry)} {number}"
        try:
            row = json.loads(entry) if isinstance(entry, bytes) else entry
        except ValueError as error:
            raise ConfigurationError(f"{where}: not JSON") from error
        if not isinstance(row, dict):
            raise ConfigurationError(f"{where}: not an object")
        if missing := [key for key in needed if key not in row]:
            raise ConfigurationError(f"{where}: lacks {', '.join(missing)}")
        yield row


def is_held_out(text: str) -> bool:
    """Whether a family of texts (same first 60 normalised characters) is kept for validation, everywhere alike."""
    head = re.sub(r"\W+", " ", text.lower())[:60].strip()
    return int.from_bytes(hashlib.blake2b(head.encode(), digest_size=4).digest(), "big") % HELD_OUT_BUCKETS == 0


def family_of(messages: Sequence[Message]) -> str:
    """Return the text whose hash decides whether a row is held out: the first user message, else the last message."""
    return next((message.content for message in messages if message.role is Role.USER), messages[-1].content)


def to_turns(text: str) -> list[Message] | None:
    """Return the messages of a text written as `User:` and `Assistant:` lines; None if it is no conversation."""
    marks = list(_TURN.finditer(text))
    if not marks or marks[0].start():
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [Message(_ROLES[mark[1]], text[mark.end() : end].strip("\n")) for mark, end in zip(marks, ends, strict=True)]


def encode_document(tokenizer: GuardTokenizer, text: str) -> list[int]:
    """Encode a document; a conversation becomes chat turns, so that the scaffold's tokens are learned too."""
    turns = to_turns(text)
    return tokenizer.encode_segments(render(turns)) if turns else list(tokenizer.encode_plain(text).ids)


def documents(path: Path, max_chars: int, seed: int) -> Iterator[str]:
    """Yield a random selection of a file's documents, `max_chars` characters in all, without the held-out families."""
    texts = [row["text"] for row in read_objects(path, ("text",))]
    used = 0
    for i in np.random.default_rng(seed).permutation(len(texts)):
        if is_held_out(_family(texts[i])):
            continue
        used += len(texts[i])
        if used > max_chars:
            return
        yield texts[i]


def _family(text: str) -> str:
    """Return what decides whether a document is held out: as for labelled rows the first user message, whole; the
    first line of a text that is no conversation.
    """
    turns = to_turns(text) or ()
    return next((turn.content for turn in turns if turn.role is Role.USER), text.partition("\n")[0])


def pack(
    tokenizer: GuardTokenizer,
    files: dict[str, int],
    data_dir: Path,
    end_id: int,
    seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> NDArray[np.uint16]:
    """Encode a selection of every file and return the documents, shuffled, as one row of ids ended by `end_id`.

    Args:
        tokenizer: encodes.
        files: file name -> characters taken from it.
        data_dir: folder of the files.
        end_id: closes each document.
        seed: of the selection and the order.
        progress: is told the characters of each document that has been encoded.

    Raises:
        ConfigurationError: the files hold no document to train on, or the vocabulary is too large for 16-bit ids.
    """
    if tokenizer.vocab_size > _MOST_IDS:
        raise ConfigurationError(
            f"a vocabulary of {tokenizer.vocab_size} tokens does not fit the packed corpus, which holds {_MOST_IDS}"
        )
    encoded = []
    for name, max_chars in files.items():
        for text in documents(data_dir / name, max_chars, seed):
            encoded.append(np.asarray([*encode_document(tokenizer, text), end_id], np.uint16))
            progress(len(text))
    if not encoded:
        raise ConfigurationError("no documents to train on", hint="each must be shorter than its file's characters")
    order = np.random.default_rng(seed).permutation(len(encoded))
    return np.concatenate([encoded[i] for i in order])
