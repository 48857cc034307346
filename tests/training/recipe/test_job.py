"""A stage's job on the disk: no part is made twice, and none is half there."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.training.recipe.bars import Bars
from guardrail.training.recipe.calls import Ask, Call, Reply, Text
from guardrail.training.recipe.folder import begin
from guardrail.training.recipe.job import StageJob
from guardrail.training.recipe.manifest import Plan, RowsNote, read_manifest
from guardrail.training.recipe.notes import Notes
from guardrail.training.recipe.parts import write_parts
from guardrail.training.recipe.runner import Advance, Finish, Piece, work_on
from guardrail.training.recipe.stage import OUTPUT, Made, Work
from tests.training.recipe_job import MemoryJob
from tests.training.recipe_rows import prompt

T = TypeVar("T")


class Here:
    """A runner that remembers which parts it was given, and may be killed after some."""

    def __init__(self, killed_after: int | None = None) -> None:
        self.given: list[int] = []
        self._left = killed_after

    def run(self, pieces: Iterable[Piece[T]], work: Work[T], finish: Finish, advance: Advance) -> None:
        """Do the work, part by part."""
        for piece in pieces:
            if self._left == len(self.given):
                raise KeyboardInterrupt
            self.given.append(piece.number)
            asyncio.run(work_on([piece], work, answer, finish, advance))


async def answer(call: Call) -> Reply:
    """Answer with the question."""
    return Reply((Text(call.prompt),))


async def double(item: int, ask: Ask) -> Made:
    """Make two rows of an item, none of every fifth."""
    await ask(Call("m", "completion", prompt=str(item)))
    if item % 5 == 4:
        return Made((), {"dropped: fifth": 1})
    return Made((prompt(f"{item}/a"), prompt(f"{item}/b")))


def job_in(output: Path, runner: Any, *, n_rows: int = 0, limit: int | None = None, part_rows: int = 4) -> StageJob:
    """Return a job in a folder."""
    inputs = {"inputs": RowsNote(n_rows=n_rows, sha256="")}
    plan = Plan(
        stage="mix", stage_version=1, settings={}, models={}, materials={}, inputs=inputs, seed=7, limit=limit,
        part_rows=part_rows,
    )  # fmt: skip
    rows = write_parts(output / "given", (prompt(f"r{i}") for i in range(n_rows)), part_rows)
    manifest, _ = begin(output, plan)
    notes = Notes(output / "mix", manifest, dict)
    return StageJob(plan, output / "mix", rows, runner=runner, bars=Bars("mix", dict), notes=notes)


@settings(max_examples=25)
@given(n_items=st.integers(0, 30), killed_after=st.integers(0, 8))
def test_finished_parts_are_not_made_again(
    tmp_path_factory: pytest.TempPathFactory, n_items: int, killed_after: int
) -> None:  # fmt: skip
    """A second start is given what is left, and hands on what an undisturbed run does."""
    folder = tmp_path_factory.mktemp("job")
    n_parts = -(-n_items // 4)
    if killed_after < n_parts:
        with pytest.raises(KeyboardInterrupt):
            job_in(folder, Here(killed_after)).map(OUTPUT, range(n_items), double, n_items=n_items)
    runner = Here()
    rows = job_in(folder, runner).map(OUTPUT, range(n_items), double, n_items=n_items)
    assert runner.given == list(range(killed_after if killed_after < n_parts else 0, n_parts))
    assert [row.id for row in rows] == [f"{i}/{x}" for i in range(n_items) if i % 5 != 4 for x in "ab"]
    assert rows.counts.get("dropped: fifth", 0) == n_items // 5


def test_steps_lie_apart_from_what_is_handed_on(tmp_path: Path) -> None:
    """A stage may map several times."""
    job = job_in(tmp_path, Here())
    job.map("votes", range(5), double, n_items=5)
    job.map(OUTPUT, range(3), double, n_items=3)
    assert len(list((tmp_path / "mix" / "work" / "votes").glob("*.parquet"))) == 2
    assert len(list((tmp_path / "mix" / "rows").glob("*.parquet"))) == 1


@pytest.mark.parametrize("n_items", [6, 9, 13])
def test_another_number_of_items_than_announced_is_an_error(tmp_path: Path, n_items: int) -> None:
    """It would be a stage's bug: parts would be missing, or items lost."""
    with pytest.raises(ValueError, match="items that were announced"):
        job_in(tmp_path, Here()).map(OUTPUT, range(8), double, n_items=n_items)


def test_the_manifest_says_how_far_it_is(tmp_path: Path) -> None:
    """A kill leaves the step and its parts to be read."""
    with pytest.raises(KeyboardInterrupt):
        job_in(tmp_path, Here(2)).map("votes", range(20), double, n_items=20)
    job_in(tmp_path, Here(0))
    with pytest.raises(KeyboardInterrupt):
        job_in(tmp_path, Here(0)).map("votes", range(20), double, n_items=20)
    manifest = read_manifest(tmp_path / "mix")
    assert manifest
    assert (manifest.step, manifest.n_parts_done, manifest.n_parts, manifest.n_starts) == ("votes", 2, 5, 3)


def test_written_rows_are_cut_into_parts_and_counted(tmp_path: Path) -> None:
    """Counts may grow until the last row; parts of a longer run before give way."""
    counts: dict[str, int] = {}

    def rows(n: int) -> Any:
        for i in range(n):
            counts["seen"] = i + 1
            yield prompt(f"r{i}")

    job = job_in(tmp_path, Here())
    job.write(rows(13))
    written = job.write(rows(9), counts)
    assert [len(row.id) for row in written] == [2] * 9
    assert (len(written.paths), dict(written.counts)) == (3, {"seen": 9})
    assert len(list((tmp_path / "mix" / "rows").glob("*.parquet"))) == 3


def test_the_input_is_cut_to_the_limit(tmp_path: Path) -> None:
    """Rows and their number alike, as often as they are read."""
    job = job_in(tmp_path, Here(), n_rows=10, limit=6)
    assert len(job.rows) == 6
    for _ in range(2):
        assert [row.id for row in job.rows] == [f"r{i}" for i in range(6)]


def memory_job(folder: Path, rows: list[Any]) -> Any:
    """Return the job of other stages' tests."""
    return MemoryJob(rows, folder, answer)


def real_job(folder: Path, rows: list[Any]) -> Any:
    """Return a job on the disk."""
    return job_in(folder, Here(), n_rows=len(rows))


@pytest.mark.parametrize("make", [memory_job, real_job])
def test_the_job_in_memory_does_what_the_real_one_does(
    tmp_path: Path, make: Callable[[Path, list[Any]], Any]
) -> None:  # fmt: skip
    """So that what holds for a stage in its own tests holds in a run."""
    job = make(tmp_path, [prompt(f"r{i}") for i in range(11)])
    rows = job.map("votes", range(len(job.rows)), double, n_items=len(job.rows))
    assert (len(rows), rows.counts) == (18, {"dropped: fifth": 2})
    handed = job.write(rows, {"kept": 1})
    assert [row.id for row in handed] == [row.id for row in rows]
    assert handed.counts == {"kept": 1}
