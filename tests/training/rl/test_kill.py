"""Killed at any moment, a run goes on at the last step that was saved, with fresh answers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardrail.training.gen.following import WHOLE
from guardrail.training.rl import stage
from guardrail.training.run_folder import newest_state
from guardrail.training.tuning.page import read_log
from tests.training.rl.toys import log_of, summary_of, write_config

pytestmark = pytest.mark.slow


def start(config: Path) -> "subprocess.Popen[bytes]":
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "guardrail.cli", "train", "rl", "--config", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_a_killed_run_goes_on_at_the_last_saved_step(tmp_path: Path) -> None:
    """kill -9 in the second training: the first stays as it is, the second takes every step once, from its own figures
    before; the prompts are not chosen anew.
    """
    config = write_config(tmp_path, steps=24, log_steps=1, save_steps=4)
    process = start(config)
    states, until = tmp_path / "run" / "mixed-1" / "states", time.monotonic() + 280
    while not (state := newest_state(states, WHOLE)) or state.name == "checkpoint-4":
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < until
        time.sleep(0.01)  # another process works: there is no event to wait for
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    kept = [tmp_path / "run" / name for name in ("guard_only-1/result.json", "rollouts/rows.jsonl")]
    times = [path.stat().st_mtime_ns for path in kept]
    stage.main(config, resume=True)
    assert [path.stat().st_mtime_ns for path in kept] == times
    folder = tmp_path / "run" / "mixed-1"
    resumed = next(line["step"] for line in log_of(folder) if line.get("event") == "resumed")
    assert resumed in range(8, 24, 4)
    steps = [line["step"] for line in read_log(folder) if "loss" in line]
    assert steps == list(range(1, 25))
    measured = [line for line in log_of(folder) if line.get("event") == "measured"]
    assert [line["step"] for line in measured] == [0, 24]
    told = summary_of(tmp_path / "run")["mixed"]
    assert told["before"]["unsafe"] == measured[0]["unsafe"]
    assert told["after"]["unsafe"] == measured[1]["unsafe"]
