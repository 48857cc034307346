"""Rules for tools: which calls pass, are read or wait for a person, and what becomes of a poisoned result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from guardrail.actions import Action, coerce
from guardrail.errors import PolicyError


class Trust(StrEnum):
    """How a tool is treated: it passes unread, it is read, or a person is always asked."""

    TRUSTED = "trusted"
    READ = "read"
    ASK = "ask"


class OnResult(StrEnum):
    """What stands in the place of a stopped result: a message, or its harmless passages with the others marked."""

    WITHHOLD = "withhold"
    EXTRACT = "extract"


@dataclass(frozen=True, slots=True)
class ToolRule:
    """How one tool is treated.

    Attributes:
        call: its calls; "ask" always asks a person, and the call is read all the same.
        result: its results, "trusted" or "read".
    """

    call: Trust = Trust.READ
    result: Trust = Trust.READ

    def __post_init__(self) -> None:
        coerce(self, call=Trust, result=Trust)
        if self.result is Trust.ASK:
            raise PolicyError("result = 'ask' is unknown; valid: trusted, read")


@dataclass(frozen=True, slots=True)
class ToolRules:
    """How tools are treated.

    Attributes:
        default: for tools that have no rule of their own.
        names: rules by tool name; a name may be a pattern with * and ?, and the first that fits counts.
        controversial: action at a Controversial call; None takes that of answers.
        on_result: what becomes of a stopped result.
    """

    default: ToolRule = field(default_factory=ToolRule)
    names: Mapping[str, ToolRule] = field(default_factory=dict)
    controversial: Action | None = None
    on_result: OnResult = OnResult.WITHHOLD

    def __post_init__(self) -> None:
        coerce(self, optional=True, controversial=Action)
        coerce(self, on_result=OnResult)

    def rule(self, name: str) -> ToolRule:
        """Return the rule for a tool."""
        return next((rule for pattern, rule in self.names.items() if fnmatchcase(name, pattern)), self.default)
