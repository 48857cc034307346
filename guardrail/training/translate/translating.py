"""What is done for one row: its translations, each checked, and judged by a model if one is named."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, Field, create_model

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused
from guardrail.training.recipe.answers import ask_json
from guardrail.training.recipe.calls import Ask, Call
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Made
from guardrail.training.translate.checks import Finding, check
from guardrail.training.translate.choice import Choice
from guardrail.training.translate.languages import name_of
from guardrail.training.translate.settings import TranslateSettings

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Ends of the bins that shares of another language are counted in, each with its end; the last bin has none. Ours."""

_JUDGE_TOKENS = 64
_FLAWS = {"meaning_changed": "meaning changed", "harm_changed": "harm changed"}


class _Answer(BaseModel):
    texts: list[str]


class _Verdict(BaseModel):
    verdict: Literal["adequate", "meaning_changed", "harm_changed"]


@dataclass(frozen=True, slots=True)
class Translating:
    """Translates one row; see `Work`. Its rows are the translations alone.

    Attributes:
        choice: of the languages.
        prompts: that models are sent.
    """

    choice: Choice
    prompts: Prompts

    @property
    def settings(self) -> TranslateSettings:
        """Of the stage."""
        return self.choice.settings

    async def __call__(self, row: RecipeRow, ask: Ask) -> Made:
        """Return the translations of a row that passed, in the order of the languages."""
        langs = self.choice.langs_of(row)
        found = await asyncio.gather(*(self._translate(row, lang, ask) for lang in langs))
        made, counts = [], Counter[str]()
        for lang, (translation, finding) in zip(langs, found, strict=True):
            counts[f"asked: {lang}"] += 1
            if finding.share is not None:
                counts[f"share {sum(finding.share > end for end in SHARES)}: {lang}"] += 1
            if translation is None:
                counts[f"dropped: {finding.flaw}"] += 1
                counts[f"{finding.flaw}: {lang}"] += 1
                continue
            counts[f"language not looked at: {lang}"] += finding.share is None
            counts["first risky character not carried over"] += row.unsafe_start_char is not None
            made.append(translation)
        return Made(tuple(made), counts)

    async def _translate(self, row: RecipeRow, lang: str, ask: Ask) -> tuple[RecipeRow | None, Finding]:
        sources = [text for _, text in texts_of(row)]
        if not sources:
            return None, Finding("nothing to translate")
        try:
            answer = await ask_json(ask, self.call(row, lang), _answer_of(len(sources)))
        except CallRefused:
            return None, Finding("call refused")
        if answer is None:
            return None, Finding("unreadable answer")
        texts = [text.strip() for text in answer.texts]
        finding = check(sources, texts, lang, row.lang, self.settings)
        if not finding.flaw and self.settings.judge:
            finding = replace(finding, flaw=await self._judge(sources, texts, lang, ask))
        if finding.flaw:
            return None, finding
        return translated(row, lang, texts, self.settings.model), finding

    def call(self, row: RecipeRow, lang: str) -> Call:
        """Return what asks for a translation."""
        listed = json.dumps([{"role": who, "text": text} for who, text in texts_of(row)], ensure_ascii=False, indent=1)
        messages = (
            Message(Role.SYSTEM, self.prompts.fill("translate", language=self.name_of(lang))),
            Message(Role.USER, self.prompts.fill("texts", texts=listed)),
        )
        return Call(self.settings.model, messages=messages, max_tokens=self.settings.max_tokens)

    def name_of(self, lang: str) -> str:
        """Return what a language is called in prompts."""
        return self.settings.names.get(lang) or name_of(lang) or lang

    async def _judge(self, sources: Sequence[str], texts: Sequence[str], lang: str, ask: Ask) -> str:
        """Return what a judge finds wrong; empty if nothing."""
        shown = {name: json.dumps(one, ensure_ascii=False, indent=1) for name, one in
                 (("source", sources), ("translation", texts))}  # fmt: skip
        prompt = self.prompts.fill("judge", language=self.name_of(lang), **shown)
        call = Call(self.settings.judge, messages=(Message(Role.USER, prompt),), max_tokens=_JUDGE_TOKENS)
        try:
            answer = await ask_json(ask, call, _Verdict)
        except CallRefused:
            answer = None
        return "not judged" if answer is None else _FLAWS.get(answer.verdict, "")


@lru_cache(maxsize=256)
def _answer_of(n: int) -> type[_Answer]:
    """Return the answer that holds so many texts: a wrong number is an error that the model is told of."""
    return create_model(
        "Answer", __base__=_Answer, texts=(Annotated[list[str], Field(min_length=n, max_length=n)], ...)
    )


def texts_of(row: RecipeRow) -> list[tuple[str, str]]:
    """Return what is to be translated of a conversation, in order, each with who says it; thinking is a text too."""
    found = []
    for message in row.messages:
        if message.reasoning and message.reasoning.strip():
            found.append((f"{message.role.value}, thinking", message.reasoning))
        if message.content.strip():
            found.append((message.role.value, message.content))
    return found


def translated(row: RecipeRow, lang: str, texts: Sequence[str], model: str) -> RecipeRow:
    """Return a row with its texts in another language, and its label.

    It is no label by people any more: nobody has read the translation. Where the risk begins is not known in it.
    """
    left, messages = iter(texts), []
    for message in row.messages:
        thinking = next(left) if message.reasoning and message.reasoning.strip() else message.reasoning
        content = next(left) if message.content.strip() else message.content
        messages.append(replace(message, content=content, reasoning=thinking))
    meta = {**row.meta, "parent": row.id, "translated": {"from": row.lang, "model": model, "is_human": row.is_human}}
    if isinstance(row.meta.get("pair"), str):
        meta["pair"] = translation_id(row.meta["pair"], lang)
    return replace(
        row, id=translation_id(row.id, lang), lang=lang, messages=tuple(messages), unsafe_start_char=None,
        is_human=False, meta=meta,
    )  # fmt: skip


def translation_id(parent: str, lang: str) -> str:
    """Return the id of a row's translation."""
    return f"{parent}/{lang}"
