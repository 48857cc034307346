"""Scans on Ray: the bytes of a scan here, with a real model in each actor."""

from functools import partial
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make ray-test")

from guardrail import Decision  # noqa: E402  # behind the skip
from guardrail.cli.options import GuardOptions  # noqa: E402
from guardrail.engines.runtime import Runtime  # noqa: E402
from guardrail.scanning.columns import Columns  # noqa: E402
from guardrail.scanning.jobs import Subject, plan_jobs  # noqa: E402
from guardrail.scanning.judge import CALL_TOKENS, Request  # noqa: E402
from guardrail.scanning.ray import judging_on_ray  # noqa: E402
from guardrail.scanning.scan import scan  # noqa: E402
from tests.scanning.files import Watching, write_jsonl  # noqa: E402

LOAD = partial(GuardOptions(threads=1).opened, runtime=Runtime(step_tokens=CALL_TOKENS), kept_bytes=0)
PART_ROWS = 25


def inputs(folder: Path) -> list[Path]:
    """Two files with prompts, answers and a line that is no row."""
    rows = [{"id": i, "prompt": f"How do I bake bread {i}?", "response": "Knead it. " * (i % 9)} for i in range(180)]
    return [write_jsonl(folder / "a.jsonl.gz", rows), write_jsonl(folder / "b.jsonl", [*rows[:60], b"nonsense"])]


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, and what is in them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("cluster")
def test_actors_give_the_bytes_of_a_scan_here(tmp_path: Path) -> None:
    """Whatever actor judged a part, and with parts that were finished here before."""
    paths = inputs(tmp_path)
    request = Request(Columns(), keep_columns=True, part_rows=PART_ROWS)
    with LOAD() as guard:
        subject = Subject.of(guard)
        for folder, killed_after in (("whole", None), ("begun", 3)):
            (tmp_path / folder).mkdir()
            runner = Watching(guard, killed_after=killed_after)
            try:
                scan(plan_jobs(paths, tmp_path / folder, request), subject, runner, lambda _: None)
            except KeyboardInterrupt:
                assert folder == "begun"
    for folder, n_left in (("ray", 241), ("begun", 241 - 3 * PART_ROWS)):
        (tmp_path / folder).mkdir(exist_ok=True)
        jobs = plan_jobs(paths, tmp_path / folder, request)
        reports = scan(jobs, subject, judging_on_ray(LOAD, 2), lambda _: None)
        assert sum(report.n_judged for report in reports) == n_left
        assert files_of(tmp_path / folder) == files_of(tmp_path / "whole")


@pytest.mark.usefixtures("cluster")
def test_more_than_one_actor_takes_part(tmp_path: Path) -> None:
    """Every part is a block of its own, so that one file keeps several models busy."""
    (path, _) = inputs(tmp_path)
    jobs = plan_jobs([path], tmp_path / "out", Request(Columns(), part_rows=5))
    with LOAD() as guard:
        subject = Subject.of(guard)
    (tmp_path / "out").mkdir()
    marks = tmp_path / "loads"
    marks.mkdir()
    scan(jobs, subject, judging_on_ray(partial(LOAD, _Marks(marks)), 2), lambda _: None)
    assert len(list(marks.iterdir())) == 2


class _Marks:
    """A sink that leaves a mark for each actor that decides."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the sink protocol
        """Mark."""
        (self._folder / ray.get_runtime_context().get_actor_id()).touch()

    def close(self) -> None:
        """Do nothing."""
