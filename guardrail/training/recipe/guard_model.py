"""A guard that runs here, asked as a judge: whichever Qwen3Guard it is, it answers in the words of Qwen3Guard-Gen."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused, ConversationError, EngineError
from guardrail.generative.parsing import NO_CATEGORY
from guardrail.guard import Guard
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.identity import DEFAULT_GUARD
from guardrail.training.recipe.settings import ModelSettings
from guardrail.verdict import TokenVerdict, Verdict

RUN = 2
"""Tokens in a row that must be risky before an answer is, as published for Stream models."""


class GuardModel:
    """Judges the last turn of a conversation; see `Model`. Of an answer, what was said is judged, not the thinking
    before it. For one event loop. It counts no tokens.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Load the guard: the embedded one, a checkpoint, or an exported folder.

        Raises:
            GuardError: as `Guard.load`.
        """
        if settings.model == DEFAULT_GUARD:
            self._guard = Guard.default()
        else:
            is_folder = Path(settings.model).is_dir()
            self._guard = Guard.load(settings.model, revision=None if is_folder else settings.revision or None)

    async def ask(self, call: Call, key: bytes) -> Reply:  # noqa: ARG002  # the protocol's: nothing is drawn here
        """Return the verdict on the last turn, as text, by the most probable level.

        Raises:
            CallRefused: the conversation cannot be rendered.
            EngineError: the call is no guard's.
        """
        if call.form != "guard" or not call.messages:
            raise EngineError("a guard judges conversations, and nothing else", hint='ask it with form "guard"')
        try:
            text = await self._judge(call.messages)
        except ConversationError as error:
            raise CallRefused(str(error)) from error
        return Reply((Text(text),) * call.n)

    async def close(self) -> None:
        """Close the guard."""
        self._guard.close()

    async def _judge(self, messages: Sequence[Message]) -> str:
        last = messages[-1]
        if last.role is not Role.ASSISTANT:
            return written(await self._guard.ajudge_prompt(messages), is_response=False)
        tokens = await self._guard.ajudge_response(messages[:-1], last.content)
        if not tokens:
            raise CallRefused("the answer has no text to judge")
        return written(worst_of(tokens), is_response=True)


def worst_of(tokens: Sequence[TokenVerdict]) -> Verdict | None:
    """Return the verdict that stands for an answer; None where it is safe.

    Of a Gen model, the last one, which is on the whole answer. Of a Stream model, that of the second of two risky
    tokens in a row: two Unsafe ones if there are any, as in the published evaluation; else any two, which is
    Controversial. An answer of one token is that token's.
    """
    if tokens[-1].is_whole or len(tokens) < RUN:
        return tokens[-1].verdict
    pairs = [(one, two) for one, two in pairwise(tokens) if one.risk.rank and two.risk.rank]
    unsafe = [two for one, two in pairs if one.risk is two.risk is RiskLevel.UNSAFE]
    mixed = [one if one.risk is RiskLevel.CONTROVERSIAL else two for one, two in pairs]
    return next((token.verdict for token in (*unsafe, *mixed)), None)


def written(verdict: Verdict | None, *, is_response: bool) -> str:
    """Return a verdict as Qwen3Guard-Gen writes it; a model that knows no refusals says "No"."""
    risk = verdict.risk if verdict else RiskLevel.SAFE
    category = (verdict.category if verdict else None) or NO_CATEGORY
    lines = [f"Safety: {risk.value}", f"Categories: {category}"]
    if is_response:
        lines.append(f"Refusal: {'Yes' if verdict and verdict.refusal else 'No'}")
    return "\n".join(lines)
