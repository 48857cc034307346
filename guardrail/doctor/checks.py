"""One line of the doctor's findings: what was looked at, how it stands, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How something stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and what was found.

    Attributes:
        name: of what was looked at; stable.
        state: how it stands; one that failed makes the package unusable as asked.
        detail: what was found, in a line; never text that was judged, never a secret.
        advice: what to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    detail: str
    advice: str = ""


def ok(name: str, detail: str) -> Check:
    """Return a check that found nothing to mend."""
    return Check(name, State.OK, detail)


def warning(name: str, detail: str, advice: str) -> Check:
    """Return a check after which everything works, though not as well as it could."""
    return Check(name, State.WARNING, detail, advice)


def failed(name: str, detail: str, advice: str) -> Check:
    """Return a check after which something that was asked for does not work."""
    return Check(name, State.FAILED, detail, advice)


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line, of bounded length; foreign libraries write whole pages."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]} ..."


_MOST_CHARS = 300
"""Longest message that is shown; our own choice."""
