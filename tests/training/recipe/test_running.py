"""Stages are run once, go on where they were, and never lose what another plan had made."""

import os
import shutil
from pathlib import Path

import pytest

from guardrail.errors import BudgetSpent, ConfigurationError, EngineError
from guardrail.training.recipe.folder import held
from guardrail.training.recipe.manifest import read_manifest
from guardrail.training.recipe.parts import rows_in
from tests.training.recipe.runs import data_files, n_asked, run, write_recipe


def test_a_stage_hands_on_rows_in_parts(tmp_path: Path) -> None:
    """A prompt and its answers stay together, in the order of the input, whatever order the answers came in."""
    (manifest,), said = run(write_recipe(tmp_path))
    rows = list(rows_in(tmp_path / "out" / "respond" / "rows"))
    assert [row.id for row in rows[::3]] == [f"r{i}" for i in range(30)]
    assert all(row.id.startswith(row.root) for row in rows)
    assert [row.root for row in rows] == [f"r{i // 3}" for i in range(90)]
    assert [part.n_rows for part in manifest.parts] == [21, 21, 21, 21, 6]
    assert manifest.rows
    assert manifest.rows.n_rows == len(rows) == 90
    assert manifest.calls["small"].asked == n_asked(tmp_path) == 60
    assert said == ["respond: 30 rows in, 90 out, 0 left out"]


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    """The second start says so, and writes nothing."""
    path = write_recipe(tmp_path)
    run(path)
    before = (tmp_path / "out" / "respond" / "manifest.json").read_bytes()
    _, said = run(path)
    assert "up to date" in said[0]
    assert (tmp_path / "out" / "respond" / "manifest.json").read_bytes() == before


def test_the_budget_stops_cleanly_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """Not a call more than allowed, none twice, and the data of a run without bounds."""
    run(write_recipe(tmp_path / "whole"))
    path = write_recipe(tmp_path / "bounded")
    for n in (25, 50):
        with pytest.raises(BudgetSpent, match="--max-calls"):
            run(path, max_calls=25)
        assert n_asked(tmp_path / "bounded") == n
        manifest = read_manifest(tmp_path / "bounded" / "out" / "respond")
        assert manifest
        assert (manifest.stopped, manifest.finished, manifest.calls["small"].asked) == ("budget", None, n)
    (manifest,), _ = run(path, max_calls=25)
    assert (manifest.n_starts, manifest.stopped, n_asked(tmp_path / "bounded")) == (3, None, 60)
    assert data_files(tmp_path / "bounded" / "out") == data_files(tmp_path / "whole" / "out")


def test_a_model_that_fails_ends_the_stage(tmp_path: Path) -> None:
    """It is noted, no part is half written, and the next start asks for what is missing alone."""
    path = write_recipe(tmp_path)
    (tmp_path / "down").touch()
    with pytest.raises(EngineError):
        run(path)
    manifest = read_manifest(tmp_path / "out" / "respond")
    assert manifest
    assert (manifest.stopped, manifest.n_parts_done) == ("error", 0)
    assert not list((tmp_path / "out" / "respond" / "rows").glob("*"))
    (tmp_path / "down").unlink()
    (manifest,), _ = run(path)
    assert manifest.stopped is None
    assert n_asked(tmp_path) == 60


def test_another_plan_sets_aside_what_was_made_and_comes_back_to_it(tmp_path: Path) -> None:
    """Settings are changed and changed back: nothing is asked or made a second time."""
    path = write_recipe(tmp_path)
    run(path)
    whole = data_files(tmp_path / "out" / "respond")
    text = path.read_text()
    path.write_text(text.replace("samples = 2", "samples = 1"))
    _, said = run(path)
    assert said[0].startswith("respond: another plan (settings); what was there is kept in respond.")
    assert data_files(tmp_path / "out" / "respond") != whole
    asked = n_asked(tmp_path)
    path.write_text(text)
    _, said = run(path)
    assert said[0].endswith("is taken back")
    assert data_files(tmp_path / "out" / "respond") == whole
    assert n_asked(tmp_path) == asked == 60  # one sample of each prompt is a call that was made before


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("seed", "part_rows = 7", "part_rows = 7\nseed = 2"), "seed"),
        (("part_rows", "part_rows = 7", "part_rows = 8"), "inputs, part_rows"),
        (("model", 'kind = "function"', 'kind = "function"\nrevision = "b"'), "models"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_whatever_changes_the_rows_changes_the_plan(
    tmp_path: Path, change: tuple[str, str, str], differs: str
) -> None:  # fmt: skip
    """It is said what differs."""
    path = write_recipe(tmp_path)
    run(path)
    text = path.read_text()
    assert change[1] in text
    path.write_text(text.replace(change[1], change[2], 1))
    _, said = run(path)
    assert said[0].startswith(f"respond: another plan ({differs})")


def test_what_does_not_change_the_rows_does_not_change_the_plan(tmp_path: Path) -> None:
    """Concurrency and prices are no part of it."""
    path = write_recipe(tmp_path)
    run(path)
    path.write_text(path.read_text().replace("[models.small]", "[models.small]\nconcurrency = 3\ninput_price = 2"))
    _, said = run(path)
    assert "up to date" in said[0]


def test_concurrency_changes_no_byte(tmp_path: Path) -> None:
    """One call at a time, or many."""
    paths = [write_recipe(tmp_path / name) for name in ("one", "many")]
    paths[0].write_text(paths[0].read_text().replace("[models.small]", "[models.small]\nconcurrency = 1"))
    for path in paths:
        run(path)
    assert data_files(tmp_path / "one" / "out") == data_files(tmp_path / "many" / "out")


def test_the_limit_takes_the_first_rows(tmp_path: Path) -> None:
    """They are what they are in a run over all rows."""
    path = write_recipe(tmp_path)
    (manifest,), _ = run(path, limit=8)
    assert (manifest.n_in, manifest.plan.limit) == (8, 8)
    assert [row.root for row in rows_in(tmp_path / "out" / "respond" / "rows")][::3] == [f"r{i}" for i in range(8)]


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_stage_that_lacks_a_part_is_not_read(tmp_path: Path, damage: str) -> None:
    """Neither it nor the stage after it says that all is well; made again, it is the same, and nobody is asked."""
    path = write_recipe(tmp_path)
    run(path)
    folder = tmp_path / "out" / "respond"
    whole, part = data_files(folder), folder / "rows" / "00003.parquet"
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1])
    path.write_text(path.read_text() + "[mix]\n")
    for stage in ("respond", "mix"):
        with pytest.raises(ConfigurationError, match=rf"rows/00003\.parquet .*move {folder} away and run"):
            run(path, stage)
    shutil.rmtree(folder)
    run(path)
    assert data_files(folder) == whole
    assert n_asked(tmp_path) == 60


def test_a_stage_reads_the_parts_that_were_handed_on(tmp_path: Path) -> None:
    """A file that does not belong to them is none of them."""
    path = write_recipe(tmp_path)
    run(path)
    rows = tmp_path / "out" / "respond" / "rows"
    (rows / "00077.parquet").write_bytes((rows / "00000.parquet").read_bytes())
    path.write_text(path.read_text() + "[mix]\n")
    (manifest,), _ = run(path, "mix")
    assert manifest.rows
    assert manifest.n_in == manifest.rows.n_rows + manifest.n_dropped == 90


@pytest.mark.parametrize("name", ["respond/rows/.00002.parquet.unfinished", "respond/.manifest.json.unfinished"])
def test_a_full_disk_is_said_and_the_next_start_goes_on(tmp_path: Path, name: str) -> None:
    """The file is named, and what to do; the rows are those of a run that had room."""
    run(write_recipe(tmp_path / "whole"))
    path, unfinished = write_recipe(tmp_path / "full"), tmp_path / "full" / "out" / name
    with pytest.raises(BudgetSpent):
        run(path, max_calls=20)
    unfinished.symlink_to("/dev/full")
    wanted = name.replace("/.", "/").removesuffix(".unfinished")
    with pytest.raises(ConfigurationError, match=rf"{wanted} cannot be written: No space left .*same command again"):
        run(path)
    unfinished.unlink(missing_ok=True)
    run(path)
    assert data_files(tmp_path / "full" / "out") == data_files(tmp_path / "whole" / "out")


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    """It waits a moment, changes nothing and ends."""
    path = write_recipe(tmp_path)
    with held(tmp_path / "out"), pytest.raises(ConfigurationError, match=f"process {os.getpid()} on .*, since 20"):
        run(path)
    assert not (tmp_path / "out" / "respond").exists()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """A stage does not write where somebody else's files are."""
    path = write_recipe(tmp_path)
    (tmp_path / "out" / "respond").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="holds no manifest of a stage"):
        run(path)


def test_a_stage_without_a_section_is_refused(tmp_path: Path) -> None:
    """The message names those that there are."""
    with pytest.raises(ConfigurationError, match=r"no section \[annotate\].*respond"):
        run(write_recipe(tmp_path), "annotate")


def test_a_stage_without_rows_is_refused(tmp_path: Path) -> None:
    """Only `synthesise` can begin with nothing."""
    path = write_recipe(tmp_path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "inputs" not in line))
    with pytest.raises(ConfigurationError, match="no rows to read"):
        run(path)
