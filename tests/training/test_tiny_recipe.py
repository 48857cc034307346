"""examples/recipe/tiny.toml, as it stands: all stages, offline, and what a second start does."""

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from guardrail.cli.main import run
from guardrail.evaluation.rows import read_rows
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.parts import rows_in
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import STAGES

EXAMPLE = Path(__file__).parents[2] / "examples" / "recipe"
RECIPE = "examples/recipe/tiny.toml"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copytree(EXAMPLE, folder / "examples" / "recipe", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["train", "all", "--config", RECIPE]) == 0
    return folder / "runs" / "tiny"


def rows_of(ran: Path, stage: str) -> list[RecipeRow]:
    """What a stage handed on."""
    return list(rows_in(ran / stage / "rows"))


def test_every_stage_leaves_rows_a_manifest_and_a_report(ran: Path) -> None:
    """The manifest says that it is finished, and how many rows went in and out."""
    before = None
    for stage in STAGES:
        manifest = json.loads((ran / stage / "manifest.json").read_text("utf-8"))
        assert manifest["finished"], stage
        rows = rows_of(ran, stage)
        assert rows
        assert before is None or {row.id for row in rows} & before
        before = {row.id for row in rows}
        assert "<html" in (ran / stage / "report.html").read_text("utf-8")


def test_what_each_stage_is_there_for_is_in_the_rows(ran: Path) -> None:
    """Pairs, answers of all kinds, labels, a second language, controversial rows, onsets."""
    made = rows_of(ran, "respond")
    assert {"pair", "keyword", "plain", "instruct", "base", "reasoning", "refuse"} <= {r.meta.get("mode") for r in made}
    assert any(row.messages[-1].reasoning for row in made)
    assert all(row.risk for row in rows_of(ran, "annotate"))
    assert {row.lang for row in rows_of(ran, "translate")} == {"en", "de"}
    assert any("mined" in row.meta for row in rows_of(ran, "controversial"))
    onsets = [row for row in rows_of(ran, "token_labels") if row.unsafe_start_char is not None]
    assert onsets
    assert all(row.risk is not RiskLevel.SAFE for row in onsets)


def test_labels_of_people_are_the_same_at_the_end(ran: Path) -> None:
    """No stage changes them."""
    first = {row.id: row.risk for row in rows_in(ran / "inputs" / "tiny_human") if row.is_human}
    last = [row for row in rows_of(ran, "mix") if row.is_human]
    assert last
    assert all(row.risk is first[row.id] for row in last)


def test_families_never_straddle_the_splits(ran: Path) -> None:
    """Translations, answers and pair partners stand where their root stands; the files are those that `sft` reads."""
    splits = defaultdict(set)
    for row in rows_of(ran, "mix"):
        splits[row.root].add(row.split)
    assert all(len(one) == 1 for one in splits.values())
    assert set().union(*splits.values()) == {"train", "validation", "test"}
    n_read = sum(len(list(read_rows(ran / "mix" / f"{name}.parquet"))) for name in ("train", "validation", "test"))
    assert n_read == len(rows_of(ran, "mix"))


def test_a_second_start_does_nothing(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All stages are up to date, no file is touched."""
    files = {path: path.stat().st_mtime_ns for path in ran.rglob("*.parquet")}
    monkeypatch.chdir(ran.parents[1])
    assert run(["train", "all", "--config", RECIPE, "--max-calls", "1"]) == 0
    assert capsys.readouterr().out.count("up to date") == len(STAGES)
    assert {path: path.stat().st_mtime_ns for path in ran.rglob("*.parquet")} == files
