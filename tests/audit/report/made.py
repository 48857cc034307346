"""Records as a service makes them in some days: real decisions of a guard, spread over time, callers and versions."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.report import Report, Summary, make_report
from guardrail.decision import Decision, Direction, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.errors import EngineOverloaded, EngineTimeout
from guardrail.guard import Guard
from guardrail.records import MemorySink, Record
from guardrail.records.record import FailureRecord
from guardrail.taxonomy import RiskLevel
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.records.made import decision

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
MARKS = {"☠": ("Unsafe", "Violent"), "♠": ("Controversial", "PII"), "☢": ("Unsafe", "Self-Harm")}


def decisions(tokenizer: GuardTokenizer) -> dict[str, Decision]:
    """Return one decision of each kind, made by guards that judge by markers or fail."""
    engine = MarkerEngine(tokenizer, MARKS)
    made: dict[str, Decision] = {}

    def guard(policy: str, error: Exception | None = None) -> Guard:
        failing = FailingEngine(engine, at_step=0, breakage=raising(error)) if error else engine
        return Guard(failing, tokenizer, policy=policy, sinks=[MemorySink()])

    balanced, shadow, strict = guard("balanced"), guard("shadow"), guard("strict")
    made["prompt"] = balanced.check_prompt("How do I bake bread?")
    made["prompt stop"] = balanced.check_prompt("kill ☠")
    made["prompt flag"] = balanced.check_prompt("his number ♠")
    made["answer"] = balanced.check_response("hi", "Mix flour and water, then bake it. " * 4)
    made["answer stop"] = balanced.check_response("hi", "Some words first, then ☠ and more words.")
    made["answer flag"] = balanced.check_response("hi", "His number ♠ is in the book.")
    made["answer strict"] = strict.check_response("hi", "Well, ♠ is what it is.")
    made["answer shadow"] = shadow.check_response("hi", "First a word, then ☢ and others.")
    made["result stop"] = balanced.check_tool_result([], "Ignore it ☠ and go on.", tool="read_page")
    made["late"] = guard("balanced", EngineTimeout("no answer within 2.0 s")).check_response("hi", "Bake it.")
    made["full"] = guard("balanced", EngineOverloaded("64 requests wait")).check_prompt("hello")
    return made


SHARES = {
    "prompt": 400, "prompt stop": 9, "prompt flag": 14, "answer": 420, "answer stop": 12, "answer flag": 10,
    "answer strict": 3, "answer shadow": 6, "result stop": 4, "late": 2, "full": 1,
}  # fmt: skip


def records(tokenizer: GuardTokenizer, n: int, *, seed: int = 0, days: float = 9.0) -> Iterator[Record]:
    """Yield n records in the order of their times, busier by day than by night, with an outage on the fourth day."""
    drawn = random.Random(seed)
    kinds = {name: Record.of(one) for name, one in decisions(tokenizer).items()}
    names, weights = list(SHARES), list(SHARES.values())
    times = sorted(_time(drawn, days) for _ in range(n))
    for i, time in enumerate(times):
        name = drawn.choices(names, weights)[0]
        if 3.20 < time < 3.30 and drawn.random() < 0.5:
            name = drawn.choice(["late", "late", "full"])
        yield kinds[name].model_copy(update=_details(drawn, i, time, kinds[name]))


def _time(drawn: random.Random, days: float) -> float:
    """Return days since the start."""
    while True:
        time = drawn.random() * days
        if drawn.random() < (0.15 if 0.5 < time % 1 < 0.9 else 1.0) * (0.6 if int(time) in (4, 5) else 1.0):
            return time


def _details(drawn: random.Random, i: int, days: float, kind: Record) -> dict[str, Any]:
    details: dict[str, Any] = {
        "id": f"{i:032x}", "time": (START + timedelta(days=days)).isoformat(),
        "conversation_id": f"chat-{int(drawn.paretovariate(0.7)) % 3000:04d}" if drawn.random() < 0.9 else None,
        "tenant": drawn.choices(["shop", "school", None], [6, 3, 1])[0],
        "latency_ms": drawn.lognormvariate(3.1, 0.7) * (2.5 if kind.direction == "response" else 1.0),
        "model_sha256": ("a1b2" if days < 5.5 else "c3d4") * 16,
    }  # fmt: skip
    if kind.direction == "tool_result":
        details["tool"] = drawn.choice(["read_page", "search", "mail"])
    if kind.stop_offset and kind.direction == "response":
        details["stop_offset"] = int(drawn.lognormvariate(5.0, 1.2))
        details["saved_tokens"] = int(drawn.lognormvariate(4.5, 0.8))
        if drawn.random() < 0.2:
            details |= {"n_repairs": 1, "n_repair_tokens": drawn.randint(5, 60)}
    if kind.risk_probabilities and kind.risk != "Safe":
        peak = drawn.uniform(0.55, 0.999)
        details["risk_probabilities"] = {"Safe": 1 - peak, "Unsafe": peak * 0.8, "Controversial": peak * 0.2}
    return details


def report_of(made: Iterable[Record], **how: Any) -> Report:
    """Return the report of records, made at a fixed time."""
    return made_by(Summary.of(made), **how)


def made_by(summary: Summary, **how: Any) -> Report:
    """Return the report of a summary, made at a fixed time."""
    return make_report(summary, "made.jsonl", made_at=datetime(2026, 11, 30, tzinfo=UTC), **how)


BARE = Record.of(decision())
FEW_NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    """Draw a record of few different names, with any figures."""
    stop_offset = draw(st.none() | st.integers(0, 30_000))
    details: dict[str, Any] = {
        "direction": draw(st.sampled_from(Direction)), "action": draw(st.sampled_from(Action)),
        "would_action": draw(st.sampled_from(Action)), "reason": draw(st.sampled_from(Reason)),
        "risk": draw(st.none() | st.sampled_from(RiskLevel)), "category": draw(st.none() | FEW_NAMES),
        "conversation_id": draw(st.none() | FEW_NAMES), "tenant": draw(st.none() | FEW_NAMES),
        "tool": draw(st.none() | FEW_NAMES), "policy": draw(FEW_NAMES), "stop_offset": stop_offset,
        "latency_ms": draw(st.floats(0, 1e5)), "leaked_chars": draw(st.integers(0, 2)),
        "unjudged_chars": draw(st.integers(0, 2)), "saved_tokens": draw(st.none() | st.integers(0, 99)),
        "n_repairs": draw(st.integers(0, 2)),
        "time": draw(st.integers(0, 8 * 86400).map(_later) | st.just("never")),
    }  # fmt: skip
    if draw(st.booleans()):
        details["failure"] = FailureRecord(kind=draw(FEW_NAMES), message=draw(FEW_NAMES))
    if draw(st.booleans()):
        safe = draw(st.floats(0, 1))
        details["risk_probabilities"] = {"Safe": safe, "Unsafe": 1 - safe, "Controversial": 0.0}
    return BARE.model_copy(update=details)


def _later(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()
