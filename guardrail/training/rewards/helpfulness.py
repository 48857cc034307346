"""Who says how helpful an answer is: a model here or behind an endpoint, brought onto the scale that `mixed` bounds."""

import math
from collections.abc import Sequence
from typing import Protocol

from guardrail.conversation import Message
from guardrail.errors import EngineError, GuardError
from guardrail.training.rewards.values import Completion

Score = float | GuardError
"""A finite number, higher is better; or the error that kept it from being known."""


class HelpfulnessModel(Protocol):
    """Scores answers.

    The thinking before an answer is not shown to it: reward models were taught on answers.

    Attributes:
        identity: what scores, for logs and records.
    """

    identity: dict[str, str]

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Return a score for each completion's answer, in order."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class Scaled:
    """A model whose scores are moved and stretched: (score - offset) * scale.

    `mixed` holds scores against -5 and -10. That means something only where ordinary answers score well above them:
    of a model with scores in [0, 1] a refusal would lose five times all that helpfulness can give.
    """

    def __init__(self, model: HelpfulnessModel, offset: float, scale: float) -> None:
        """Wrap a model.

        Args:
            model: scores.
            offset: what counts as 0.
            scale: positive.
        """
        self._model, self._offset, self._scale = model, offset, scale
        self.identity = {**model.identity, "offset": f"{offset:g}", "scale": f"{scale:g}"}

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """See `HelpfulnessModel.score`."""
        return [self._scaled(score) for score in self._model.score(completions)]

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def _scaled(self, score: Score) -> Score:
        return score if isinstance(score, GuardError) else finite((score - self._offset) * self._scale)


def finite(score: float) -> Score:
    """Return the score, or an error in its place where it is no number."""
    return score if math.isfinite(score) else EngineError("the helpfulness model gave no finite score")


def chat(prompt: Sequence[Message], answer: str) -> list[dict[str, str]]:
    """Return a conversation with its answer in the form that chat templates take."""
    turns = [{"role": message.role.value, "content": message.content} for message in prompt]
    return [*turns, {"role": "assistant", "content": answer}]
