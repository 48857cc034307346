"""Records of the first version, as it wrote them, are read as today's; those of a later one are not guessed at."""

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import RecordError
from guardrail.policy_file import load_policy
from guardrail.records import Positions, Record, Skipped, TextForm, read_record, read_records
from guardrail.taxonomy import RiskLevel

STORED = Path(__file__).with_name("version_1.jsonl")
"""Written by the last code of version 1: two prompts, a failure, two answers, the second with tokens and text."""


@pytest.fixture(scope="module")
def values() -> dict[str, dict[str, Any]]:
    """What each line holds, by conversation."""
    lines = map(json.loads, STORED.read_text("utf-8").splitlines())
    return {line["conversation_id"]: line for line in lines}


def test_a_file_of_the_first_version_is_read_whole() -> None:
    """Every line of it."""
    skipped = Skipped()
    found = list(read_records(STORED, skipped=skipped))
    assert [r.conversation_id for r in found] == [
        "prompt", "stopped prompt", "failure", "answer without tokens", "answer with tokens and text",
    ]  # fmt: skip
    assert {r.schema_version for r in found} == {2}
    assert skipped.n_lines == 0


@pytest.mark.parametrize(
    "name", ["prompt", "stopped prompt", "failure", "answer without tokens", "answer with tokens and text"]
)
def test_every_field_keeps_what_it_said(values: dict[str, dict[str, Any]], name: str) -> None:
    """Besides the version, and fields that are new."""
    found = json.loads(read_record(values[name]).to_json())
    new = {"positions", "text_form", "text_hmac"}
    assert found.keys() - new == values[name].keys()
    assert {k: v for k, v in found.items() if k not in new} == {**values[name], "schema_version": 2}
    assert json.loads(Record.model_validate(found).to_json()) == found


@pytest.mark.parametrize(("name", "action"), [("prompt", "allow"), ("stopped prompt", "stop")])
def test_a_prompt_that_was_read_once_can_be_replayed(values: dict[str, Any], name: str, action: str) -> None:
    """Its one verdict is the decisive one; that of a prompt in windows is not known."""
    packed = read_record(values[name]).positions
    assert packed
    positions = Positions.from_bytes(packed)
    assert len(positions) == 1
    assert load_policy("balanced").prompt.action(positions.verdict(0)) == values[name]["action"] == action
    assert positions.verdict(0).risk_probabilities == pytest.approx(values[name]["risk_probabilities"])
    assert positions.token(0).is_whole
    assert positions.verdict(0).is_scored
    assert read_record({**values[name], "n_windows": 2}).positions is None
    guessed = read_record({**values[name], "is_scored": False}).positions
    assert guessed
    assert not Positions.from_bytes(guessed).verdict(0).is_scored


def test_tokens_that_were_kept_are_positions(values: dict[str, Any]) -> None:
    """Spans, levels and categories of each; an answer without them has none, and neither has a failure."""
    record = read_record(values["answer with tokens and text"])
    assert record.positions
    assert record.tokens
    positions = Positions.from_bytes(record.positions)
    assert [(int(s), int(e)) for s, e in zip(positions.start, positions.end, strict=True)] == [
        (token.start, token.end) for token in record.tokens
    ]
    assert positions.verdict(len(positions) - 1).risk is RiskLevel.CONTROVERSIAL
    assert positions.verdict(len(positions) - 1).category == record.category == "PII"
    assert (record.text, record.text_form) == ("go ♠ on", TextForm.FULL)
    assert read_record(values["answer without tokens"]).positions is None
    assert read_record(values["answer without tokens"]).text_form is TextForm.NONE
    assert read_record(values["failure"]).positions is None


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 7}, {"tokens": [7]}, {"tokens": [{}]}, {"risk_probabilities": {"x": 1}}, {"risk_probabilities": [1]},
        {"tokens": [{"start": 0, "end": 1, "risk": [1], "category": []}]}, {"category_probabilities": None},
        {"tokens": [{"start": 10**30, "end": 1, "risk": [1, 0, 0], "category": [1] * 8}]},
        {"tokens": [{"start": 0, "end": 1, "risk": [1] * 4, "category": [1] * 8}] * 3},
        {"tokens": [{"start": 0, "end": 1, "risk": ["SECRET"] * 3, "category": [1] * 8}]},
    ],
)  # fmt: skip
def test_damaged_tokens_of_the_first_version_are_an_error(values: dict[str, Any], change: dict[str, Any]) -> None:
    """Of ours, without what they hold."""
    with pytest.raises(RecordError, match="not a record") as caught:
        read_record({**values["answer with tokens and text"], **change})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "message"), [(3, "a newer guardrail-stream may"), (0, "known: 1, 2"), (None, "no schema_version")]
)
def test_other_versions_are_refused_and_counted(
    values: dict[str, Any], tmp_path: Path, version: int | None, message: str
) -> None:
    """Never read as if they were ours."""
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({**values["prompt"], "schema_version": version}) + "\n" + STORED.read_text("utf-8"))
    with pytest.raises(RecordError, match=message):
        list(read_records(path))
    skipped = Skipped()
    assert len(list(read_records(path, skipped=skipped))) == 5
    assert skipped.n_lines == 1
