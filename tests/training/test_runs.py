"""Whole runs on toy data: they learn, they resume exactly, they refuse what cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import tensor_shapes
from guardrail.encoding import GuardTokenizer
from guardrail.engines.torch import TorchEngine
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.network import GuardNetwork
from guardrail.taxonomy import RiskLevel
from guardrail.training import pretrain, sft
from guardrail.training.run_folder import RunFolder, cosine
from guardrail.training.tuning.trainer import GuardTrainer
from tests.tiny import copy_tokenizer, write_tiny

KIND = [
    "the garden is green", "we bake bread today", "a song about the sea", "how to paint a fence", "my cat sleeps",
    "a walk in the park", "what time is it", "the train is late",
]  # fmt: skip
CRUEL = [
    "I will stab you", "how to poison a man", "burn their house down", "shoot the guard", "beat him to death",
    "drown the witness", "a bomb for the school",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {
            "id": str(i), "source": "toy", "lang": "en", "risk": risk, "category": category, "unsafe_start_char": None,
            "target": target,
            "messages": [{"role": "user", "content": text}]
            if target == "prompt"
            else [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{text} and {text}"}],
        }
        for i, (text, risk, category) in enumerate(
            [(t, "safe", []) for t in KIND] + [(t, "unsafe", ["violent"]) for t in CRUEL]
        )
        for target in ("prompt", "response")
    ]  # fmt: skip
    (tmp_path / "toy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.fixture
def config(data: Path) -> Callable[..., Path]:
    start = write_tiny(data / "start", n_layers=1)

    def write(**changes: object) -> Path:
        values = {"epochs": 30, "batch_tokens": 128, "learning_rate": 3e-3, "token_noise": 0.0, "threads": 1, **changes}
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        head = [f'data_dir = "{data}"', f'start = "{start}"']
        if "output" not in changes:
            head.append(f'output = "{data / "run"}"')
        path = data / f"{len(list(data.glob('*.toml')))}.toml"
        path.write_text("\n".join([*head, *lines, '[sources."toy.jsonl"]']))
        return path

    return write


def test_fine_tuning_learns_toy_rows_by_heart(config: Callable[..., Path], data: Path) -> None:
    """Thirty rows, prompts by the query heads, answers at every labelled token by the response heads; the checkpoint
    loads like any other.
    """
    sft.main(config())
    checkpoint = data / "run" / "checkpoint"
    guard = Guard(TorchEngine.from_checkpoint(checkpoint), GuardTokenizer.from_file(checkpoint / "tokenizer.json"))
    right: list[bool] = []
    for i, (text, risk) in enumerate([(t, RiskLevel.SAFE) for t in KIND] + [(t, RiskLevel.UNSAFE) for t in CRUEL]):
        verdict = guard.judge_prompt(text)
        answer = guard.judge_response(f"say {i}", f"{text} and {text}")[-1]
        right += [verdict.risk is risk, answer.risk is risk]
        assert {verdict.category, answer.category} <= {None, "Violent"}
    assert len(right) == 30
    assert sum(right) > 0.95 * len(right)
    events = [json.loads(line) for line in (data / "run" / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events if "event" in event] == ["start", "data", "end"]
    assert events[1]["rows"] + events[1]["held_out"] == 30


def test_a_killed_run_goes_on_to_the_same_weights(
    config: Callable[..., Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a step behind the last state, resumed: equal, bit for bit, to a run that was never killed."""
    few = {"epochs": 6, "save_minutes": 60, "save_steps": 3}
    whole, cut = (config(**few, output=str(data / name)) for name in ("whole", "cut"))
    sft.main(whole)
    step = GuardTrainer.training_step

    def killed(trainer: GuardTrainer, *values: Any) -> torch.Tensor:
        if trainer.state.global_step == 5:
            raise KeyboardInterrupt
        return step(trainer, *values)

    monkeypatch.setattr(GuardTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        sft.main(cut)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="--resume"):
        sft.main(cut)
    sft.main(cut, resume=True)
    assert_same_run(data / "whole", data / "cut")
    before = (data / "cut" / "checkpoint" / "model.safetensors").read_bytes()
    sft.main(cut, resume=True)
    assert (data / "cut" / "checkpoint" / "model.safetensors").read_bytes() == before


def assert_same_run(left: Path, right: Path) -> None:
    """Weights, and what the optimiser remembers, bit for bit; and only the last state is kept."""
    states = [next(iter((folder / "states").glob("checkpoint-*"))) for folder in (left, right)]
    assert states[0].name == states[1].name
    moments = [torch.load(state / "optimizer.pt", weights_only=True)["state"] for state in states]
    assert len(moments[0]) > 10
    for i, one in moments[0].items():
        assert all(torch.equal(value, moments[1][i][name]) for name, value in one.items())
    files = [folder / "checkpoint" / "model.safetensors" for folder in (left, right)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [len(list((folder / "states").glob("checkpoint-*"))) for folder in (left, right)] == [1, 1]


def assert_same_state(left: Path, right: Path) -> None:
    """Weights, and what the optimiser remembers, bit for bit."""
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (left, right)]
    assert states[0]["step"] == states[1]["step"]
    weights, moments = ([state[key] for state in states] for key in ("network", "optimizer"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for i, one in moments[0]["state"].items():
        assert all(torch.equal(value, moments[1]["state"][i][name]) for name, value in one.items())
    files = [folder / "checkpoint" / "model.safetensors" for folder in (left, right)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_fine_tuning_may_end_by_the_clock(config: Callable[..., Path], data: Path) -> None:
    """Both bounds count: far fewer passes than allowed, and the log says how many there were."""
    sft.main(config(epochs=300, max_minutes=0.001))
    end = json.loads((data / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert 0 < end["epochs"] < 100
    assert (data / "run" / "checkpoint" / "model.safetensors").exists()


def test_without_rows_nothing_is_trained(config: Callable[..., Path], data: Path) -> None:
    """An empty file is a clear error, not a division by zero."""
    (data / "toy.jsonl").write_text("\n")
    with pytest.raises(ConfigurationError, match="no rows to train on"):
        sft.main(config())


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    text = "\n".join(json.dumps({"text": " ".join(KIND * 4), "lang": "en", "source": "toy"}) for _ in range(40))
    (tmp_path / "toy.jsonl").write_text(text)
    copy_tokenizer(tmp_path)

    def write(name: str = "run", **changes: object) -> Path:
        values = {
            "data_dir": str(tmp_path), "tokenizer": str(tmp_path / "tokenizer.json"), "output": str(tmp_path / name),
            "steps": 80, "learning_rate": 1e-2, "batch": 4, "length": 32, "loss_share": 1.0, "threads": 1, **changes,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        shape = "hidden_size = 32, n_layers = 1, n_heads = 2, n_kv_heads = 1, head_dim = 16, intermediate_size = 64"
        lines += ['files = { "toy.jsonl" = 100000 }', f"shape = {{ {shape}, guard_inner_size = 16, max_context = 64 }}"]
        (tmp_path / f"{name}.toml").write_text("\n".join(lines))
        return tmp_path / f"{name}.toml"

    return write


def test_pre_training_lowers_the_loss_and_writes_a_checkpoint(corpus: Callable[..., Path], tmp_path: Path) -> None:
    """On a toy corpus; the result has the published format, so fine-tuning starts from it."""
    pretrain.main(corpus())
    end = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert (end["event"], end["step"]) == ("end", 80)
    assert end["held_out"] < 5  # a guess among 16384 tokens costs 9.7
    checkpoint = Checkpoint.open(tmp_path / "run" / "checkpoint")
    assert checkpoint.config.hidden_size == 32
    assert (tmp_path / "run" / "checkpoint" / "tokenizer.json").is_file()
    untrained = GuardNetwork.init(checkpoint.config, 1)
    heads = [name for name in tensor_shapes(checkpoint.config) if not name.startswith("model.")]
    parameters = dict(untrained.named_parameters())
    assert all(np.array_equal(checkpoint.tensor(name), parameters[name].detach().numpy()) for name in heads)


def test_a_killed_pre_training_goes_on_to_the_same_weights(
    corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a step: bit for bit as if it had not been."""
    whole, cut = (corpus(name, steps=8, save_minutes=0) for name in ("whole", "cut"))
    pretrain.main(whole)
    step = pretrain.Pretrainer.step

    def killed(trainer: pretrain.Pretrainer) -> float:
        if trainer.step_number == 5:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(pretrain.Pretrainer, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.main(cut)
    monkeypatch.undo()
    pretrain.main(cut, resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "cut")


def test_a_kill_while_the_corpus_is_written_does_not_spoil_the_resumed_run(
    corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a corpus is never taken for the whole one."""
    whole, cut = (corpus(name, steps=2) for name in ("whole", "cut"))
    pretrain.main(whole)
    save = np.save

    def killed(path: Path, array: NDArray[np.uint16]) -> None:
        save(path, array[: len(array) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.main(cut)
    monkeypatch.undo()
    pretrain.main(cut, resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "cut")


def test_too_little_text_is_said(corpus: Callable[..., Path]) -> None:
    """With what to change."""
    with pytest.raises(ConfigurationError, match=r"tokens of text are too few for rows of 9000 .*lower length"):
        pretrain.main(corpus(length=9000))


def test_fine_tuning_starts_where_pre_training_ended(
    corpus: Callable[..., Path], config: Callable[..., Path], data: Path
) -> None:
    """The checkpoint of one stage is the start of the next, tokenizer included."""
    text = "\n".join(json.dumps({"text": " ".join(CRUEL * 4)}) for _ in range(40))
    (data / "toy.jsonl").rename(data / "rows.jsonl")
    (data / "toy.jsonl").write_text(text)
    pretrain.main(corpus("pre", steps=2))
    (data / "toy.jsonl").write_text((data / "rows.jsonl").read_text())
    path = config(epochs=1)
    path.write_text(path.read_text().replace(str(data / "start"), str(data / "pre" / "checkpoint")))
    sft.main(path)
    assert Checkpoint.open(data / "run" / "checkpoint").config.hidden_size == 32


def test_a_run_folder_keeps_to_its_settings(config: Callable[..., Path], tmp_path: Path) -> None:
    """Going on with other settings would be neither run."""
    RunFolder(tmp_path / "kept", config(), resume=False)
    RunFolder(tmp_path / "kept", config(), resume=True)
    with pytest.raises(ConfigurationError, match="other settings"):
        RunFolder(tmp_path / "kept", config(epochs=2), resume=True)
    with pytest.raises(ConfigurationError, match="--resume continues it"):
        RunFolder(tmp_path / "kept", config(), resume=False)


def test_a_state_is_replaced_in_one_move(
    config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while saving, the run still has its former state."""
    folder = RunFolder(tmp_path / "kept", config(), resume=False)
    assert folder.load() is None
    folder.save({"step": 1})
    save = torch.save

    def killed(state: object, path: Path) -> None:
        save(state, path)
        path.write_bytes(path.read_bytes()[:50])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.save({"step": 2})
    assert folder.load() == {"step": 1}


def test_the_schedule_warms_up_and_decays() -> None:
    """From nothing to the peak, then down to the floor."""
    assert [cosine(p, 0.1) for p in (0.0, 0.05, 0.1, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.05])
