"""What is read a second time with its disguises undone: part of a policy."""

from dataclasses import dataclass

from guardrail.errors import PolicyError


@dataclass(frozen=True, slots=True)
class NormaliseRules:
    """Which texts the model also reads as their normalised twin; the worse of both verdicts counts.

    Attributes:
        prompts: whether prompts, tool results and documents are.
        answers: whether answers and tool calls are.
    """

    prompts: bool = False
    answers: bool = False

    def __post_init__(self) -> None:
        for name, value in (("prompts", self.prompts), ("answers", self.answers)):
            if not isinstance(value, bool):
                raise PolicyError(f"normalise: {name} = {value!r} is neither true nor false")
