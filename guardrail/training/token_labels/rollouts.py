"""Rollouts: how models are asked to write on from the beginning of an answer, and how their texts are judged."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from guardrail.conversation import ANSWER_HEADER, EMPTY_THINKING, Message, Role, Segment, render
from guardrail.generative.endpoint import STOP
from guardrail.generative.spoofing import without_control
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Ask, Call
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.sent import ended
from guardrail.training.token_labels.settings import RolloutSettings, TokenLabelsSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Vote:
    """What a guard says of the rollouts from one place.

    Attributes:
        n_risky: rollouts judged unsafe or controversial.
        n_judged: rollouts whose judgement could be read.
        n_rollouts: all of them.
    """

    n_risky: int
    n_judged: int
    n_rollouts: int

    @property
    def share(self) -> float:
        """Risky ones among the judged ones, in [0, 1]; 0 where none was."""
        return self.n_risky / self.n_judged if self.n_judged else 0.0

    def has_enough(self, min_judged: float) -> bool:
        """Whether at least that share of the rollouts was judged, and one of them at all."""
        return self.n_judged >= max(1.0, min_judged * self.n_rollouts)


async def vote_on(
    context: Sequence[Message], beginning: str, settings: TokenLabelsSettings, prompts: Prompts, ask: Ask
) -> Vote:
    """Have every model write on from the beginning of an answer, and a guard judge beginning and rollout as one.

    Raises:
        CallRefused: one of the calls was; all of them have ended.
        EngineError: likewise, a model cannot be asked now.
    """
    calls = [rollout_call(model, context, beginning, prompts) for model in settings.rollouts]
    replies = await together(ask(call) for call in calls)
    texts = Counter(
        ended(text.text, call.stop)[0] for call, reply in zip(calls, replies, strict=True) for text in reply.texts
    )
    conversations = [(*context, Message(Role.ASSISTANT, beginning + text)) for text in texts]
    answers = await together(judge(ask, settings.guard, conversation) for conversation in conversations)
    judged = [(answer, n) for answer, n in zip(answers, texts.values(), strict=True) if answer is not None]
    n_risky = sum(n for answer, n in judged if answer.risk is not RiskLevel.SAFE)
    return Vote(n_risky, sum(n for _, n in judged), texts.total())


def rollout_call(model: RolloutSettings, context: Sequence[Message], beginning: str, prompts: Prompts) -> Call:
    """Return the call that brings all rollouts of one model; they are exchangeable, so one request asks for all."""
    sampling = Call(
        model.model, n=model.samples, max_tokens=model.max_tokens, temperature=model.temperature, top_p=model.top_p
    )
    if model.form == "chat":
        return replace(sampling, messages=(*context, Message(Role.ASSISTANT, beginning)))
    if model.form == "chatml":
        return replace(sampling, form="completion", prompt=_chatml(context, beginning), stop=tuple(STOP))
    prompt = _transcript(context, beginning, prompts)
    return replace(sampling, form="completion", prompt=prompt, stop=(prompts.fill("transcript_stop"),))


def _transcript(context: Sequence[Message], beginning: str, prompts: Prompts) -> str:
    turns = [prompts.fill(f"transcript_{message.role.value}", text=message.content) for message in context]
    return "".join([*turns, prompts.fill("transcript_beginning", text=beginning)])


def _chatml(context: Sequence[Message], beginning: str) -> str:
    opening = (*render(context), *ANSWER_HEADER, *EMPTY_THINKING, Segment(beginning, "content"))
    return "".join(without_control(part.text) if part.kind == "content" else part.text for part in opening)


async def together(questions: Iterable[Awaitable[T]]) -> list[T]:
    """Return all answers, in order, once every question has ended; if some failed, the first failure is raised.

    None is left under way, so that what was asked does not depend on which failure came first.
    """
    found = await asyncio.gather(*questions, return_exceptions=True)
    answers: list[T] = []
    for one in found:
        if isinstance(one, BaseException):
            raise one
        answers.append(one)
    return answers
