"""Killed at any moment and started again: the same bytes as an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import write_tiny
from tests.training.tuning.toy import log_of, toy_rows, write_config, write_rows

pytestmark = pytest.mark.slow

LONGEST_S = 300


def start(config: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start `guardrail train sft` as a process."""
    command = [sys.executable, "-m", "guardrail.cli", "train", "sft", "--config", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def step_of(run: Path) -> int:
    """Return the last step that the log names."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return max((json.loads(line).get("step", 0) for line in lines if line.endswith("}")), default=0)


@pytest.mark.parametrize("seed", [1])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, seed: int) -> None:
    """SIGKILL at two random moments, states being written at every step; then to the end."""
    write_rows(tmp_path / "toy.jsonl", list(toy_rows(400)))
    folder = write_tiny(tmp_path / "start", n_layers=1)
    few = {"epochs": 2, "save_steps": 1, "log_steps": 1, "evaluate_steps": 10, "token_noise": 0.1, "keep": "best"}
    whole, cut = (write_config(tmp_path, folder, name=name, **few) for name in ("whole", "cut"))
    process = start(whole)
    said, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said.decode()
    n_steps = log_of(tmp_path / "whole")[-1]["step"]
    draw = random.Random(seed)
    for number, after in enumerate(sorted(draw.sample(range(2, n_steps - 5), 2))):
        process = start(cut, *(["--resume"] if number else []))
        until = time.monotonic() + LONGEST_S
        while process.poll() is None and step_of(tmp_path / "cut") < after:
            assert time.monotonic() < until, "no step is taken"
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "cut" / "checkpoint").exists()
    process = start(cut, "--resume")
    said, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, said.decode()
    files = [tmp_path / name / "checkpoint" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    losses = [
        {line["step"]: line["loss"] for line in log_of(tmp_path / name) if "grad_norm" in line}
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    assert any(line.get("event") == "resumed" for line in log_of(tmp_path / "cut"))
