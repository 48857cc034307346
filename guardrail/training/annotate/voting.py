"""One row's votes: each annotator is asked once; what it cannot say, or says against its own format, is no vote."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, create_model, model_validator

from guardrail.conversation import Message, Role, judged_prompts
from guardrail.decision import Direction
from guardrail.errors import CallRefused
from guardrail.generative.parsing import Answer
from guardrail.taxonomy import DEFINITIONS, PROMPT_LABELS, RESPONSE_LABELS, Category, LabelSet, RiskLevel
from guardrail.training.recipe.answers import ask_json
from guardrail.training.recipe.calls import Ask, Call
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Made

VOTES = "votes"
"""Name in a row's `meta`; what a source kept there moves to `SOURCE_VOTES`."""

SOURCE_VOTES = "source_votes"


class Vote(TypedDict):
    """What an annotator said, as `meta` holds it."""

    risk: str
    categories: list[str]
    refusal: bool | None


class _Label(BaseModel):
    """An annotator's answer; contradictions are refused, as those of Qwen3Guard-Gen are."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    risk: RiskLevel
    categories: list[str]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.risk is RiskLevel.SAFE) != (not self.categories):
            raise ValueError("categories must be empty for Safe and name at least one otherwise")
        return self


def _label_of(name: str, labels: LabelSet, **more: Any) -> type[_Label]:
    """Return the form of an answer: the schema that servers are sent names the categories that there are."""
    literal: Any = Literal  # of names that are known at run time only
    return create_model(name, __base__=_Label, categories=(list[literal[labels.categories]], ...), **more)


PromptLabel = _label_of("PromptLabel", PROMPT_LABELS)
ResponseLabel = _label_of("ResponseLabel", RESPONSE_LABELS, refusal=(bool, ...))


@dataclass(frozen=True, slots=True)
class Annotator:
    """One voice of the panel, ready to be asked.

    Attributes:
        name: within the panel.
        model: its name in the recipe.
        prompts: what it is told; None for a guard, which knows its policy.
        max_tokens: most tokens of its answer.
    """

    name: str
    model: str
    prompts: Prompts | None
    max_tokens: int

    async def vote(self, row: RecipeRow, ask: Ask) -> Vote | None:
        """Return what it says of a row; None if that cannot be read.

        Raises:
            CallRefused: as `Ask`; so does every other error.
        """
        if self.prompts is not None:
            return await self._told(row, ask, self.prompts)
        shown = [row.messages] if row.target is Direction.RESPONSE else judged_prompts(row.messages)
        answers = [await judge(ask, self.model, messages) for messages in shown]
        if any(answer is None for answer in answers):
            return None
        # several tool results are one row: the worst of them is its label
        worst: Answer = max((a for a in answers if a is not None), key=lambda answer: answer.risk.rank)
        return Vote(risk=worst.risk.value, categories=list(worst.categories), refusal=worst.refusal)

    async def _told(self, row: RecipeRow, ask: Ask, prompts: Prompts) -> Vote | None:
        is_response = row.target is Direction.RESPONSE
        said = await ask_json(ask, self.question(row, prompts), ResponseLabel if is_response else PromptLabel)
        if said is None:
            return None
        refusal = getattr(said, "refusal", None)
        return Vote(risk=said.risk.value, categories=list(dict.fromkeys(said.categories)), refusal=refusal)

    def question(self, row: RecipeRow, prompts: Prompts) -> Call:
        """Return the call that shows a row, without its schema."""
        system = instructions(prompts, row.target)
        shown = prompts.fill("conversation", turns=_turns(row.messages))
        messages = (Message(Role.SYSTEM, system), Message(Role.USER, shown.strip()))
        return Call(self.model, messages=messages, max_tokens=self.max_tokens)


def instructions(prompts: Prompts, target: Direction) -> str:
    """Return what an annotator is told before it sees a text of this kind.

    Raises:
        ConfigurationError: the prompts have no such text, or it asks for values that there are not.
    """
    name, labels = ("response", RESPONSE_LABELS) if target is Direction.RESPONSE else ("prompt", PROMPT_LABELS)
    categories = "\n".join(f"- {name}: {DEFINITIONS[Category(name)]}" for name in labels.categories)
    return prompts.fill(name, categories=categories).strip()


def _turns(messages: Sequence[Message]) -> str:
    """Return the turns as lines of JSON, so that no text can pass for the end of its turn."""
    return "\n".join(json.dumps(_turn(message), ensure_ascii=False) for message in messages)


def _turn(message: Message) -> dict[str, str]:
    thinking = {"thinking": message.reasoning} if message.reasoning else {}
    return {"role": message.role.value, **thinking, "content": message.content}


@dataclass(frozen=True, slots=True)
class Voting:
    """Work of `Job.map`: a row comes back with its votes, or as it was if it is not voted on.

    Attributes:
        annotators: the panel, in the order of their names.
        takes_all: whether rows that have a label of their source are voted on too.
    """

    annotators: tuple[Annotator, ...]
    takes_all: bool

    async def __call__(self, row: RecipeRow, ask: Ask) -> Made:
        """Ask the panel; see `Work`."""
        if not self.is_voted(row):
            return Made((row,), {"not voted on": 1})
        counts: Counter[str] = Counter({"voted on": 1})
        votes: dict[str, Vote | None] = {}
        for annotator in self.annotators:  # one by one: many rows are under way at once, and an error ends the row
            try:
                votes[annotator.name] = await annotator.vote(row, ask)
                reason = "not readable"
            except CallRefused:
                votes[annotator.name] = None
                reason = "refused"
            if votes[annotator.name] is None:
                counts[f"no vote of {annotator.name}: {reason}"] += 1
        return Made((replace(row, meta={**_kept(row.meta), VOTES: votes}),), counts)

    def is_voted(self, row: RecipeRow) -> bool:
        """Whether the panel is asked about a row."""
        return self.takes_all or row.risk is None or row.is_human


def _kept(meta: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(meta)
    if VOTES in kept:
        kept.setdefault(SOURCE_VOTES, kept.pop(VOTES))
    return kept


def votes_of(row: RecipeRow, names: Sequence[str]) -> list[Vote | None]:
    """Return the votes of a row that was voted on, in the order of the annotators' names."""
    return [row.meta[VOTES][name] for name in names]
