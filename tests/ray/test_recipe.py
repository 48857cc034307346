"""Stages of the recipe on Ray: the bytes of a run here, and no answer paid for twice, whoever is killed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make ray-test")

from guardrail.errors import BudgetSpent, EngineError  # noqa: E402  # behind the skip
from guardrail.training.recipe.cache import CallCache  # noqa: E402
from tests.training.recipe.runs import Served, data_files, run, write_recipe  # noqa: E402

CONCURRENCY = 8
N_ROWS, N_CALLS = 80, 160


def asked(server: Served) -> Counter[str]:
    """Return how often each request came."""
    return Counter(name for what, name in server.events() if what == "received")


def n_answered(server: Served) -> int:
    """Return how many requests were answered."""
    return sum(what == "answered" for what, _ in server.events())


def wait_for(server: Served, n: int) -> None:
    """Return when so many requests have been answered."""
    until = time.monotonic() + 120
    while n_answered(server) < n:
        assert time.monotonic() < until, "nothing more is asked"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The data of a run here."""
    folder = tmp_path_factory.mktemp("whole")
    with Served(folder / "log") as server:
        run(write_recipe(folder / "run", n_rows=N_ROWS, model=server.model()))
    return data_files(folder / "run" / "out")


@pytest.mark.usefixtures("cluster")
def test_workers_make_the_bytes_of_a_run_here(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Each request comes once; calls are counted whatever worker made them."""
    with Served(tmp_path / "log") as server:
        path = write_recipe(tmp_path / "run", n_rows=N_ROWS, model=server.model(concurrency=CONCURRENCY))
        (manifest,), _ = run(path, n_ray=2)
        assert set(asked(server).values()) == {1}
    assert data_files(tmp_path / "run" / "out") == whole
    calls = manifest.calls["small"]
    assert (calls.asked, calls.n_output > 0) == (N_CALLS, True)


@pytest.mark.usefixtures("cluster")
def test_the_budget_is_one_for_all_workers(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Not a call more; what was paid for is kept, and the next start goes on."""
    with Served(tmp_path / "log", delay_s=0.01) as server:
        path = write_recipe(tmp_path / "run", n_rows=N_ROWS, model=server.model(concurrency=CONCURRENCY))
        with pytest.raises(BudgetSpent, match="--max-calls"):
            run(path, n_ray=2, max_calls=60)
        assert asked(server).total() == n_answered(server) == 60
        run(path, n_ray=2)
        assert set(asked(server).values()) == {1}
    assert data_files(tmp_path / "run" / "out") == whole


@pytest.mark.usefixtures("cluster")
def test_a_model_that_fails_is_an_error_here(tmp_path: Path) -> None:
    """With the message that it would have without Ray."""
    with Served(tmp_path / "log", fail_after=20) as server:
        path = write_recipe(tmp_path / "run", n_rows=N_ROWS, model=server.model(concurrency=CONCURRENCY))
        with pytest.raises(EngineError, match="small"):
            run(path, n_ray=2)


def test_a_killed_worker_is_replaced_and_pays_nothing_twice(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """What was under way in it is asked again, and nothing else."""
    with Served(tmp_path / "log", delay_s=0.02) as server:
        path = write_recipe(tmp_path / "run", n_rows=N_ROWS, model=server.model(concurrency=CONCURRENCY))
        process = start(path)
        wait_for(server, 50)
        os.kill(worker_of(process), signal.SIGKILL)
        out, _ = process.communicate(timeout=180)
        assert process.returncode == 0, out.decode()
        times = asked(server)
    assert len(times) == N_CALLS
    assert times.total() - N_CALLS <= CONCURRENCY // 2
    assert data_files(tmp_path / "run" / "out") == whole


def test_a_killed_driver_goes_on_and_pays_nothing_twice(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """The cache outlives it: what it holds is not asked again."""
    with Served(tmp_path / "log", delay_s=0.02) as server:
        path = write_recipe(tmp_path / "run", n_rows=N_ROWS, model=server.model(concurrency=CONCURRENCY))
        process = start(path)
        wait_for(server, 70)
        process.kill()
        process.communicate()
        wait_for_silence(server)
        with CallCache(tmp_path / "run" / "out" / "calls.sqlite") as cache:
            had = sum(cache.counts().values())
        before = asked(server).total()
        assert 0 < had < N_CALLS
        process = start(path)
        out, _ = process.communicate(timeout=180)
        assert process.returncode == 0, out.decode()
        times = asked(server)
    assert times.total() - before == N_CALLS - had
    assert times.total() - N_CALLS <= CONCURRENCY
    assert data_files(tmp_path / "run" / "out") == whole


def start(path: Path) -> "subprocess.Popen[bytes]":
    """Start the command with two workers, on a cluster of its own."""
    command = [sys.executable, "-m", "guardrail.cli", "train", "all", "--config", str(path), "--ray", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def worker_of(process: "subprocess.Popen[bytes]") -> int:
    """Return the process of one of its workers; Ray writes what an actor is into its process's name."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_under(int(folder.name), process.pid):
            name = (folder / "cmdline").read_bytes().split(b"\0")[0]
            if name.startswith(b"ray::") and b"_Worker" in name:
                return int(folder.name)
    raise AssertionError("no worker is there")


def wait_for_silence(server: Served) -> None:
    """Return when nothing has been asked for a second: the workers have seen that the driver is gone."""
    n = -1
    while n != (n := asked(server).total()):
        time.sleep(1)


def _is_under(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            return False
    return False
