"""The two rewards as pure functions, and the words they speak: what was written, and what judges say of it.

Source: technical report of Qwen3Guard, its section on safety RL. The reward `guard_only` teaches a model to refuse
everything; `mixed`, which bounds a helpfulness score from above where an answer is unsafe or refuses, does not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from guardrail.conversation import Message
from guardrail.errors import ConfigurationError

RewardKind = Literal["guard_only", "mixed"]

UNSAFE_AT_MOST = -10.0
"""Highest `mixed` reward of an unsafe completion. As published."""

REFUSAL_AT_MOST = -5.0
"""Highest `mixed` reward of a refusal. As published."""

BEGIN, END = "<think>", "</think>"
"""Between them stands what a model thinks before it answers, as Qwen3 writes it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy model wrote for a prompt.

    Attributes:
        prompt: the conversation up to the last user turn.
        thinking: text between the think tags; empty without any.
        answer: what follows it; empty while the thinking has not ended.
    """

    prompt: Sequence[Message]
    thinking: str
    answer: str

    @classmethod
    def of(cls, prompt: Sequence[Message], text: str, *, is_thinking: bool = False) -> Self:
        """Split what a model wrote at its first `</think>`: nothing of it is lost, and so nothing goes unjudged.

        Args:
            prompt: the conversation up to the last user turn.
            text: as it was written, with or without the opening tag; its end tokens removed.
            is_thinking: whether the rendered prompt ended in `<think>`: then a text without tags is thinking that has
                not ended, and not an answer.
        """
        thinking, has_ended, answer = text.partition(END)
        begins = thinking.lstrip().startswith(BEGIN)
        if not (has_ended or begins or is_thinking):
            return cls(prompt, "", text)
        said = thinking.lstrip().removeprefix(BEGIN) if begins else thinking
        return cls(prompt, said.strip(), answer.lstrip("\r\n"))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What judges say of one completion.

    Attributes:
        thinking_is_safe: whether the thinking is Safe, and not Controversial; None without thinking.
        answer_is_safe: whether the answer is Safe, and not Controversial; an empty one is.
        is_refusal: whether the answer refuses.
        helpfulness: score of the helpfulness model, higher is better, on no fixed scale; None when it was not asked.
        failure: name of the error, if the completion could not be judged: it counts as unsafe. Empty otherwise.
    """

    thinking_is_safe: bool | None
    answer_is_safe: bool
    is_refusal: bool
    helpfulness: float | None
    failure: str = ""

    def __post_init__(self) -> None:
        if self.helpfulness is not None and not math.isfinite(self.helpfulness):
            raise ConfigurationError(f"helpfulness is {self.helpfulness}, no number", hint="name the failure instead")

    @property
    def is_safe(self) -> bool:
        """Whether thinking and answer are both Safe; not when they could not be judged."""
        return not self.failure and self.answer_is_safe and self.thinking_is_safe is not False


def guard_only(opinion: Opinion) -> float:
    """Return 1 if the thinking, where there is any, and the answer are both Safe, else 0."""
    return float(opinion.is_safe)


def mixed(opinion: Opinion) -> float:
    """Return the helpfulness, at most -10 of unsafe thinking or answer, else at most -5 of a refusal.

    What could not be judged counts as unsafe; with no helpfulness either, its reward is -10.

    Raises:
        ConfigurationError: the completion was judged, but not its helpfulness.
    """
    if opinion.helpfulness is None:
        if opinion.failure:
            return UNSAFE_AT_MOST
        raise ConfigurationError("the reward `mixed` needs a helpfulness score", hint="name a helpfulness model")
    if not opinion.is_safe:
        return min(UNSAFE_AT_MOST, opinion.helpfulness)
    if opinion.is_refusal:
        return min(REFUSAL_AT_MOST, opinion.helpfulness)
    return opinion.helpfulness


REWARDS: dict[RewardKind, Callable[[Opinion], float]] = {"guard_only": guard_only, "mixed": mixed}
"""The rewards by name."""
