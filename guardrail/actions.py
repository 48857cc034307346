"""Actions, and how fields of policies are checked."""

from enum import StrEnum

from guardrail.errors import PolicyError


class Action(StrEnum):
    """What is done with a text: let it go, let it go but mark it, or stop it. A tool call can also wait for a person;
    who has nobody to ask treats that as a stop.
    """

    ALLOW = "allow"
    FLAG = "flag"
    ASK = "ask"
    STOP = "stop"

    @property
    def rank(self) -> int:
        """0 allow, 1 flag, 2 ask, 3 stop; higher is harder."""
        return _RANKS[self]


_RANKS = {action: rank for rank, action in enumerate(Action)}


def coerce(owner: object, /, *, optional: bool = False, **kinds: type[StrEnum]) -> None:
    """Turn fields that were given as plain strings into their enum; an optional one may be None.

    Raises:
        PolicyError: no such value; a wrong one would silently switch a protection off.
    """
    for name, kind in kinds.items():
        value = getattr(owner, name)
        if value is None and optional:
            continue
        if value not in list(kind):
            raise PolicyError(f"{name} = {value!r} is unknown; valid: {', '.join(kind)}")
        object.__setattr__(owner, name, kind(value))


def check_threshold(name: str, value: object) -> None:
    """Refuse what is neither None nor a probability.

    Raises:
        PolicyError: naming the field.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PolicyError(f"{name} = {value!r} is no number in [0, 1]")


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        PolicyError: naming the field.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PolicyError(f"{name} = {value!r} is no whole number of at least 1")
