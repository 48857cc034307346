import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardrail.audit.pages.page import render
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.training.annotate.ballots import LEVELS, SALT, read_ballots
from guardrail.training.recipe.rows import half_of
from guardrail.training.recipe.stage import Profile
from tests.training.annotate.panel import (
    CONTROVERSIAL,
    PANEL,
    SAFE,
    UNSAFE,
    Scripted,
    answer,
    everything,
    judged,
    prompt,
    run,
    said,
    stage_of,
)


@pytest.mark.parametrize("aggregate", ["calibrated", "dawid_skene"])
def test_rows_come_out_labelled_and_measured(tmp_path: Path, aggregate: Any) -> None:
    """Each way labels nine in ten rightly here, and says so of rows that it has not learned from."""
    rows, ask, truth = judged(400, 200)
    job, summary = run(tmp_path, rows, ask, aggregate=aggregate)
    assert [row.id for row in job.output] == [row.id for row in rows]
    right = [row.risk is LEVELS[truth[i]] for i, row in enumerate(job.output)]
    assert np.mean(right[200:]) > 0.88
    measured = summary.values["macro_f1"]
    assert measured["low"] < measured["value"] < measured["high"]
    assert measured["n"] == sum(half_of(row.root, SALT) for row in rows[:200])
    assert summary.values["passed"] is (measured["low"] >= 0.9)
    assert json.dumps(summary.values, allow_nan=False)
    assert render("annotate", summary, {})


def test_peoples_labels_never_change(tmp_path: Path) -> None:
    """Whatever the panel says, and even where labels of sources give way."""
    rows = [prompt(i, risk=SAFE, is_human=True, categories=(), meta={"note": i}) for i in range(20)]
    ask = Scripted({}, said(UNSAFE))
    job, _ = run(tmp_path, rows, ask, aggregate="majority", votes_for="all", overwrite=True)
    assert {row.meta["panel"]["risk"] for row in job.output} == {"Unsafe"}
    for before, after in zip(rows, job.output, strict=True):
        assert (after.risk, after.categories, after.refusal) == (before.risk, before.categories, before.refusal)
        assert after.meta["note"] == before.meta["note"]
        assert after.meta["disagreement"] == 1


def test_labels_of_sources_stay_unless_they_are_to_give_way(tmp_path: Path) -> None:
    """Unvoted they pass as they are; voted on, they are kept beside the panel's opinion, or replaced by it."""
    rows = [prompt(0, risk=SAFE), prompt(1, risk=UNSAFE, categories=("PII",), unsafe_start_char=3), prompt(2)]
    ask = Scripted({"a": {1: said(SAFE)}, "b": {1: said(SAFE)}}, said(UNSAFE, "Violent"))
    kept, _ = run(tmp_path / "kept", rows, ask, "ab", aggregate="majority")
    assert kept.output[:2] == rows[:2]
    seen, _ = run(tmp_path / "seen", rows, ask, "ab", aggregate="majority", votes_for="all")
    assert [row.risk for row in seen.output] == [SAFE, UNSAFE, UNSAFE]
    assert seen.output[0].meta["panel"] == {"risk": "Unsafe", "confidence": 1.0}
    assert seen.output[0].meta["disagreement"] == 1
    job, summary = run(tmp_path / "new", rows, ask, "ab", aggregate="majority", votes_for="all", overwrite=True)
    assert [(row.risk, row.categories, row.unsafe_start_char) for row in job.output] == [
        (UNSAFE, ("Violent",), None), (SAFE, (), None), (UNSAFE, ("Violent",), None),
    ]  # fmt: skip
    assert summary.values["counts"]["changed from Unsafe to Safe"] == 1
    assert summary.values["n_people"] == {"to_learn_from": 0, "measured": 0}  # sources are no people


def test_a_row_with_too_few_votes_is_left_for_review(tmp_path: Path) -> None:
    """One vote of three is no label, and no guess is made; two are one, and a tie is the more severe."""
    ask = Scripted(
        {"a": {0: said(UNSAFE), 1: said(SAFE)}, "b": {0: None, 1: said(CONTROVERSIAL)}, "c": {0: "?", 1: None}}
    )
    job, summary = run(tmp_path, [prompt(0), prompt(1)], ask, aggregate="majority")
    first, second = job.output
    assert (first.risk, first.meta["panel"], first.meta["disagreement"]) == (
        None,
        {"risk": None, "confidence": None},
        None,
    )
    assert (second.risk, second.meta["disagreement"]) == (CONTROVERSIAL, 0.5)
    counts = summary.values["counts"]
    assert counts["needs review: too few votes"] == 1
    assert counts["labelled Controversial"] == 1
    assert job.output[0].meta["votes"]["b"] is None


def test_answers_have_a_refusal_and_prompts_none(tmp_path: Path) -> None:
    """By the mode of those who agree; what a source said of it stays."""
    rows = [answer(0), answer(1, refusal=False), prompt(2)]
    ask = Scripted({name: {2: said(SAFE)} for name in PANEL}, said(SAFE, refusal=True))
    job, _ = run(tmp_path, rows, ask, aggregate="majority")
    assert [row.refusal for row in job.output] == [True, False, None]


@pytest.mark.parametrize("aggregate", ["calibrated", "weighted", "stacked"])
def test_weighing_by_people_needs_people(tmp_path: Path, aggregate: Any) -> None:
    """It is refused before anybody is asked."""
    ask = Scripted({}, said(SAFE))
    with pytest.raises(ConfigurationError, match="people's labels"):
        run(tmp_path, [prompt(i) for i in range(5)], ask, aggregate=aggregate)
    assert not ask.calls


def test_the_order_of_the_panel_changes_nothing(tmp_path: Path) -> None:
    """Annotators are known by their names."""
    rows, ask, _ = judged(40, 20)
    first, one = run(tmp_path / "1", rows, ask, "abc")
    second, other = run(tmp_path / "2", rows, ask, "cab")
    assert first.output == second.output
    assert one == other


def test_a_second_start_asks_nothing_that_was_answered(tmp_path: Path) -> None:
    """Votes are parts on the disk, and the rows come out the same."""
    rows, ask, _ = judged(40, 0)
    first, _ = run(tmp_path, rows, ask, aggregate="majority")
    output, n_calls = first.output, len(ask.calls)
    assert n_calls == 40 * len(PANEL)
    second, _ = run(tmp_path, rows, ask, aggregate="majority")
    assert len(ask.calls) == n_calls
    assert second.output == output


def test_families_do_not_straddle_the_halves(tmp_path: Path) -> None:
    """A translation of a row that taught measures nothing."""
    rows = [prompt(i, risk=SAFE, is_human=True, root=f"family {i // 4}") for i in range(80)]
    job, _ = run(tmp_path, rows, Scripted({}, said(SAFE)), aggregate="majority")
    found = read_ballots(job.output, PANEL, everything)  # type: ignore[arg-type]  # a list is rows enough
    for family in range(20):
        assert len(set(found.half[family * 4 : family * 4 + 4])) == 1
    assert set(found.half) == {0, 1}
    assert len(set(found.families)) == 20


def test_the_estimate_counts_calls_by_model() -> None:
    """Each annotator is asked once of each unlabelled row."""
    profile = Profile(n_prompts=100, n_responses=300, n_unlabelled=200, prompt_tokens=30, response_tokens=150)
    found = stage_of("ab").estimate(profile)
    assert {name: usage.n_calls for name, usage in found.usage.items()} == {"a": 200, "b": 200}
    assert found.after.n_unlabelled == 0
    everything = stage_of("ab", votes_for="all").estimate(profile)
    assert everything.usage["a"].n_calls == 400
    assert everything.usage["a"].n_input == pytest.approx(2 * found.usage["a"].n_input)
    assert stage_of("ab").estimate(Profile()).usage["a"].n_calls == 0


def test_the_estimate_holds_for_what_is_sent(tmp_path: Path) -> None:
    """The characters of the calls, four to a token, are what was announced, within a fifth."""
    rows = [prompt(i) for i in range(10)]
    ask = Scripted({}, said(SAFE))
    run(tmp_path, rows, ask, "ab", aggregate="majority")
    sent = Counter[str]()
    for call in ask.calls:
        sent[call.model] += sum(len(message.content) for message in call.messages)
    profile = Profile(n_prompts=10, n_unlabelled=10, prompt_tokens=len(rows[0].judged_text) / 4)
    announced = stage_of("ab").estimate(profile).usage["a"].n_input
    assert sent["a"] / 4 == pytest.approx(announced, rel=0.2)


def test_rows_are_judged_by_their_target(tmp_path: Path) -> None:
    """The arrays know which rows are answers."""
    rows = [prompt(0), answer(1)]
    job, _ = run(
        tmp_path,
        rows,
        Scripted({"a": {0: said(SAFE)}, "b": {0: said(SAFE)}}, said(SAFE, refusal=True)),
        "ab",
        aggregate="majority",
    )
    found = read_ballots(job.output, "ab", everything)  # type: ignore[arg-type]  # as above
    assert found.is_response.tolist() == [row.target is Direction.RESPONSE for row in rows]
