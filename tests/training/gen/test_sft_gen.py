"""Whole runs on tiny checkpoints: what they write, resume to the bit, several processes, a real server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from guardrail.checkpoint import Checkpoint
from guardrail.cli.main import run
from guardrail.errors import ConfigurationError, EngineError
from guardrail.generative.endpoint import Mode
from guardrail.guard import Guard
from guardrail.training import sft_gen
from guardrail.training.gen.examples import read_gen_examples
from guardrail.training.gen.files import open_start
from guardrail.training.gen.following import WHOLE, drop_unfinished
from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.run_folder import newest_state
from guardrail.training.settings import load_settings
from tests.generative.tiny_gen import write_gen
from tests.training.gen.conftest import ROWS, Rows, WriteConfig, WriteRows, otherwise
from tests.transformers_serve import COMMAND, serving

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft's own

LORA = "rank = 4\nalpha = 8\ndropout = 0.1"


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def families(n: int) -> Rows:
    """Many rows, of which some are held out."""
    return [
        {**row, "id": f"{i}-{j}", "messages": [{**first, "content": f"{i} {first['content']}"}, *rest]}
        for i in range(n)
        for j, row in enumerate(ROWS)
        for first, *rest in [row["messages"]]
    ]


@pytest.mark.parametrize("lora", ["", LORA], ids=["full", "lora"])
def test_a_run_leaves_a_checkpoint_whose_loss_is_the_logged_one(
    config: WriteConfig, write_rows: WriteRows, tmp_path: Path, untaught: Path, lora: str
) -> None:
    """Weights of the last step, adapters merged, under the start's own config; the log has data, steps, figures."""
    write_rows(families(20))
    path = config(lora=lora, max_steps=3, evaluate_steps=2, measured_rows=3)
    sft_gen.main(path)
    folder = tmp_path / "run" / "checkpoint"
    log = log_of(tmp_path / "run")
    assert [line.get("event") for line in log] == ["start", "data", *[None] * 6, "end"]
    assert [line["step"] for line in log[2:]] == [0, 1, 2, 2, 3, 3, 3]
    assert log[1]["rows"] + log[1]["held_out"] == 220
    assert {"held_out", "prompt"} <= log[-1].keys() or {"held_out", "response"} <= log[-1].keys()
    assert Checkpoint.open(folder).config.is_generative
    kept = [json.loads((one / "config.json").read_text()) for one in (folder, untaught)]
    assert kept[0] == kept[1]
    start = open_start(load_settings(path, SftGenSettings))
    examples = read_gen_examples(start.tokenizer, load_settings(path, SftGenSettings)).held_out
    assert _loss(folder, examples) == pytest.approx(log[-1]["held_out"], abs=1e-5)
    assert _loss(untaught, examples) == pytest.approx(log[2]["held_out"], abs=1e-5)
    assert not (tmp_path / "run" / "trained").exists()


def _loss(folder: Path, examples: Any) -> float:
    """The mean over batches of 4 of the loss of a checkpoint's answers, as transformers computes it."""
    models: Any = AutoModelForCausalLM
    model = models.from_pretrained(folder, dtype=torch.float32).eval()
    settings_seed = np.random.default_rng(1).permutation(len(examples))
    chosen = [examples[i] for i in settings_seed]
    sums = []
    with torch.inference_mode():
        for batch in (chosen[i : i + 4] for i in range(0, len(chosen), 4)):
            found = [(float(model(input_ids=_row(e.ids), labels=_row(e.labels)).loss), len(e.written)) for e in batch]
            sums.append((sum(loss * n for loss, n in found) / sum(n for _, n in found), len(batch)))
    return sum(loss * n for loss, n in sums) / sum(n for _, n in sums)


def _row(ids: Any) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int64))[None]


def test_bf16_with_recomputed_activations_trains_too(config: WriteConfig, tmp_path: Path) -> None:
    """On a CPU as well; the checkpoint is saved in bfloat16, as the published ones are."""
    sft_gen.main(config(bf16=True, activation_checkpointing=True, dtype="bf16", measured_rows=0))
    saved = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert saved["dtype"] == "bfloat16"
    assert Checkpoint.open(tmp_path / "run" / "checkpoint").config.is_generative
    assert all(np.isfinite(line["loss"]) for line in log_of(tmp_path / "run") if "loss" in line)


def test_a_loss_that_is_no_number_ends_the_run(config: WriteConfig) -> None:
    """At once, with what to change."""
    with pytest.raises(EngineError, match=r"the loss is (nan|inf) at step \d+ .*lower learning_rate"):
        sft_gen.main(config(learning_rate=1e30, max_steps=9, warmup=0.0))


def test_a_run_folder_is_continued_only_if_asked(config: WriteConfig, tmp_path: Path) -> None:
    """And a finished run that is resumed does nothing more."""
    path = config()
    sft_gen.main(path)
    weights = (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigurationError, match="--resume continues it"):
        sft_gen.main(path)
    sft_gen.main(path, resume=True)
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes() == weights


def test_the_command_says_what_is_wrong_in_a_line(
    config: WriteConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As all commands do."""
    assert run(["train", "sft-gen", "--config", str(config(rank=3))]) == 2
    assert "unknown key 'rank'; valid: activation_checkpointing, batch, bf16" in capsys.readouterr().err
    assert run(["train", "sft-gen", "--config", str(config("other", start="nowhere"))]) == 2
    assert "neither a folder nor a hub id" in capsys.readouterr().err
    assert run(["train", "sft-gen", "--config", str(config("good"))]) == 0
    assert (tmp_path / "good" / "checkpoint" / "chat_template.jinja").is_file()


def test_a_state_that_was_half_written_is_not_gone_on_from(tmp_path: Path) -> None:
    """It is taken away: the trainer would count it among those to keep."""
    for number, is_whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if is_whole:
            (tmp_path / f"checkpoint-{number}" / "whole").touch()
    newest = newest_state(tmp_path, WHOLE)
    assert newest
    assert newest.name == "checkpoint-10"
    drop_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]
    assert newest_state(tmp_path / "checkpoint-9", WHOLE) is None


def command(config: Path, *options: str, before: tuple[str, ...] = ("-m",)) -> "subprocess.Popen[bytes]":
    """Start the command in a process of its own."""
    arguments = [sys.executable, *before, "guardrail.cli", "train", "sft-gen", "--config", str(config), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["", LORA], ids=["full", "lora"])
def test_a_killed_run_goes_on_to_the_same_weights(config: WriteConfig, tmp_path: Path, lora: str) -> None:
    """kill -9 within an epoch, behind a saved state: resumed, every later loss and the weights are the same bits."""
    whole, cut = (
        config(name, lora=lora, max_steps=30, batch=2, gradient_accumulation=2, save_steps=4)
        for name in ("whole", "cut")
    )
    process = command(cut)
    deadline = time.monotonic() + 300
    while not (state := newest_state(tmp_path / "cut" / "states", WHOLE)) or state.name == "checkpoint-4":
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process works: there is no event to wait for
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "checkpoint").exists()
    sft_gen.main(cut, resume=True)
    sft_gen.main(whole)
    losses = {
        name: {line["step"]: line["loss"] for line in log_of(tmp_path / name) if "loss" in line}
        for name in ("whole", "cut")
    }
    assert losses["cut"] == losses["whole"]
    assert len(losses["whole"]) == 30
    resumed = next(line for line in log_of(tmp_path / "cut") if line.get("event") == "resumed")
    assert resumed["step"] in range(8, 30)
    files = [tmp_path / name / "checkpoint" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_two_processes_train_as_one_with_batches_twice_as_large(
    config: WriteConfig, write_rows: WriteRows, tmp_path: Path
) -> None:
    """The same command under torch's launcher: one log, one checkpoint, the same weights but for rounding."""
    write_rows(ROWS[:8])  # batches of an epoch that is no multiple are filled up, in each process with other rows
    alone = config("alone", max_steps=6, batch=4, group_by_length=False)
    both = config("both", max_steps=6, batch=2, group_by_length=False)
    sft_gen.main(alone)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")
    process = command(both, before=launcher)
    assert process.communicate(timeout=400)
    assert process.returncode == 0
    assert [line.get("event") for line in log_of(tmp_path / "both")] == ["start", "data", *[None] * 6, "end"]
    losses = [[line["loss"] for line in log_of(tmp_path / name) if "loss" in line] for name in ("alone", "both")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    weights = [load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("alone", "both")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(tensor, weights[1][name], atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that has learnt the examples' labels."""
    folder = tmp_path_factory.mktemp("taught") / "gen"
    write_gen(folder, taught=True)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND.exists(), reason="needs the command line of transformers")
def test_a_trained_model_says_the_trained_labels_here_and_behind_a_server(
    config: WriteConfig, write_rows: WriteRows, tmp_path: Path, taught: Path
) -> None:
    """A guard that had learnt other labels is retrained: the engine reads it, and `transformers serve` serves it."""
    rows = [otherwise(row) for row in ROWS]
    write_rows(rows)
    sft_gen.main(config(start=str(taught), max_steps=60, batch=11, learning_rate=6e-3, measured_rows=0))
    folder = tmp_path / "run" / "checkpoint"
    with Guard.load(folder, precision="fp32", threads=1, cache_dir=tmp_path / "cache") as guard:
        for row in rows:
            _assert_says(guard, row, is_scored=True)
    modes: tuple[Mode, ...] = ("completions", "chat")
    with serving(folder) as url:
        for mode in modes:
            with Guard.generative(f"{url}/v1", model=str(folder), mode=mode) as guard:
                for row in rows:
                    _assert_says(guard, row, is_scored=False)


def _assert_says(guard: Guard, row: dict[str, Any], *, is_scored: bool) -> None:
    """The guard's verdict on a row is its label, the refusal too."""
    asked, *answered = [message["content"] for message in row["messages"]]
    decision = guard.check_response(asked, answered[0]) if answered else guard.check_prompt(asked)
    assert decision.failure is None
    assert decision.verdict is not None
    assert decision.verdict.is_scored is is_scored
    assert (decision.risk or "").lower() == row["risk"]
    assert ([decision.category] if decision.category else []) == row["category"]
    assert decision.verdict.refusal is row["refusal"]
