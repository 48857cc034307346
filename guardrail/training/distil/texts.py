"""The texts that are distilled: units of plain documents, and the messages of labelled rows, rendered as turns."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.conversation import ANSWER_HEADER, EMPTY_THINKING, Message, Role, render_prompt, to_messages
from guardrail.encoding import GuardTokenizer
from guardrail.training.corpus import documents, family_of, is_held_out, read_objects, to_turns
from guardrail.training.distil.settings import DistilSettings
from guardrail.training.examples import select_rows
from guardrail.training.lengths import cut_middle

UNIT_CHARS = (20, 60, 120, 200)
"""Sentences are joined until a length drawn from these is reached. Our choice: lengths of prompts differ as much."""

MOST_CHARS = 400
UNITS_OF_A_DOCUMENT = 6
PROMPT_SHARE = 0.35
"""Share of the units of prose and of answers that are learned as a user's turn all the same. Ours."""

SEEN_CHARS = 25
"""A text counts as met where its first characters, normalised, occur. Our choice."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


class Place(Enum):
    """Where a text stands in a conversation."""

    PROMPT = "prompt"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Unit:
    """A text to learn from.

    Attributes:
        text: a few sentences, or a whole message.
        place: where it stands in a conversation.
        is_plain: whether it is from a plain document, and not a message of a labelled row.
    """

    text: str
    place: Place
    is_plain: bool = False


class Unseen:
    """Texts that must not be learned from, because they are measured on."""

    def __init__(self, texts: Iterable[str]) -> None:
        normal = [_normal(text) for text in texts]
        self._whole = set(normal)
        self._openings = {text[:SEEN_CHARS] for text in normal if len(text) >= SEEN_CHARS}

    def is_in(self, text: str) -> bool:
        """Whether a text is one of them, or holds the opening of one."""
        normal = _normal(text)
        last = len(normal) - SEEN_CHARS + 1
        return normal in self._whole or any(normal[i : i + SEEN_CHARS] in self._openings for i in range(last))


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def read_units(settings: DistilSettings) -> Iterator[Unit]:
    """Yield all units, each text once: the labelled rows' messages first.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    unseen = Unseen(_messages(settings.data_dir / name for name in settings.unseen))
    met: set[str] = set()
    for unit in _all_units(settings):
        if unit.text in met or unseen.is_in(unit.text):
            continue
        met.add(unit.text)
        yield unit


def _all_units(settings: DistilSettings) -> Iterator[Unit]:
    for name, source in settings.sources.items():
        for row in select_rows(settings.data_dir / name, source, settings.seed):
            yield from _of_row(row)
    for name, most in settings.files.items():
        yield from islice(_of_file(settings.data_dir / name, settings.seed), most)


def _messages(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        for row in read_objects(path, ("messages",)):
            yield from (message.content for message in to_messages(row["messages"]))


def _of_row(row: Mapping[str, Any]) -> Iterator[Unit]:
    messages = to_messages(row["messages"])
    if is_held_out(family_of(messages)):
        return
    if row["target"] == "response":
        yield from (Unit(m.content, Place.PROMPT) for m in messages if m.role is Role.USER and m.content.strip())
    place = Place.ANSWER if row["target"] == "response" else Place.PROMPT
    if messages[-1].content.strip():
        yield Unit(messages[-1].content, place)


def _of_file(path: Path, seed: int) -> Iterator[Unit]:
    rng = np.random.default_rng(seed)
    for text in documents(path, sys.maxsize, seed):
        units = list(cut_document(text, rng))
        yield from (units[i] for i in rng.permutation(len(units))[:UNITS_OF_A_DOCUMENT])


def cut_document(text: str, rng: np.random.Generator) -> Iterator[Unit]:
    """Yield a document's units: its sentences, a few at a time, never across the turns of a conversation."""
    for message in to_turns(text) or [Message(Role.ASSISTANT, text)]:
        is_prompt = message.role is Role.USER or rng.random() < PROMPT_SHARE
        place = Place.PROMPT if is_prompt else Place.ANSWER
        unit = ""
        for sentence in filter(None, map(str.strip, _SENTENCE_END.split(message.content))):
            unit = f"{unit} {sentence}".strip()
            if len(unit) >= rng.choice(UNIT_CHARS):
                yield Unit(unit[:MOST_CHARS], place, is_plain=True)
                unit = ""
        if unit:
            yield Unit(unit[:MOST_CHARS], place, is_plain=True)


class Framing:
    """Encodes units as the turns in which they are judged."""

    def __init__(self, tokenizer: GuardTokenizer, max_length: int) -> None:
        self._tokenizer, self._most = tokenizer, max_length
        self._answer = tokenizer.encode_segments([*ANSWER_HEADER, *EMPTY_THINKING])
        turn = render_prompt([Message(Role.USER, "")])
        ids = tokenizer.encode_segments(turn)
        end = len(ids) - 1
        self._before, self._after = ids[:end], ids[end:]

    def encode(self, unit: Unit) -> tuple[list[int], int]:
        """Return a unit's ids, and how many of them stand before its text."""
        ids = cut_middle(self._tokenizer.encode_plain(unit.text.strip()).ids, self._most, self._most * 2 // 3)
        if unit.place is Place.ANSWER:
            return [*self._answer, *ids], len(self._answer)
        return [*self._before, *ids, *self._after], len(self._before)
