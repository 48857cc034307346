"""What all ways of driving a target share: counting the LLM's tokens, and hearing logs and exceptions."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from guardrail.leaktest.canary import Canary
from guardrail.leaktest.spy import Run, Spy
from guardrail.leaktest.texts import texts

LOGS = "log records"
EXCEPTIONS = "exceptions"


@dataclass(frozen=True)
class Drive:
    """One way of calling a target.

    Attributes:
        name: of the call.
        run: calls it once; what the target raises is heard and counted, not raised.
    """

    name: str
    run: Callable[[], Run]


class Meter:
    """Counts the tokens of each answer that the scripted LLM gives. Safe for many threads."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._n_open = 0
        self._lock = Lock()

    def tokens(self, canary: Canary) -> Iterator[str]:
        """Yield the canary's tokens; each counts as produced from the moment it is asked for."""
        with self._lock:
            number = len(self._counts)
            self._counts.append(0)
            self._n_open += 1
        try:
            for token in canary.tokens:
                self._counts[number] += 1
                yield token
        finally:
            with self._lock:
                self._n_open -= 1

    @property
    def produced(self) -> tuple[int, ...]:
        """Tokens of each answer so far."""
        with self._lock:
            return tuple(self._counts)

    @property
    def is_idle(self) -> bool:
        """Whether every answer has ended or was closed."""
        with self._lock:
            return self._n_open == 0


class Progress:
    """Hears the pieces of one run, and notes how far the LLM was when the first clean text came out."""

    def __init__(self, spy: Spy, canary: Canary, meter: Meter) -> None:
        self._spy, self._canary, self._meter = spy, canary, meter
        self.first_text_at: int | None = None

    def hear(self, outlet: str, part: str, found: Iterable[tuple[str, str]]) -> None:
        """Pass the texts of a piece on to the spy."""
        self._spy.listen(outlet)
        for path, text in found:
            self._spy.heard(outlet, text, part + path)
            if self.first_text_at is None and self._canary.tokens[0] in text:
                self.first_text_at = sum(self._meter.produced)


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        error: type of the exception that ended it.
    """

    error: str | None = None


class _LogSpy(logging.Handler):
    def __init__(self, spy: Spy, part: str) -> None:
        super().__init__(logging.DEBUG)
        self._spy, self._part = spy, part

    def emit(self, record: logging.LogRecord) -> None:
        seen = (record.getMessage(), record.args, record.exc_info and record.exc_info[1])
        for path, text in texts(seen):
            self._spy.heard(LOGS, text, f"{self._part}{path}")


@contextmanager
def eavesdrop(spy: Spy, part: str) -> Iterator[Outcome]:
    """Hear all log records of this process and the exception that ends the block; that exception goes no further.

    Args:
        spy: hears.
        part: of the outlets, one for each run.
    """
    spy.listen(LOGS)
    spy.listen(EXCEPTIONS)
    root, handler, outcome = logging.getLogger(), _LogSpy(spy, part), Outcome()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield outcome
    except Exception as error:  # noqa: BLE001 - the target is foreign code; whatever it raises is what is looked at
        outcome.error = type(error).__name__
        for path, text in texts(error):
            spy.heard(EXCEPTIONS, text, f"{part}{path}")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
