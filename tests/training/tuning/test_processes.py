"""Two processes on one machine give the weights of one: with whole copies of the model, and with shards of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_tiny
from tests.training.tuning.toy import largest_difference, log_of, toy_rows, write_config, write_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LONGEST_S = 400


def launch(*words: str) -> str:
    """Run `accelerate launch`; return what it printed."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *words]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, a start, and the run of one process."""
    folder = tmp_path_factory.mktemp("processes")
    write_rows(folder / "toy.jsonl", list(toy_rows(300)))
    write_tiny(folder / "start")
    subprocess.run(
        [sys.executable, "-m", "guardrail.cli", "train", "sft", "--config", str(config(folder, "one"))],
        check=True, timeout=LONGEST_S, capture_output=True,
    )  # fmt: skip
    return folder


def config(folder: Path, name: str, **changes: object) -> Path:
    few = {"epochs": 1, "token_noise": 0.1, "evaluate_steps": 5, "save_steps": 4, "keep": "best", "max_minutes": 100}
    return write_config(folder, folder / "start", name=name, **{**few, **changes})


def assert_same(folder: Path, name: str) -> None:
    """The weights and the log are those of one process."""
    assert largest_difference(folder / "start", folder / "one" / "checkpoint") > 5e-3
    assert largest_difference(folder / "one" / "checkpoint", folder / name / "checkpoint") < 1e-4
    logs = [[line for line in log_of(folder / run) if "grad_norm" in line] for run in ("one", name)]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert [line["loss"] for line in logs[1]] == pytest.approx([line["loss"] for line in logs[0]], rel=1e-4)
    ends = [log_of(folder / run)[-1] for run in ("one", name)]
    assert ends[1]["held_out"] == pytest.approx(ends[0]["held_out"], rel=1e-4)
    assert [line["event"] for line in log_of(folder / name) if "event" in line] == ["start", "data", "end"]


@pytest.mark.parametrize("n_passes", [1, 3])
def test_two_processes_give_the_weights_of_one(folder: Path, n_passes: int) -> None:
    """The same command under `accelerate launch`; the first process alone writes."""
    name = f"two{n_passes}"
    words = ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    path = config(folder, name, gradient_accumulation=n_passes)
    launch("--multi_gpu", *words, "-m", "guardrail.cli", "train", "sft", "--config", str(path))
    assert_same(folder, name)


def test_two_processes_with_shards_of_the_model_give_the_weights_of_one(folder: Path) -> None:
    """FSDP2 as in examples/sft/fsdp.yaml, killed in the middle and resumed."""
    words = ("--config_file", "examples/sft/fsdp.yaml", str(Path(__file__).with_name("on_cpu.py")))
    path = config(folder, "shards")
    with pytest.raises(AssertionError, match="killed as the test asks"):
        launch(*words, str(path), "kill")
    launch(*words, str(path), "resume")
    lines = log_of(folder / "shards")
    assert [line["event"] for line in lines if "event" in line] == ["start", "data", "start", "data", "resumed", "end"]
    assert largest_difference(folder / "one" / "checkpoint", folder / "shards" / "checkpoint") < 1e-4
    assert list((folder / "shards" / "states").glob("checkpoint-*/pytorch_model_fsdp_0/*.distcp"))
