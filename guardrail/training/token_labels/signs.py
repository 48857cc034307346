"""What is asked about one answer: its places are read by a judge and rolled out, each question once."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from guardrail.conversation import Message, Role
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.answers import ask_json
from guardrail.training.recipe.calls import Ask, Call, Reply
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.token_labels.places import Place
from guardrail.training.token_labels.rollouts import Vote, vote_on
from guardrail.training.token_labels.settings import TokenLabelsSettings


class Reading(BaseModel):
    """What the judge answers, as JSON."""

    risk: Literal["safe", "controversial", "unsafe"]


@dataclass(slots=True)
class Tally:
    """Asks, and counts what was asked by model: calls and tokens, whether they came from the cache or not.

    A function of the calls and answers alone, so that a run that was resumed counts the same.
    """

    ask: Ask
    counts: Counter[str] = field(default_factory=Counter)

    async def __call__(self, call: Call) -> Reply:
        """See `Ask`."""
        self.counts[f"calls: {call.model}"] += 1
        reply = await self.ask(call)
        self.counts[f"tokens read: {call.model}"] += reply.n_input
        self.counts[f"tokens written: {call.model}"] += reply.n_output
        return reply


@dataclass(slots=True)
class AnswerSigns:
    """The signs of one answer; implements `search.Signs`. For one search, one caller at a time.

    Attributes:
        context: the turns before the answer, without their thinking.
        text: the answer; its thinking is neither rolled out nor judged.
        places: where it may be cut.
        settings: of the stage.
        prompts: of the stage.
        tally: asks and counts.
        votes: what the rollouts came to, by index of the place.
    """

    context: Sequence[Message]
    text: str
    places: Sequence[Place]
    settings: TokenLabelsSettings
    prompts: Prompts
    tally: Tally
    votes: dict[int, Vote] = field(default_factory=dict)
    _readings: dict[int, bool] = field(default_factory=dict)

    async def is_risky(self, place: int) -> bool:
        """See `Signs`; an answer of the judge that cannot be read does not agree, and is counted."""
        if self.settings.rule == "rollouts":
            return True
        if place not in self._readings:
            self.tally.counts["places read by the judge"] += 1
            risk = await self._read(self.text[: self.places[place].end])
            self.tally.counts["unreadable answers of the judge"] += risk is None
            self._readings[place] = risk is not None and risk is not RiskLevel.SAFE
        return self._readings[place]

    async def leads_to_risk(self, place: int) -> bool:
        """See `Signs`; where too few judgements can be read, the place does not qualify, and is counted."""
        if self.settings.rule == "judge":
            return True
        if place not in self.votes:
            self.votes[place] = await self._vote(self.text[: self.places[place].end])
        vote = self.votes[place]
        return vote.has_enough(self.settings.min_judged) and vote.share >= self.settings.threshold

    async def _vote(self, beginning: str) -> Vote:
        vote = await vote_on(self.context, beginning, self.settings, self.prompts, self.tally)
        self.tally.counts.update(
            {
                "places rolled out": 1,
                "rollouts": vote.n_rollouts,
                "unreadable judgements of rollouts": vote.n_rollouts - vote.n_judged,
                "places with too few judgements": int(not vote.has_enough(self.settings.min_judged)),
            }
        )
        return vote

    async def _read(self, beginning: str) -> RiskLevel | None:
        """Return what the judge says of a beginning; None if that cannot be read."""
        settings = self.settings
        if settings.judge_form == "guard":
            answer = await judge(self.tally, settings.judge, (*self.context, Message(Role.ASSISTANT, beginning)))
            return answer.risk if answer else None
        turns = [{"role": message.role.value, "content": message.content} for message in self.context]
        shown = {"conversation": _json(turns), "beginning": _json(beginning)}
        asked = (
            Message(Role.SYSTEM, self.prompts.fill("judge_system").strip()),
            Message(Role.USER, self.prompts.fill("judge_user", **shown).strip()),
        )
        found = await ask_json(
            self.tally, Call(settings.judge, messages=asked, max_tokens=settings.judge_tokens), Reading
        )
        return RiskLevel(found.risk.capitalize()) if found else None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
