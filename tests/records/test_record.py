"""What a record holds of a decision, field by field, and its published schema."""

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.errors import EngineTimeout
from guardrail.guard import Guard
from guardrail.records import MemorySink, Positions, Privacy, Record, TextForm, record_schema
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet
from guardrail.testing import FailingEngine, MarkerEngine, not_a_number, raising

EVERYTHING = Privacy(text=TextForm.FULL, hash_key=b"a key of 16 bytes", tokens=True)
PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"
SAFE = {"Safe": 0.95, "Unsafe": 0.025, "Controversial": 0.025}
UNSAFE = {"Safe": 0.025, "Unsafe": 0.95, "Controversial": 0.025}


class Recorded:
    """A guard that judges by markers, and the records of what it decided."""

    def __init__(self, tokenizer: GuardTokenizer, policy: str = "balanced") -> None:
        self.sink = MemorySink()
        self.tokenizer = tokenizer
        self.engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent"), "♠": ("Controversial", "PII")})
        self.guard = Guard(self.engine, tokenizer, policy=policy, sinks=[self.sink])

    def last(self) -> dict[str, Any]:
        decision: Decision = self.sink.decisions[-1]
        found: dict[str, Any] = json.loads(Record.of(decision).to_json())
        return found


@pytest.fixture
def recorded(tokenizer: GuardTokenizer) -> Recorded:
    return Recorded(tokenizer)


def categories(labels: LabelSet, name: str | None = None) -> Any:
    """Return the vector of an engine that names one category: e^4 for it, 1 for each other one."""
    weights = {c: math.exp(4) if c == (name or labels.categories[0]) else 1.0 for c in labels.categories}
    return about({c: w / sum(weights.values()) for c, w in weights.items()})


def about(probabilities: dict[str, float]) -> Any:
    return pytest.approx(probabilities, abs=1e-5)


def assert_holds(record: dict[str, Any], guard: Guard, **expected: Any) -> None:
    """Compare every field: identity and ids by what they must be, the others with what is given."""
    info, policy = guard.engine.info, guard.policy
    ids = record["id"], record["stream_id"]
    assert all(isinstance(i, str) and len(i) == 32 for i in ids)
    assert ids[0] != ids[1]
    assert abs(datetime.fromisoformat(record["time"]).timestamp() - time.time()) < 60
    assert datetime.fromisoformat(record["time"]).tzinfo == UTC
    assert 0 <= record["latency_ms"] < 60_000
    rest = {k: v for k, v in record.items() if k not in ("id", "stream_id", "time", "latency_ms")}
    always = {
        "schema_version": 2, "model": info.name, "model_sha256": info.sha256, "engine": info.engine,
        "precision": info.precision, "policy": policy.name, "policy_sha256": policy.sha256, "conversation_id": None,
        "leaked_chars": 0, "unjudged_chars": 0, "n_windows": 1, "n_dropped_turns": 0, "unreadable": [],
        "failure": None, "tokens": None, "text": None, "text_form": "none", "text_hmac": None, "positions": None,
        "tool": None, "saved_tokens": None,
        "n_deltas": int(rest["direction"] == "response"), "n_repairs": 0, "n_repair_tokens": 0,
        "tenant": None, "refusal": None, "is_scored": True if rest["risk_probabilities"] else None,
    }  # fmt: skip
    assert rest == {**always, **expected}


def test_an_allowed_prompt(recorded: Recorded) -> None:
    """Released whole, Safe, no category though the head names one; the tokens read are counted."""
    recorded.guard.check_prompt("hello", conversation_id="c1")
    assert_holds(
        recorded.last(), recorded.guard, conversation_id="c1", direction="prompt", action="allow",
        would_action="allow", reason="clear", risk="Safe", category=None, risk_probabilities=about(SAFE),
        category_probabilities=categories(PROMPT_LABELS), stop_offset=None, released_chars=5, withheld_chars=0,
        n_tokens=recorded.last()["n_tokens"],
    )  # fmt: skip
    assert recorded.last()["n_tokens"] >= 5


def test_a_stopped_prompt(recorded: Recorded) -> None:
    """Withheld whole, from its first character."""
    recorded.guard.check_prompt("kill ☠")
    assert_holds(
        recorded.last(), recorded.guard, direction="prompt", action="stop", would_action="stop", reason="verdict",
        risk="Unsafe", category="Violent", risk_probabilities=about(UNSAFE),
        category_probabilities=categories(PROMPT_LABELS, "Violent"), stop_offset=0, released_chars=0,
        withheld_chars=6, n_tokens=recorded.last()["n_tokens"],
    )  # fmt: skip


def test_an_allowed_answer(recorded: Recorded) -> None:
    """Every content token is counted."""
    text = "all is well, my friend"
    decision = recorded.guard.check_response("hi", text)
    assert_holds(
        recorded.last(), recorded.guard, direction="response", action="allow", would_action="allow", reason="clear",
        risk="Safe", category=None, risk_probabilities=about(SAFE), category_probabilities=categories(RESPONSE_LABELS),
        stop_offset=None, released_chars=len(text), withheld_chars=0, n_tokens=len(decision.tokens),
    )  # fmt: skip
    assert [(t.start, t.end) for t in decision.tokens][-1][1] == len(text)


def test_a_stopped_answer(recorded: Recorded) -> None:
    """Vectors at the token that completed the run, offset and counts in characters, tokens up to the stop only."""
    text = "some words ☠ and more words"
    decision = recorded.guard.check_response("hi", text, conversation_id="c2")
    assert_holds(
        recorded.last(), recorded.guard, conversation_id="c2", direction="response", action="stop",
        would_action="stop", reason="verdict", risk="Unsafe", category="Violent", risk_probabilities=about(UNSAFE),
        category_probabilities=categories(RESPONSE_LABELS, "Violent"), stop_offset=11, released_chars=11,
        withheld_chars=len(text) - 11, n_tokens=len(decision.tokens),
    )  # fmt: skip
    assert [t.risk for t in decision.tokens[-2:]] == ["Unsafe"] * 2
    assert decision.tokens[-3].risk == "Safe"


def test_a_controversial_answer_under_each_policy(tokenizer: GuardTokenizer) -> None:
    """The same verdict: stopped by strict, marked or passed on by the others, and the record says by whom."""
    seen = {}
    for policy in ("strict", "balanced", "loose", "shadow"):
        found = Recorded(tokenizer, policy)
        found.guard.check_response("hi", "his number ♠ is 555 0100")
        record = found.last()
        seen[policy] = record["action"], record["would_action"]
        assert record["policy"] == policy
        assert record["released_chars"] + record["withheld_chars"] == 24
        assert record["risk_probabilities"] == about({"Safe": 0.025, "Unsafe": 0.025, "Controversial": 0.95})
        assert record["category_probabilities"] == categories(RESPONSE_LABELS, "PII")
    assert seen["strict"] == ("stop", "stop")
    assert seen["loose"][0] != "stop"
    assert seen["shadow"][0] != "stop"


def test_shadow_mode_says_what_would_have_been_stopped(tokenizer: GuardTokenizer) -> None:
    """Flagged and released whole, with the offset of the stop that was not made."""
    recorded = Recorded(tokenizer, "shadow")
    recorded.guard.check_response("hi", "some words ☠ and more words")
    record = recorded.last()
    assert (record["action"], record["would_action"], record["stop_offset"]) == ("flag", "stop", 11)
    assert (record["released_chars"], record["withheld_chars"]) == (27, 0)


@pytest.mark.parametrize(
    ("breakage", "kind", "message"),
    [
        (raising(RuntimeError("SECRET")), "EngineError", "the engine raised RuntimeError"),
        (raising(EngineTimeout("no answer in 5 s")), "EngineTimeout", "no answer in 5 s"),
        (not_a_number, "InvalidLogits", "query_risk holds NaN or infinity"),
    ],
)
def test_a_failure_at_a_prompt(recorded: Recorded, breakage: Any, kind: str, message: str) -> None:
    """Closed, with no verdict of any kind: neither risk nor vectors; the failure is named, without foreign text."""
    guard = Guard(
        FailingEngine(recorded.engine, at_step=0, breakage=breakage), recorded.tokenizer, sinks=[recorded.sink]
    )
    guard.check_prompt("hello")
    assert_holds(
        recorded.last(), guard, direction="prompt", action="stop", would_action="stop", reason="failure", risk=None,
        category=None, risk_probabilities=None, category_probabilities=None, stop_offset=0, released_chars=0,
        withheld_chars=5, n_tokens=0, n_windows=0, failure={"kind": kind, "message": message},
    )  # fmt: skip


def test_a_failure_in_the_middle_of_an_answer(recorded: Recorded) -> None:
    """What had been judged was released, nothing behind it; the worst verdict until then stays in the record."""
    engine = FailingEngine(recorded.engine, at_step=2, breakage=raising(RuntimeError("SECRET")))
    guard = Guard(engine, recorded.tokenizer, sinks=[recorded.sink])
    stream = guard.open_stream("hi")
    released = stream.feed("the first words ") + stream.feed("and the others ") + stream.finish()
    text = "the first words and the others "
    assert text.startswith(released)
    assert 0 < len(released) < 16
    assert_holds(
        recorded.last(), guard, direction="response", action="stop", would_action="stop", reason="failure",
        risk="Safe", category=None, risk_probabilities=about(SAFE), category_probabilities=categories(RESPONSE_LABELS),
        stop_offset=len(released), released_chars=len(released), withheld_chars=len(text) - len(released),
        n_tokens=recorded.last()["n_tokens"], n_deltas=2,
        failure={"kind": "EngineError", "message": "the engine raised RuntimeError"},
    )  # fmt: skip


def test_tokens_and_text_only_when_asked_for(recorded: Recorded) -> None:
    """Spans and full vectors of every token, in the order of the labels."""
    decision = recorded.guard.check_response("hi", "some words ☠ and more")
    asked = Privacy(text=TextForm.FULL, tokens=True, positions=False)
    plain, full = Record.of(decision, "the text"), Record.of(decision, "the text", asked)
    assert (plain.tokens, plain.text, plain.text_form) == (None, None, TextForm.NONE)
    assert (full.text, full.text_form) == ("the text", TextForm.FULL)
    assert full.tokens is not None
    assert [(t.start, t.end, tuple(t.risk), tuple(t.category)) for t in full.tokens] == [
        (t.start, t.end, t.verdict.risk_vector, t.verdict.category_vector) for t in decision.tokens
    ]
    assert full.model_copy(update={"tokens": None, "text": None, "text_form": TextForm.NONE}) == plain


def test_positions_hold_every_token_of_an_answer_and_every_reading_of_a_prompt(recorded: Recorded) -> None:
    """Those are what was judged, also where it stands in a window or a turn of its own; without readings, nothing."""
    answered = recorded.guard.check_response("hi", "some words ☠ and more")
    asked = recorded.guard.check_prompt("kill ☠")
    for decision, verdicts in ((answered, [t.verdict for t in answered.tokens]), (asked, asked.readings)):
        packed = Record.of(decision, "", Privacy()).positions
        assert packed
        positions = Positions.from_bytes(packed)
        assert [positions.verdict(i).risk_vector for i in range(len(positions))] == [v.risk_vector for v in verdicts]
        assert len(verdicts) >= 1
    broken = Guard(FailingEngine(recorded.engine, at_step=0, breakage=raising(RuntimeError("x"))), recorded.tokenizer)
    assert Record.of(broken.check_prompt("hello"), "", Privacy()).positions is None


def test_a_record_survives_a_round_trip(recorded: Recorded) -> None:
    """And refuses what it does not know."""
    decision = recorded.guard.check_response("hi", "some words ☠ and more")
    record = Record.of(decision, "a\u2028b", EVERYTHING)
    assert Record.model_validate_json(record.to_json()) == record
    assert Record.model_validate(record.model_dump()) == record
    assert None not in (record.positions, record.tokens, record.text, record.text_hmac)
    with pytest.raises(ValueError, match="mood"):
        Record.model_validate({**record.model_dump(), "mood": "good"})
    with pytest.raises(ValueError, match="schema_version"):
        Record.model_validate({**record.model_dump(), "schema_version": 3})
    with pytest.raises(ValueError, match="positions"):
        Record.model_validate({**record.model_dump(mode="json"), "positions": "no base64!"})


def test_the_published_schema_is_the_codes() -> None:
    """`python tools/record_schema.py` was run after the last change; it allows no other field."""
    schema = record_schema()
    assert json.loads(PUBLISHED.read_text("utf-8")) == schema
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Record.model_fields)


def test_records_are_valid_by_the_published_schema(recorded: Recorded) -> None:
    """By a validator that is not ours, for readers in other languages."""
    jsonschema = pytest.importorskip("jsonschema", reason="an independent validator; not among the pinned packages")
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text("utf-8")))
    recorded.guard.check_prompt("kill ☠")
    recorded.guard.check_response("hi", "some words ☠ and more")
    for decision in recorded.sink.decisions:
        record = json.loads(Record.of(decision, "x", EVERYTHING).to_json())
        validator.validate(record)
        assert not validator.is_valid({**record, "action": "maybe"})
        assert not validator.is_valid({**record, "mood": "good"})
        assert not validator.is_valid({key: value for key, value in record.items() if key != "risk"})
