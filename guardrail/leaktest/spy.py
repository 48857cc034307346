"""The spy: hears what comes out of every outlet, and looks in it for what should have been withheld."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from guardrail.leaktest.canary import Canary
from guardrail.leaktest.search import clean_chars, leaked

_NUMBER = re.compile(r"\.\d+")


@dataclass(frozen=True)
class Outlet:
    """What one outlet let out.

    Attributes:
        name: of the outlet.
        n_heard: texts heard there.
        clean_chars: characters of the clean text that came out, from its beginning.
        leaked_chars: characters that came out and should have been withheld.
        leaked_tokens: tokens of the LLM that hold these characters: how many tokens late the stop came here.
    """

    name: str
    n_heard: int
    clean_chars: int
    leaked_chars: int
    leaked_tokens: int

    @property
    def leaks(self) -> bool:
        """Whether anything came out that should have been withheld."""
        return self.leaked_chars > 0


@dataclass(frozen=True)
class Run:
    """One way of calling the target, and what the LLM did meanwhile.

    Attributes:
        name: of the call.
        produced: tokens that each call of the LLM had produced when it ended or was closed.
        first_text_at: tokens that the LLM had produced when the first clean text came out; None if none came out.
        error: type of the exception that ended the run.
    """

    name: str
    produced: tuple[int, ...] = ()
    first_text_at: int | None = None
    error: str | None = None

    def n_after_marker(self, canary: Canary) -> int:
        """Tokens that the LLM still produced after the first one that belongs to the marker."""
        return sum(max(0, n - canary.n_tokens_to_marker) for n in self.produced)

    def n_saved(self, canary: Canary) -> int:
        """Tokens that the LLM was spared."""
        return sum(len(canary.tokens) - n for n in self.produced)

    @property
    def was_tried(self) -> bool:
        """Whether the LLM wrote anything; else the run proves nothing about the guard of the answer."""
        return any(self.produced)


class Spy:
    """Remembers what was heard. Safe for many threads and tasks."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[str, list[str]]] = {}
        self._lock = Lock()

    def heard(self, outlet: str, text: str, part: str = "") -> None:
        """Remember a text that came out.

        Args:
            outlet: where; names are the caller's.
            text: what.
            part: texts of the same part of an outlet are joined in their order, so that a passage in pieces is found:
                name a part for each conversation, and for each field of an event. Numbers in it (`content.0.text`)
                are positions in lists; texts are joined with and without regard to them.
        """
        with self._lock:
            self._heard.setdefault(outlet, {}).setdefault(part, []).append(text)

    def listen(self, outlet: str) -> None:
        """Name an outlet that is watched, so that it is reported even if nothing is ever heard there."""
        with self._lock:
            self._heard.setdefault(outlet, {})

    def texts(self, outlet: str) -> tuple[str, ...]:
        """Return the joined text of each part of an outlet."""
        with self._lock:
            parts = {part: tuple(texts) for part, texts in self._heard.get(outlet, {}).items()}
        return tuple({*map("".join, parts.values()), *_joined_over_lists(parts)})

    @property
    def outlets(self) -> tuple[str, ...]:
        """The outlets watched so far, in the order of their first text."""
        with self._lock:
            return tuple(self._heard)

    def leaks(self, canary: Canary) -> tuple[Outlet, ...]:
        """Return what each outlet let out, clean ones too."""
        return tuple(self._report(outlet, canary) for outlet in self.outlets)

    def _report(self, outlet: str, canary: Canary) -> Outlet:
        found: set[int] = set()
        n_clean = 0
        for text in self.texts(outlet):
            found |= leaked(text, canary)
            n_clean = max(n_clean, clean_chars(text, canary))
        with self._lock:
            n_heard = sum(map(len, self._heard[outlet].values()))
        return Outlet(outlet, n_heard, n_clean, len(found), canary.n_tokens_of(found))


def _joined_over_lists(parts: dict[str, tuple[str, ...]]) -> Iterable[str]:
    """Join the texts of parts that differ only in their positions in lists."""
    merged: dict[str, list[str]] = {}
    for part, texts in parts.items():
        merged.setdefault(_NUMBER.sub("", part), []).extend(texts)
    return map("".join, merged.values())
