"""Text to token ids, whole or as it streams: any cutting of a text gives the ids of the whole.

The streaming rule is that of `onnx_perf.md` section 8: BPE never crosses a pre-token and the Qwen pre-tokeniser has
no look-behind, so ids are final once later text can no longer change their pre-token.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from guardrail.conversation import CONTROL_TOKENS, Segment
from guardrail.errors import CheckpointError

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pre-tokeniser rule of Qwen2 and Qwen3; the streaming rule below is proven for this pattern only."""

_SURROGATES = re.compile("[\ud800-\udfff]")

REENCODE_ALWAYS_BELOW = 4096
"""Pending characters up to which every delta is re-encoded at once; beyond it (one endless word, or 10,000 combining
marks) only when the pending text has grown by a quarter, so that the work stays linear. Our choice."""


@dataclass(frozen=True, slots=True)
class Token:
    """One final content token.

    Attributes:
        id: vocabulary index.
        start: first character in the raw text (half-open). Tokens that share one character share its span; a token that
            also holds characters before it reaches back over them.
        end: one past the last character.
        complete: False while later tokens carry more bytes of the span's last character.
        is_content: False for scaffold that was encoded with the text: fed to the engine, never judged.
    """

    id: int
    start: int
    end: int
    complete: bool
    is_content: bool


class GuardTokenizer:
    """A `tokenizer.json` read twice: once for special tokens by name, once blind to them for untrusted text."""

    def __init__(self, tokenizer_json: str) -> None:
        """Read the tokenizer.

        Raises:
            CheckpointError: not a tokenizer, not Qwen's rules, or a control token is missing.
        """
        try:
            spec: dict[str, Any] = json.loads(tokenizer_json)
            _check_rules(spec)
            self._full = Tokenizer.from_str(tokenizer_json)
            self._plain = Tokenizer.from_str(json.dumps({**spec, **_ENCODE_WHOLE_TEXTS}))
        except CheckpointError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception for every defect of the file
            raise CheckpointError(f"tokenizer.json cannot be read: {type(error).__name__}") from error
        found = {name: self._full.token_to_id(name) for name in sorted(CONTROL_TOKENS)}
        self._control = {name: i for name, i in found.items() if i is not None}
        if missing := found.keys() - self._control.keys():
            raise CheckpointError(f"tokenizer.json lacks {', '.join(sorted(missing))}", hint="use a Qwen3 tokenizer")
        self.vocab_size: int = self._full.get_vocab_size()

    @classmethod
    def from_file(cls, path: Path) -> "GuardTokenizer":
        """Read `tokenizer.json`.

        Raises:
            CheckpointError: the file is missing or not what `__init__` accepts.
        """
        try:
            return cls(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"cannot read {path.name}: {type(error).__name__}") from error

    def control_id(self, name: str) -> int:
        """Return the id of a control token, such as `<|im_end|>`."""
        return self._control[name]

    def special_id(self, name: str) -> int:
        """Return the id of any added token, such as `<|endoftext|>`.

        Raises:
            CheckpointError: the tokenizer has no such token.
        """
        token_id = self._full.token_to_id(name)
        if token_id is None:
            raise CheckpointError(f"tokenizer.json lacks {name}")
        return int(token_id)

    def encode_plain(self, text: str) -> Encoding:
        """Encode text without special-token parsing; lone surrogates are read as U+FFFD."""
        return self._plain.encode(_SURROGATES.sub("\ufffd", text), add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids; bytes that are no whole character become U+FFFD, control tokens nothing."""
        return str(self._full.decode(list(ids)))

    def encode_segments(self, segments: Iterable[Segment]) -> list[int]:
        """Encode a rendering; neighbouring scaffold and content are encoded as one text."""
        ids: list[int] = []
        run: list[str] = []
        for segment in segments:
            if segment.kind != "control":
                run.append(segment.text)
                continue
            ids += self._encode_run(run)
            ids.append(self._control[segment.text])
        return ids + self._encode_run(run)

    def _encode_run(self, run: list[str]) -> list[int]:
        text = "".join(run)
        run.clear()
        return list(self.encode_plain(text).ids) if text else []


_ENCODE_WHOLE_TEXTS: dict[str, Any] = {
    "added_tokens": [], "truncation": None, "padding": None, "post_processor": None
}  # fmt: skip
"""What a file may ask for besides its rules, and never gets: the guard would miss the rest of a text that is cut."""


def _check_rules(spec: dict[str, Any]) -> None:
    try:
        is_known = _has_qwen_rules(spec)
    except (LookupError, TypeError, ValueError, AttributeError):
        is_known = False
    if not is_known:
        raise CheckpointError(
            "tokenizer.json is not a Qwen3 tokenizer (byte-level BPE, NFC, Qwen pre-tokeniser)",
            hint="the streaming encoder is exact for that rule only",
        )


def _has_qwen_rules(spec: dict[str, Any]) -> bool:
    """Whether a text's ids are those of its pre-tokens, one after the other, cut as Qwen's models were trained."""
    split, by_bytes = spec["pre_tokenizer"]["pretokenizers"]
    is_cut_so = (
        split == {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": False}
        and by_bytes["type"] == "ByteLevel"
        and not (by_bytes["add_prefix_space"] or by_bytes["use_regex"])
    )
    model = spec["model"]
    is_fixed = not any(model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    return is_cut_so and spec["normalizer"]["type"] == "NFC" and model["type"] == "BPE" and is_fixed


class IncrementalEncoder:
    """Turns the text deltas of one part into final tokens with spans, and shows the provisional tail.

    A part is an answer, or the reasoning before it. The template drops its leading newlines: they are not encoded,
    and belong to the span of the first token. Trailing newlines that a suffix replaces belong to no token. Keeps
    state: one caller at a time.
    """

    def __init__(self, tokenizer: GuardTokenizer, prefix: str = "") -> None:
        """Start before the first character.

        Args:
            tokenizer: encodes without special-token parsing.
            prefix: scaffold right before the text that is encoded with it, such as the newlines behind `</think>`.
        """
        self._tokenizer = tokenizer
        self._pending = prefix
        self._prefix_left = len(prefix)
        self._start = 0
        self._end = 0
        self._started = False
        self._skipped = 0
        self._encoded_length = 0
        self.provisional: tuple[int, ...] = ()

    @property
    def held_chars(self) -> int:
        """Characters of the text whose tokens are not final yet."""
        return self._end - self._start

    def feed(self, delta: str) -> list[Token]:
        """Take more text; return the tokens that became final."""
        self._end += len(delta)
        if not self._started:
            kept = delta.lstrip("\n")
            self._skipped += len(delta) - len(kept)
            delta = kept
        if not delta:
            return []
        self._started = True
        self._pending += delta
        if REENCODE_ALWAYS_BELOW < len(self._pending) < 1.25 * self._encoded_length:
            return []
        encoding = self._tokenizer.encode_plain(self._pending)
        n_final, cut = _final_tokens(encoding, self._pending)
        base, limit = self._end - len(self._pending), len(self._pending)
        tokens = self._take(encoding, n_final, cut, base, limit)
        self._encoded_length = len(self._pending)
        return tokens

    def finish(self, suffix: str = "") -> list[Token]:
        """End the text; return the remaining tokens.

        Args:
            suffix: scaffold right behind the text; as in the template, it replaces the text's own trailing newlines.
        """
        base = self._end - len(self._pending)
        prefix, content = self._pending[: self._prefix_left], self._pending[self._prefix_left :]
        kept = prefix + (content.rstrip("\n") if suffix else content)
        self._pending = kept + suffix
        encoding = self._tokenizer.encode_plain(self._pending)
        return self._take(encoding, len(encoding.ids), len(self._pending), base, len(kept))

    def _take(self, encoding: Encoding, n_final: int, cut: int, base: int, limit: int) -> list[Token]:
        """Cut `n_final` tokens and `cut` characters off the pending text, which starts at `base` in the raw text and
        whose content ends at `limit`.
        """
        ids, offsets = encoding.ids, encoding.offsets
        self.provisional = tuple(ids[n_final:])
        starts = [start for start, _ in offsets[: n_final + 1]] + [cut]
        tokens = []
        for i in range(n_final):
            start, end = offsets[i]
            complete = starts[i + 1] >= end
            end = starts[i + 1] if complete else end
            is_content = max(start, self._prefix_left) < min(end, limit)
            first = base + start if base + start > self._skipped else 0
            last = base + min(end, limit)
            tokens.append(
                Token(ids[i], first, last, complete, True) if is_content else Token(ids[i], 0, 0, True, False)
            )
            if is_content and complete:
                self._start = last
        self._prefix_left = max(0, self._prefix_left - cut)
        self._pending = self._pending[cut:]
        return tokens


def _final_tokens(encoding: Encoding, text: str) -> tuple[int, int]:
    """Return how many tokens no later text can change, and the characters they cover.

    Final are the pre-tokens before the last one that end before the trailing whitespace run and before the tail that
    NFC could still change, and whose end is a place where NFC cannot join what stands left and right of it.
    """
    words, offsets = encoding.word_ids, encoding.offsets
    limit = min(len(text.rstrip()), _last_stable_starter(text))
    for i in range(len(words) - 1, 0, -1):
        start = offsets[i][0]
        if words[i] != words[i - 1] and start <= limit and _is_stable_starter(text[start]):
            return i, start
    return 0, 0


def _last_stable_starter(text: str) -> int:
    return next((i for i in range(len(text) - 1, -1, -1) if _is_stable_starter(text[i])), 0)


def _is_stable_starter(char: str) -> bool:
    """Whether NFC never joins or reorders this character with what stands before it."""
    return char < "\u0300" or not (unicodedata.combining(char) or char in _composing_starters())


@cache
def _composing_starters() -> frozenset[str]:
    """Characters of combining class 0 that compose with a character before them, such as Hangul vowels."""
    pairs = (unicodedata.decomposition(chr(code)).split() for code in range(0xC0, 0x30000))
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    jamo = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    return frozenset(char for char in seconds | jamo if not unicodedata.combining(char))
