"""What is done for one prompt: every answerer is asked, and its answers become rows behind the prompt's."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import CallRefused
from guardrail.training.recipe.calls import Ask, Call, Text
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.recipe.sent import ended
from guardrail.training.recipe.stage import Made
from guardrail.training.refusal_phrases import is_refusal
from guardrail.training.respond.settings import AnswererSettings, RespondSettings

SOURCE = "respond"
"""Source of the rows that are made."""

LENGTHS = (64, 256, 1024, 4096)
"""Ends of the bins that answers are counted in by their characters; the last bin has none. Our choice."""

_SPEAKERS = {Role.SYSTEM: "System", Role.USER: "User", Role.ASSISTANT: "Assistant", Role.TOOL: "Tool"}


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers one row's prompt; see `Work`.

    Attributes:
        settings: of the stage.
        prompts: that models are sent.
        seed: of the recipe.
    """

    settings: RespondSettings
    prompts: Prompts
    seed: int

    async def __call__(self, row: RecipeRow, ask: Ask) -> Made:
        """Return the row, and its answers behind it."""
        if not self._is_chosen(row):
            return Made((row,))
        if row.messages[-1].role is not Role.USER:
            return Made((row,), {"not asked: the last turn is not a user's": 1})
        asked = [(who, i) for who in self.settings.answerers if self._answers(who, row) for i in range(who.samples)]
        texts = await asyncio.gather(*(_text(ask, self.call(who, row.messages, i)) for who, i in asked))
        made, counts = [row], Counter({"prompts asked": int(bool(asked))})
        met: set[tuple[str, str | None]] = set()
        for (who, i), text in zip(asked, texts, strict=True):
            answer = text and self._read(who, text)
            reason = self._flaw(answer, met)
            if answer is None or reason:
                counts[f"dropped: {reason}"] += 1
                counts[f"{reason}: {who.label}"] += 1
                continue
            met.add((answer.text, answer.thinking))
            counts.update(_told(who, answer))
            made.append(_row(row, who, i, answer))
        return Made(tuple(made), counts)

    def call(self, who: AnswererSettings, messages: Sequence[Message], sample: int) -> Call:
        """Return what asks an answerer for one sample."""
        call = Call(
            who.model, sample=sample, max_tokens=who.max_tokens, temperature=who.temperature, top_p=who.top_p
        )  # fmt: skip
        if who.mode == "base":
            turns = "\n".join(f"{_SPEAKERS[m.role]}: {m.content}" for m in messages)
            prompt = self.prompts.fill("base", conversation=f"{turns}\nAssistant:")
            return replace(call, form="completion", prompt=prompt, stop=self.settings.stop)
        return replace(call, messages=_told_before(self.prompts.fill(who.mode).strip(), messages))

    def _is_chosen(self, row: RecipeRow) -> bool:
        wanted = self.settings
        return (
            row.target is Direction.PROMPT
            and (not wanted.langs or row.lang in wanted.langs)
            and (not wanted.sources or row.source in wanted.sources)
            and place_of(row.root, f"respond {self.seed}") < wanted.share
        )

    def _answers(self, who: AnswererSettings, row: RecipeRow) -> bool:
        return place_of(row.root, f"respond {self.seed} {who.label}") < who.share

    def _read(self, who: AnswererSettings, text: Text) -> Text:
        """Return what is kept of an answer: no white space at its ends, nothing behind a stop text, which servers may
        have overlooked, and no thinking unless that is wanted.
        """
        stops = self.settings.stop if who.mode == "base" else ()
        answer, has_ended = ended(text.text, stops)
        thinking = _whole((text.thinking or "").strip()) if who.mode == "reasoning" else ""
        return Text(_whole(answer.strip()), thinking or None, text.is_cut and not has_ended)

    def _flaw(self, answer: Text | None, met: set[tuple[str, str | None]]) -> str:
        """Return why an answer is left out; empty if it is kept."""
        if answer is None:
            return "call refused"
        if not answer.text:
            return "empty answer"
        if answer.is_cut and self.settings.cut == "drop":
            return "answer cut off"
        return "repeated answer" if (answer.text, answer.thinking) in met else ""


def _told_before(system: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Put our words before a conversation, into its system prompt if it has one: templates know one only."""
    if not system:
        return tuple(messages)
    if messages[0].role is Role.SYSTEM:
        return (replace(messages[0], content=f"{system}\n\n{messages[0].content}"), *messages[1:])
    return (Message(Role.SYSTEM, system), *messages)


def _whole(text: str) -> str:
    """Return a text without halves of characters, which JSON can hold and no file of rows."""
    return text.encode(errors="replace").decode()


async def _text(ask: Ask, call: Call) -> Text | None:
    try:
        return (await ask(call)).texts[0]
    except CallRefused:
        return None


def _told(who: AnswererSettings, answer: Text) -> dict[str, int]:
    """Return what is counted of an answer that is kept."""
    n_chars = len(answer.text)
    return {
        f"answers: {who.label}": 1,
        f"refusals: {who.label}": is_refusal(answer.text),
        f"cut: {who.label}": answer.is_cut,
        f"thinking: {who.label}": answer.thinking is not None,
        f"characters: {who.label}": n_chars,
        f"length {sum(n_chars >= end for end in LENGTHS)}: {who.label}": 1,
    }


def _row(prompt: RecipeRow, who: AnswererSettings, sample: int, answer: Text) -> RecipeRow:
    message = Message(Role.ASSISTANT, answer.text, reasoning=answer.thinking)
    meta = {"parent": prompt.id, "model": who.model, "mode": who.mode, "is_cut": answer.is_cut}
    return RecipeRow(
        f"{prompt.id}/r-{who.label}-{sample}", prompt.root, SOURCE, prompt.lang, (*prompt.messages, message),
        Direction.RESPONSE, meta=meta,
    )  # fmt: skip
