"""Rows and judgements for tests of figures."""

from collections.abc import Sequence
from typing import Any

from guardrail.actions import Action
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.evaluation.judged import Judged
from guardrail.evaluation.judges import Judgement, Trace
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import RiskLevel

LEVELS = {"s": RiskLevel.SAFE, "c": RiskLevel.CONTROVERSIAL, "u": RiskLevel.UNSAFE}
ACTIONS = {"s": Action.ALLOW, "c": Action.FLAG, "u": Action.STOP}


def row(risk: str = "u", question: str = "hi", *, answer: bool = False, source: str = "made", **fields: Any) -> Row:
    """A prompt or an answer; risk is "s", "c" or "u"."""
    messages = (Message(Role.USER, question), Message(Role.ASSISTANT, "well"))
    target = Direction.RESPONSE if answer else Direction.PROMPT
    values = {"id": question, "lang": "en", "messages": messages[: 1 + answer], "target": target, **fields}
    return Row(source=source, risk=LEVELS[risk], **values)


def judgement(level: str = "u", score: float | None = None, **fields: Any) -> Judgement:
    """What a judge says; level is "s", "c" or "u"."""
    ranked = LEVELS[level].rank / 2 if score is None else score
    return Judgement(ACTIONS[level], LEVELS[level], ranked, **fields)


def trace(levels: str = "ss", **fields: Any) -> Trace:
    """What was seen along an answer."""
    ranks = bytes(LEVELS[letter].rank for letter in levels)
    values = {"whole": LEVELS[levels[-1]], "n_chars": len(levels), "released_chars": len(levels), **fields}
    return Trace(levels=ranks, **values)


def judged(rows: Sequence[Row], judgements: Sequence[Judgement], **options: Any) -> Judged:
    """Rows with their judgements."""
    return Judged.of(rows, judgements, **options)
