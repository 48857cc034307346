"""Every stage of a recipe, killed in the middle: the same files as undisturbed, and no answered call is made again."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.manifest import Manifest, read_manifest
from guardrail.training.recipe.settings import STAGES
from tests.training.recipe.runs import Served, data_files
from tests.training.recipe.tiny import CONCURRENCY, SERVER, write_tiny

pytestmark = pytest.mark.slow

LONGEST_S = 300
ROOT = Path(__file__).resolve().parents[3]


def start(path: Path, stage: str) -> "subprocess.Popen[bytes]":
    """Start a stage as a process."""
    command = [sys.executable, "-m", "guardrail.cli", "train", stage, "--config", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)


def finish(path: Path, stage: str) -> None:
    """Run a stage to its end."""
    process = start(path, stage)
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, out.decode()


def requests(server: Served) -> list[str]:
    """Return the requests that were made, in order."""
    return [name for what, name in server.events() if what == "received"]


def manifest_of(folder: Path, stage: str) -> Manifest:
    """Return what stands beside a stage's rows."""
    found = read_manifest(folder / "out" / stage)
    assert found
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run of all stages."""
    folder = tmp_path_factory.mktemp("whole")
    with Served(folder / "log", program=SERVER) as server:
        finish(write_tiny(folder, server.port), "all")
    return folder


def kill_somewhere(path: Path, stage: str, whole: Manifest, rng: random.Random, server: Served) -> None:
    """Start a stage, and kill it after a random number of requests; where it makes none, after a random time."""
    n_calls = sum(calls.asked for calls in whole.calls.values())
    had, after = len(requests(server)), rng.randint(1, max(1, n_calls // 2))
    process = start(path, stage)
    until = time.monotonic() + LONGEST_S
    while process.poll() is None and time.monotonic() < until:
        if n_calls and len(requests(server)) >= had + after:
            break
        if not n_calls and (path.parent / "out" / stage).exists():
            time.sleep(rng.random() * whole.seconds)
            break
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_ends_with_the_same_files(tmp_path: Path, whole: Path, stage: str) -> None:
    """Twice killed, at random; its input is there, its cache is empty at the start."""
    shutil.copytree(whole / "out", tmp_path / "out", ignore=shutil.ignore_patterns("calls.sqlite*"))
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(tmp_path / "out" / later)
    rng, undisturbed = random.Random(stage), manifest_of(whole, stage)
    with Served(tmp_path / "log", program=SERVER, delay_s=0.005) as server:
        path = write_tiny(tmp_path, server.port)
        for _ in range(2):
            kill_somewhere(path, stage, undisturbed, rng, server)
        with CallCache(tmp_path / "out" / "calls.sqlite") as cache:
            had = sum(cache.counts().values())
        before = len(requests(server))
        finish(path, stage)
        asked = requests(server)
    n_distinct = len(set(asked))
    assert len(asked) - before == n_distinct - had  # what had an answer is not asked again
    assert len(asked) - n_distinct <= 2 * len(undisturbed.plan.models) * CONCURRENCY
    assert data_files(tmp_path / "out" / stage) == data_files(whole / "out" / stage)
    assert manifest_of(tmp_path, stage).rows == undisturbed.rows
