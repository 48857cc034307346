"""Killed at any moment and started again: the same bytes as an undisturbed run, and no answer is paid for twice.

The server is a process of its own that writes down each request when it comes and when it has been answered.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from guardrail.training.recipe.cache import CallCache
from tests.training.recipe.runs import Served, data_files, write_recipe

pytestmark = pytest.mark.slow

CONCURRENCY = 4
LONGEST_S = 120


def start(path: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start `guardrail train all` as a process that Ctrl-C ends, even where these tests run in a shell's background."""
    command = [sys.executable, "-m", "guardrail.cli", "train", "all", "--config", str(path), *options]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process inherits that the signal is ignored
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    finally:
        signal.signal(signal.SIGINT, before)


def finish(path: Path, *options: str) -> tuple[int, str]:
    """Run `guardrail train all` to its end; return its exit code and what it printed."""
    process = start(path, *options)
    out, _ = process.communicate(timeout=LONGEST_S)
    return process.returncode, out.decode()


def wait_for(served: Served, n_answered: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when so many requests have been answered, or the process has ended."""
    until = time.monotonic() + LONGEST_S
    while process.poll() is None and sum(what == "answered" for what, _ in served.events()) < n_answered:
        assert time.monotonic() < until, "nothing more is asked"
        time.sleep(0.005)


def n_received(served: Served) -> int:
    """Return how many requests have come."""
    return sum(what == "received" for what, _ in served.events())


def n_kept(folder: Path) -> int:
    """Return how many answers the cache of a run holds."""
    with CallCache(folder / "out" / "calls.sqlite") as cache:
        return sum(cache.counts().values())


@pytest.mark.parametrize("seed", [1])
def test_a_killed_run_ends_with_the_same_bytes_and_pays_nothing_twice(tmp_path: Path, seed: int) -> None:
    """SIGKILL at three random moments, then to the end."""
    with Served(tmp_path / "whole.log") as server:
        path = write_recipe(tmp_path / "whole", n_rows=60, model=server.model(concurrency=CONCURRENCY))
        assert finish(path)[0] == 0
        n_distinct = len(dict.fromkeys(server.events())) // 2
    rng = random.Random(seed)
    with Served(tmp_path / "killed.log", delay_s=0.02) as server:
        path = write_recipe(tmp_path / "killed", n_rows=60, model=server.model(concurrency=CONCURRENCY))
        for after in sorted(rng.sample(range(1, n_distinct // 2), 3)):
            process = start(path)
            wait_for(server, after, process)
            time.sleep(rng.random() * 0.02)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        had, before = n_kept(tmp_path / "killed"), n_received(server)
        assert 0 < had < n_distinct
        assert finish(path)[0] == 0
        assert n_received(server) - before == n_distinct - had  # what had an answer is not asked again
        times = Counter(name for what, name in server.events() if what == "received")
    assert len(times) == n_distinct
    # a kill can take no more than what was under way: with each of these calls, the answer was not yet in the cache
    assert sum(times.values()) - n_distinct <= 3 * CONCURRENCY
    assert data_files(tmp_path / "killed" / "out") == data_files(tmp_path / "whole" / "out")


def test_an_interrupt_ends_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """Ctrl-C: exit code 130, no traceback, nothing half written."""
    with Served(tmp_path / "log", hold_after=30) as server:
        path = write_recipe(tmp_path / "run", n_rows=60, model=server.model())
        process = start(path)
        wait_for(server, 30, process)  # and no more, so that it cannot have ended
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 130
        assert b"Traceback" not in out
        server.release()
        assert finish(path)[0] == 0
        assert len(data_files(tmp_path / "run" / "out" / "respond")) == 9


def test_a_spent_budget_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    """5, with a line that says what to do; the next start goes on, and status has it."""
    with Served(tmp_path / "log") as server:
        path = write_recipe(tmp_path / "run", n_rows=10, model=server.model())
        code, out = finish(path, "--max-calls", "10")
        assert code == 5
        assert "run the same command again" in out
        assert n_received(server) == 10
        assert finish(path, "--max-calls", "10")[0] == 0
        assert n_received(server) == 20


def test_a_server_that_refuses_us_is_an_error_of_the_model(tmp_path: Path) -> None:
    """Exit code 4, not 5 and not 0; what was answered stays."""
    with Served(tmp_path / "log", fail_after=12) as server:
        path = write_recipe(tmp_path / "run", n_rows=20, model=server.model())
        code, out = finish(path)
        assert code == 4
        assert "Traceback" not in out
        assert n_kept(tmp_path / "run") == 12
