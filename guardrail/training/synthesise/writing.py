"""What is done for one call to a generator: its prompts are read, checked by themselves, and become rows."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import CallRefused
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.answers import ask_json
from guardrail.training.recipe.calls import Ask, Call
from guardrail.training.recipe.duplicates import rouge_l, tokens
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Made
from guardrail.training.synthesise.cells import Mode
from guardrail.training.synthesise.settings import SynthesiseSettings

SOURCE = "synthesise"
"""Source of the rows that are made."""

Texts = tuple[str, ...]
"""A prompt alone, or the harmful and the harmless one of a pair."""


class Prompts(BaseModel):
    """What a generator answers."""

    prompts: list[str]


class Pair(BaseModel):
    """Two prompts of the same form."""

    unsafe: str
    safe: str


class Pairs(BaseModel):
    """What a generator answers that was asked for pairs."""

    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class Order:
    """One call to a generator.

    Attributes:
        id: begins the ids of what it brings.
        model: name of the generator.
        mode: how prompts are made.
        lang: language code.
        intended: category, subtopic and keyword that were asked for.
        n_units: prompts, or pairs, that were asked for.
        sample: tells it apart from other calls for the same.
        text: that the generator is sent.
    """

    id: str
    model: str
    mode: Mode
    lang: str
    intended: dict[str, str]
    n_units: int
    sample: int
    text: str


@dataclass(frozen=True, slots=True)
class Writing:
    """Has one order written; see `Work`.

    Attributes:
        settings: of the stage.
        system: what every generator is told first.
    """

    settings: SynthesiseSettings
    system: str

    async def __call__(self, order: Order, ask: Ask) -> Made:
        """Return the prompts that can be used as far as each can be judged by itself."""
        units, counts = await self._written(order, ask), Counter({"calls": 1})
        if isinstance(units, str):
            return Made((), {**counts, f"calls: {units}": 1})
        flaws = await asyncio.gather(*(self._flaw(unit, ask) for unit in units))
        rows: list[RecipeRow] = []
        for number, (unit, flaw) in enumerate(zip(units, flaws, strict=True)):
            counts["written"] += len(unit)
            if flaw:
                counts[f"dropped: {flaw}"] += len(unit)
            else:
                rows += _rows(order, number, unit)
        return Made(tuple(rows), counts)

    async def _written(self, order: Order, ask: Ask) -> list[Texts] | str:
        """Return what the generator wrote; why not, if it did not."""
        messages = (Message(Role.SYSTEM, self.system), Message(Role.USER, order.text))
        call = Call(
            order.model, messages=messages, sample=order.sample, max_tokens=self.settings.answer_tokens,
            temperature=self.settings.temperature, top_p=self.settings.top_p,
        )  # fmt: skip
        try:
            answer = await (ask_json(ask, call, Pairs) if order.mode == "pair" else ask_json(ask, call, Prompts))
        except CallRefused:
            return "refused"
        if answer is None:
            return "not JSON"
        return list(_units(answer))[: order.n_units]

    async def _flaw(self, unit: Texts, ask: Ask) -> str:
        """Return why a prompt or pair cannot be used; empty if it can."""
        for text in unit:
            if reason := self.length_flaw(text):
                return reason
        if len(unit) == 1:
            return ""
        measure = rouge_l(*unit)
        if measure < self.settings.same_form or measure == 1:
            return "pair of another form"
        return await self._judged(unit, ask) if self.settings.judge else ""

    def length_flaw(self, text: str) -> str:
        """Return whether a text is too short or too long; empty if it is neither."""
        n_tokens = len(tokens(text)) if text.strip() else 0
        if n_tokens < self.settings.min_tokens:
            return "too short"
        return "too long" if n_tokens > self.settings.max_tokens else ""

    async def _judged(self, pair: Texts, ask: Ask) -> str:
        try:
            unsafe, safe = await asyncio.gather(
                *(judge(ask, self.settings.judge, [Message(Role.USER, text)]) for text in pair)
            )
        except CallRefused:
            return "pair not judged"
        if unsafe is None or safe is None:
            return "pair not judged"
        is_opposite = unsafe.risk is not RiskLevel.SAFE and safe.risk is RiskLevel.SAFE
        return "" if is_opposite else "pair not opposite"


def _units(answer: Prompts | Pairs) -> Iterator[Texts]:
    if isinstance(answer, Prompts):
        yield from ((text.strip(),) for text in answer.prompts)
    else:
        yield from ((pair.unsafe.strip(), pair.safe.strip()) for pair in answer.pairs)


def _rows(order: Order, number: int, unit: Sequence[str]) -> Iterator[RecipeRow]:
    root = f"{order.id}-{number}"
    ids = (root,) if len(unit) == 1 else (f"{root}/unsafe", f"{root}/safe")
    for side, (id_, text) in enumerate(zip(ids, unit, strict=True)):
        intended = (
            {"risk": "safe", "subtopic": order.intended["subtopic"]} if side else {"risk": "unsafe"} | order.intended
        )
        meta: dict[str, Any] = {"intended": intended, "mode": order.mode, "model": order.model}
        if len(ids) == 2:
            meta["pair"] = ids[1 - side]
        message = Message(Role.USER, text)
        yield RecipeRow(id_, root, SOURCE, order.lang, (message,), Direction.PROMPT, meta=meta)
