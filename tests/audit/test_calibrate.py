"""Thresholds that keep to a target: chosen on some rows, told by others, refused where they cannot be shown."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.calibrate import Side, Target, calibrated, choose, curve_of, scorers_of
from guardrail.audit.calibrate_labels import HARMFUL, HARMLESS, holds_records, read_labels
from guardrail.audit.calibrate_rows import Rows, is_held_out, read_recorded, read_scored
from guardrail.audit.calibrate_scores import ALWAYS, Counted, Knob
from guardrail.audit.replay import Recorded, Replayed, replay, unpacked
from guardrail.decision import Direction, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.policy_file import load_policy
from guardrail.records import MemorySink, Privacy, Record
from guardrail.records.record import FailureRecord
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.testing import FakeEngine

BALANCED = load_policy("balanced")
SIDES: tuple[Side, ...] = ("prompt", "response")


def rows_of(scores: list[float] | np.ndarray, *, per_conversation: int = 1, harmful: int = 0) -> Rows:
    """Rows with these scores; the last `harmful` ones are harmful."""
    rows = Rows()
    for i, score in enumerate(scores):
        label = HARMFUL if i >= len(scores) - harmful else HARMLESS
        rows.add(float(score), label, f"c{i // per_conversation}")
    return rows


scores = st.lists(
    st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.9, 1.0, -np.inf, ALWAYS]) | st.floats(0, 1), min_size=60, max_size=200
)


@given(scores, st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([None, 0.8, 0.95]))
def test_the_threshold_is_the_lowest_that_keeps_to_the_target(
    values: list[float], share: float, confidence: float | None
) -> None:
    """No more rows are flagged than may be, and with the next lower score flagged too there were too many."""
    target = Target(share, confidence, held_out=0)
    try:
        chosen = choose("prompt", Knob.NON_SAFE, rows_of(values), target)
    except ConfigurationError:
        assert sum(value >= 1 for value in values) > 0 or confidence
        return
    n, flagged = len(values), sum(value >= chosen.threshold for value in values)
    assert chosen.n_flagged == flagged
    assert chosen.upper <= share
    assert 0 < chosen.threshold <= 1
    if confidence is None:
        below = [value for value in values if value < chosen.threshold and value > 0]
        assert flagged <= share * n
        assert not below or sum(value >= max(below) for value in values) > share * n


def test_the_true_share_keeps_to_the_target_as_often_as_it_is_said() -> None:
    """Of 60 samples of 500 rows whose true distribution is known, at most about one in twenty breaks 5 %."""
    rng, n_broken = np.random.default_rng(11), 0
    for _ in range(60):
        chosen = choose("prompt", Knob.NON_SAFE, rows_of(rng.random(500)), Target(0.05, held_out=0))
        n_broken += 1 - chosen.threshold > 0.05
    assert n_broken / 60 < 0.12
    plain = choose("prompt", Knob.NON_SAFE, rows_of(rng.random(500)), Target(0.05, None, held_out=0))
    assert plain.n_flagged == 25


def test_what_is_told_rests_on_conversations_that_chose_nothing() -> None:
    """Each conversation is on one side only, the same in every run; another seed divides otherwise."""
    rows = rows_of(np.linspace(0, 1, 4000), per_conversation=4, harmful=1000)
    one, other = (rows.part(is_held=held, share=0.3, seed=5) for held in (True, False))
    assert len(one.scores) + len(other.scores) == 4000
    assert not set(one.scores) & set(other.scores)
    assert len(one.scores) == pytest.approx(1200, rel=0.15)
    held = [i for i in range(4000) if is_held_out(f"c{i // 4}", 0.3, 5)]
    assert np.array_equal(one.scores, np.linspace(0, 1, 4000)[held])
    assert not np.array_equal(rows.part(is_held=True, share=0.3, seed=6).scores, one.scores)
    chosen = choose("prompt", Knob.NON_SAFE, rows, Target(0.1, held_out=0.3, seed=5))
    assert (chosen.n, chosen.n_told) == (int((~other.is_harmful).sum()), int((~one.is_harmful).sum()))
    assert chosen.point.n_flagged == int((one.scores[~one.is_harmful] >= chosen.threshold).sum())
    assert chosen.point.found is not None
    assert chosen.point.n_found == int((one.scores[one.is_harmful] >= chosen.threshold).sum())


def test_too_few_rows_are_refused_with_how_many_it_takes() -> None:
    """The textbook's 299 for 1 % at 95 %; many rows of few conversations are few."""
    target = Target(0.01, held_out=0)
    choose("prompt", Knob.NON_SAFE, rows_of([0.1] * 299), target)
    for rows in (rows_of([0.1] * 298), rows_of([0.1] * 3000, per_conversation=300)):
        with pytest.raises(ConfigurationError, match="takes 299 independent ones"):
            choose("prompt", Knob.NON_SAFE, rows, target)
    assert choose("prompt", Knob.NON_SAFE, rows_of([0.1] * 50), Target(0.01, None, held_out=0)).threshold > 0.1


def test_a_target_that_certain_rows_exceed_is_refused() -> None:
    """Where more harmless rows than may be have probability 1, or were really stopped, no threshold will do."""
    rows = rows_of([0.1] * 500)
    for _ in range(60):
        rows.add(0.2, HARMLESS, "stopped", is_cut=True)
    with pytest.raises(ConfigurationError, match="60 of 560 harmless rows are flagged at every threshold"):
        choose("response", Knob.NON_SAFE, rows, Target(0.05, None, held_out=0))


@pytest.mark.parametrize(
    "values", [{"share": 0}, {"share": 1}, {"share": 0.1, "confidence": 1.0}, {"share": 0.1, "held_out": 1.0}]
)
def test_impossible_targets_are_refused(values: dict[str, Any]) -> None:
    """Shares lie between 0 and 1."""
    with pytest.raises(ConfigurationError):
        Target(**values)


def test_the_curve_falls_and_holds_the_chosen_threshold() -> None:
    """Both rates fall as the threshold rises."""
    rows, target = rows_of(np.linspace(0, 1, 600), harmful=200), Target(0.1, held_out=0.5)
    chosen = choose("prompt", Knob.NON_SAFE, rows, target)
    curve = curve_of(chosen, rows, target)
    rates = [point.false_positives.value for point in curve]
    assert rates == sorted(rates, reverse=True)
    assert chosen.point in curve
    assert all(point.found for point in curve)


def noisy_guard(tokenizer: GuardTokenizer, policy: str, sink: MemorySink) -> Guard:
    """A guard that doubts every text, each to its own degree."""

    def judge(ids: list[int], _before: object) -> tuple[RiskLevel, str, float]:
        draw = np.random.default_rng(ids[-8:]).beta(1, 6)
        return RiskLevel.SAFE, RESPONSE_LABELS.categories[ids[-1] % 8], float(np.clip(1 - draw, 0.02, 0.999))

    engine = FakeEngine(judge, vocab_size=tokenizer.vocab_size)  # type: ignore[arg-type]
    return Guard(engine, tokenizer, policy=policy, sinks=[sink])


@pytest.fixture(scope="module")
def traffic(tokenizer: GuardTokenizer) -> list[Record]:
    """Shadow records of 300 conversations of a prompt and an answer each."""
    sink = MemorySink()
    guard = noisy_guard(tokenizer, "shadow", sink)
    for number in range(300):
        guard.check_prompt(f"question {number}", conversation_id=f"c{number}")
        guard.check_response("hi", f"answer {number}, {number * 7 % 13}", conversation_id=f"c{number}")
    return [Record.of(decision, privacy=Privacy()) for decision in sink.decisions]


@pytest.mark.parametrize("counted", Counted)
@pytest.mark.parametrize("name", ["balanced", "strict", "loose"])
def test_a_calibrated_policy_flags_what_was_told(traffic: list[Record], name: str, counted: Counted) -> None:
    """By the real gate, record by record: on the rows it was chosen on and on those held out."""
    base = load_policy(name)
    reading = read_recorded(traffic, scorers_of(base, counted, SIDES), None)
    assert reading.directions == {"prompt": 300, "response": 300}
    for side, direction in zip(SIDES, (Direction.PROMPT, Direction.RESPONSE), strict=True):
        target = Target(0.1, None, counted)
        (scorer,) = {s.knob for d, s in scorers_of(base, counted, SIDES).items() if d is direction}
        chosen = choose(side, scorer, reading.sides[side], target)
        policy = calibrated(base, [chosen])
        flagged = {True: 0, False: 0}
        for record in traffic:
            if record.direction is direction:
                found = unpacked(record)
                assert isinstance(found, Recorded)
                after = replay(found, replace(policy, enforce=False))
                assert isinstance(after, Replayed)
                is_held = is_held_out(record.conversation_id or "", target.held_out, target.seed)
                flagged[is_held] += after.would_action.rank >= counted.least.rank
        assert flagged == {False: chosen.n_flagged, True: chosen.point.n_flagged}


def test_records_that_say_nothing_are_left_out(tokenizer: GuardTokenizer, traffic: list[Record]) -> None:
    """Without positions, of which nothing was judged, that a failure ended, without a label."""
    failure = FailureRecord(kind="EngineTimeout", message="")
    failed = traffic[1].model_copy(update={"failure": failure, "reason": Reason.FAILURE})
    empty = traffic[1].model_copy(update={"positions": None, "risk_probabilities": None})
    bare = traffic[1].model_copy(update={"positions": None})
    scorers = scorers_of(BALANCED, Counted.FLAGGED, SIDES)
    reading = read_recorded([failed, empty, bare], scorers, None)
    assert reading.left_out == {"not read to its end": 1, "nothing was judged": 1, "no positions": 1}
    reading = read_recorded(traffic[:4], scorers, {traffic[0].id: HARMFUL, traffic[3].conversation_id or "": HARMLESS})
    assert reading.left_out == {"no label": 1}
    assert [*reading.sides["prompt"].labels] == [1, 0]


def test_a_stopped_answer_counts_as_flagged_at_every_threshold(traffic: list[Record]) -> None:
    """A harmless one; of a harmful one what was seen counts."""
    stopped = traffic[1].model_copy(update={"action": Action.STOP, "reason": Reason.VERDICT})
    scorers = scorers_of(BALANCED, Counted.FLAGGED, SIDES)
    (score,) = read_recorded([stopped], scorers, None).sides["response"].scores
    assert score == ALWAYS
    (score,) = read_recorded([stopped], scorers, {stopped.id: HARMFUL}).sides["response"].scores
    assert 0 < score < 1


@pytest.mark.parametrize("key", ["id", "text_hmac", "conversation_id"])
@pytest.mark.parametrize("column", ["label", "risk"])
def test_labels_are_read_from_tables_and_lines(tmp_path: Path, key: str, column: str) -> None:
    """Of any of their usual spellings; others are left out."""
    rows = [("a", "safe"), ("b", "Unsafe"), ("c", "1"), ("d", "benign"), ("e", "controversial")]
    table, lines = tmp_path / "labels.csv", tmp_path / "labels.jsonl.gz"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([(key, column), *rows])
    with gzip.open(lines, "wt") as zipped:
        zipped.writelines(json.dumps({key: one, column: label}) + "\n" for one, label in rows)
    assert read_labels(table) == read_labels(lines) == {"a": HARMLESS, "b": HARMFUL, "c": HARMFUL, "d": HARMLESS}


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    """The error says which columns count."""
    path = tmp_path / "labels.csv"
    path.write_text("name,verdict\na,safe\n")
    with pytest.raises(ConfigurationError, match="id, text_hmac, conversation_id and label"):
        read_labels(path)


def test_rows_of_a_scan_are_read_with_their_labels(tmp_path: Path) -> None:
    """A prompt by its probabilities; an answer says too little; labels stand in the kept columns."""
    path = tmp_path / "judged.jsonl"
    harm = {"Safe": 0.5, "Controversial": 0.2, "Unsafe": 0.3}
    rows = [
        {"id": "a", "direction": "prompt", "risk": "Unsafe", "risk_probabilities": harm, "input": {"label": "safe"}},
        {"id": "b", "direction": "prompt", "risk": "Safe", "risk_probabilities": harm, "input": {"risk": "unsafe"}},
        {"id": "c", "direction": "response", "risk_probabilities": harm, "input": {"label": "safe"}},
        {"id": "d", "direction": "prompt", "risk_probabilities": None, "error": "no text", "input": {"label": "safe"}},
        {"id": "e", "direction": "prompt", "risk_probabilities": harm, "input": {}},
        {"id": "f", "score": 0.75, "label": "benign"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not holds_records(path)
    reading = read_scored(path, SIDES, None)
    assert [*reading.sides["prompt"].scores] == pytest.approx([0.5, 0.5, 0.75])
    assert [*reading.sides["prompt"].labels] == [0, 1, 0]
    assert reading.left_out == {"no score of a whole answer": 2, "no label": 1}
    assert [*read_scored(path, ["prompt"], {"b": HARMLESS}).sides["prompt"].labels] == [0]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"direction": "up", "score": 1}',
        '{"score": "much"}',
        '{"risk_probabilities": {}}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": 7}',
        '{"score": -0.01}',
        '{"score": true}',
        '{"risk_probabilities": {"Controversial": NaN, "Unsafe": 0.2}}',
        '{"risk_probabilities": {"Controversial": 0.9, "Unsafe": 0.2}}',
    ],
)
def test_lines_that_are_no_rows_are_refused(tmp_path: Path, line: str) -> None:
    """Named by their number; a probability lies between 0 and 1."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"score": 0.5}\n\n' + line + "\n")
    with pytest.raises(ConfigurationError, match="line 3"):
        read_scored(path, SIDES, None)
