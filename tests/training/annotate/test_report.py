from pathlib import Path
from typing import Any

import pytest

from guardrail.audit.pages.figures import Lines, Matrix, Table
from guardrail.training.annotate.settings import AGGREGATES
from tests.training.annotate.panel import PANEL, SAFE, UNSAFE, Scripted, answer, judged, prompt, run, said


@pytest.mark.parametrize("aggregate", ["majority", "dawid_skene"])
def test_without_people_nothing_is_claimed(tmp_path: Path, aggregate: Any) -> None:
    """The labels are there, and a warning that nothing says how good they are."""
    rows, ask, _ = judged(60, 0)
    job, summary = run(tmp_path, rows, ask, aggregate=aggregate)
    assert all(row.risk for row in job.output)
    assert (summary.values["macro_f1"]["value"], summary.values["passed"]) == (None, None)
    assert any("no row has people's label" in warning for warning in summary.warnings)


def test_too_few_people_and_a_missed_target_are_warned_of(tmp_path: Path) -> None:
    """So is an annotator that would be better alone."""
    rows, ask, _ = judged(60, 60, (0.99, 0.1, 0.1))
    _, summary = run(tmp_path, rows, ask, aggregate="majority", tune=False)
    told = " ".join(summary.warnings)
    assert "fewer than 100" in told
    assert "not surely 0.9" in told
    assert "annotator a alone does surely better" in told
    assert summary.values["passed"] is False


def test_a_panel_passes_by_the_lower_end_of_its_interval(tmp_path: Path) -> None:
    """With the target reached there nothing is warned of; a target between that end and the value is not reached."""
    rows, ask, _ = judged(420, 400, (0.97, 0.95, 0.93))
    _, summary = run(tmp_path, rows, ask)
    assert summary.values["passed"] is True
    assert not summary.warnings
    measured = summary.values["macro_f1"]
    assert measured["low"] < measured["value"]
    _, summary = run(tmp_path, rows, ask, target_f1=(measured["low"] + measured["value"]) / 2)
    assert summary.values["passed"] is False
    assert any("not surely" in warning for warning in summary.warnings)


def test_a_level_that_people_never_gave_is_told(tmp_path: Path) -> None:
    """Calibration cannot know it."""
    rows = [prompt(i, risk=(SAFE, UNSAFE)[i % 2], is_human=True) for i in range(40)]
    ask = Scripted({name: {i: said((SAFE, UNSAFE)[i % 2]) for i in range(40)} for name in PANEL})
    _, summary = run(tmp_path, rows, ask)
    assert any("people never said Controversial" in warning for warning in summary.warnings)


def test_the_report_shows_every_way_and_every_annotator(tmp_path: Path) -> None:
    """Beside the confusion, the levels, the calibration and the agreement of the panel."""
    rows, ask, _ = judged(200, 150)
    _, summary = run(tmp_path, rows, ask)
    tables = {figure.title: figure for figure in summary.figures if isinstance(figure, Table)}
    ways = [row[0] for row in tables["Ways to put the votes together"].rows]
    assert ways == [name for kind in AGGREGATES for name in (kind, f"{kind}, tuned")]
    assert [row[0] for row in tables["Annotators alone"].rows] == list(PANEL)
    chosen = tables["Ways to put the votes together"].rows[ways.index("calibrated, tuned")]
    assert chosen[1] == summary.values["macro_f1"]["value"]
    confusion = next(figure for figure in summary.figures if isinstance(figure, Matrix))
    assert sum(map(sum, confusion.values)) == summary.values["macro_f1"]["n"]
    assert any(isinstance(figure, Lines) for figure in summary.figures)


def test_category_and_refusal_are_compared_with_peoples(tmp_path: Path) -> None:
    """Where people gave theirs; a category only where the panel too calls the text harmful."""
    rows = [
        answer(0, risk=UNSAFE, categories=("PII",), refusal=False, is_human=True),
        answer(1, risk=UNSAFE, categories=("Violent", "PII"), refusal=True, is_human=True),
        answer(2, risk=UNSAFE, categories=("PII",), is_human=True),
        answer(3, risk=UNSAFE, is_human=True),
    ]
    ask = Scripted({name: {2: said(SAFE, refusal=False)} for name in PANEL}, said(UNSAFE, "Violent", refusal=False))
    _, summary = run(tmp_path, rows, ask, aggregate="majority", tune=False)
    found = next(f for f in summary.figures if isinstance(f, Table) and f.title == "Category and refusal")
    assert [[row[0], row[1], row[4]] for row in found.rows] == [["category", 0.5, 2], ["refusal", 0.5, 2]]
