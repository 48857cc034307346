"""Whole runs on toy rows: what a plain loop would do, held-out figures, the best weights, an early end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from guardrail.checkpoint import Checkpoint
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.network import GuardNetwork
from guardrail.training import sft
from guardrail.training.examples import IGNORED
from guardrail.training.losses import Batch, guard_losses
from guardrail.training.run_folder import cosine
from guardrail.training.tuning.batches import Share, StepPlan, TrainParts, collate
from guardrail.training.tuning.model import TunedGuard
from guardrail.training.tuning.start import start_network
from guardrail.training.tuning.trainer import GuardTrainer
from tests.tiny import write_tiny
from tests.training.tuning.toy import (
    largest_difference,
    log_of,
    read_settings,
    read_toy,
    toy_rows,
    write_config,
    write_rows,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("start"), n_layers=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "toy.jsonl", list(toy_rows(200)))
    return tmp_path


def test_a_run_is_what_a_plain_loop_over_the_losses_does(folder: Path, start: Path) -> None:
    """AdamW, two learning rates, warm-up and cosine, clipped gradients, noise, rows that weigh the same."""
    changes: dict[str, Any] = {"epochs": 1, "token_noise": 0.1, "class_weights": [2.0, 1.0, 1.0], "max_gradient": 0.5}
    sft.main(write_config(folder, start, **changes))
    settings = read_settings(folder, start, name="loop", **changes)
    network, (training, _) = start_network(start, settings), read_toy(settings)
    plan = StepPlan(training, settings.batch_tokens, settings.epochs, settings.seed)
    parts = TrainParts(training, plan, Share(), network, noise=settings.token_noise, seed=settings.seed)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        peak = settings.learning_rate if name.startswith("model.") else settings.head_learning_rate
        groups.setdefault((peak, 0.05 * (parameter.dim() > 1)), []).append(parameter)
    values = [{"params": p, "peak": peak, "weight_decay": decay} for (peak, decay), p in groups.items()]
    optimizer = torch.optim.AdamW(values, betas=(0.9, 0.98), fused=True)
    for step in range(plan.n_steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * cosine(step / plan.n_steps, settings.warmup)
        given = {name: value for name, value in parts[step].items() if name not in ("counts", "weight")}
        losses = guard_losses(
            network, network.hidden_states(given["ids"]), Batch(**given), torch.tensor([2.0, 1.0, 1.0])
        )
        (losses.mean() * (len(given["ids"]) / plan.mean_rows)).backward()  # type: ignore[no-untyped-call]  # torch's
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    network.save_checkpoint(folder / "loop", "f32")
    assert plan.n_steps > 5
    assert largest_difference(start, folder / "loop") > 5e-3
    assert largest_difference(folder / "run" / "checkpoint", folder / "loop") < 1e-5


@pytest.mark.parametrize("changes", [{"gradient_accumulation": 3}, {"activation_checkpointing": True}])
def test_what_saves_memory_changes_no_weights(folder: Path, start: Path, changes: dict[str, Any]) -> None:
    """Passes of a third of the rows; layers that are computed twice."""
    sft.main(write_config(folder, start, epochs=1, token_noise=0.1))
    sft.main(write_config(folder, start, name="spared", epochs=1, token_noise=0.1, **changes))
    assert largest_difference(start, folder / "run" / "checkpoint") > 5e-3
    assert largest_difference(folder / "run" / "checkpoint", folder / "spared" / "checkpoint") < 1e-4


def test_the_held_out_figures_are_those_of_the_rows(folder: Path, start: Path) -> None:
    """Losses, F1 and AUC of the last line are what the written checkpoint gives, row by row."""
    write_rows(folder / "toy.jsonl", list(toy_rows(1500)))
    settings = read_settings(folder, start, epochs=0.3, evaluate_steps=4, log_steps=2)
    sft.main(folder / "run.toml")
    held_out = read_toy(settings)[1]
    network = GuardNetwork.from_checkpoint(folder / "run" / "checkpoint")
    end = log_of(folder / "run")[-1]
    total = 0.0
    for name, index in (("query", 0), ("response", 2)):
        rows = [e for e in held_out if (e.query_position >= 0) is (name == "query")]
        gold, score, losses = [], [], torch.zeros(2, 4)
        for example in rows:
            with torch.no_grad():
                hidden = network.hidden_states(torch.tensor([example.ids.tolist()]))
                found = guard_losses(network, hidden, collate([example]))
                heads = network.heads(hidden[0])
            losses += torch.stack([found.sums, found.counts])
            place = [example.query_position] if name == "query" else (example.response_risk != IGNORED).nonzero()[0]
            logits = heads.query_risk_level_logits if name == "query" else heads.risk_level_logits
            score.append(float(1 - logits[list(place)].softmax(-1)[:, 0].mean()))
            gold.append(bool((example.query_risk if name == "query" else example.response_risk.max()) > 0))
        assert end[f"{name}_auc"] == pytest.approx(roc_auc_score(gold, score), abs=1e-6)
        assert end[f"{name}_f1"] == pytest.approx(f1_score(gold, [s > 0.5 for s in score]), abs=1e-6)
        assert end[f"held_out_{name}_risk"] == pytest.approx(float(losses[0, index] / losses[1, index]), rel=1e-4)
        total += float((losses[0] / losses[1].clamp(min=1)).sum())
    assert end["held_out"] == pytest.approx(total, rel=1e-4)
    steps = [line["step"] for line in log_of(folder / "run") if "held_out" in line and "event" not in line]
    assert steps == [*range(4, end["step"], 4), end["step"]]


def test_the_best_weights_are_kept(folder: Path, start: Path) -> None:
    """Of a run that learns its rows by heart the checkpoint is that of the step with the least held-out loss."""
    write_rows(folder / "toy.jsonl", spoiled(list(toy_rows(1200))))
    changes: dict[str, Any] = {
        "epochs": 3,
        "learning_rate": 2e-2,
        "head_learning_rate": 2e-2,
        "batch_tokens": 4000,
        "evaluate_steps": 3,
    }
    sft.main(write_config(folder, start, keep="best", **changes))
    lines = [line for line in log_of(folder / "run") if "held_out" in line and "event" not in line]
    best = min(lines, key=lambda line: line["held_out"])
    assert best["step"] < lines[-1]["step"]
    assert {path.name for path in (folder / "run" / "states").iterdir()} == {
        f"checkpoint-{best['step']}", f"checkpoint-{lines[-1]['step']}"
    }  # fmt: skip
    _, held_out = read_toy(read_settings(folder, start, name="again"))
    network = GuardNetwork.from_checkpoint(folder / "run" / "checkpoint")
    with torch.no_grad():
        values = collate(held_out)
        loss = guard_losses(network, network.hidden_states(values.ids), values).mean()
    assert float(loss) == pytest.approx(best["held_out"], rel=1e-4)


def spoiled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every third harmless row is called harmful, so that there is nothing more to learn soon."""
    return [{**row, "risk": "unsafe"} if i % 3 == 0 else row for i, row in enumerate(rows)]


def test_patience_ends_a_run(folder: Path, start: Path) -> None:
    """So many evaluations after the best one; the resumed run does not go on."""
    write_rows(folder / "toy.jsonl", spoiled(list(toy_rows(1200))))
    changes: dict[str, Any] = {
        "epochs": 40,
        "learning_rate": 2e-2,
        "batch_tokens": 4000,
        "evaluate_steps": 3,
        "patience": 2,
    }
    config = write_config(folder, start, **changes, save_steps=1)
    sft.main(config)
    lines = [line for line in log_of(folder / "run") if "held_out" in line and "event" not in line]
    best = min(lines, key=lambda line: line["held_out"])
    end = log_of(folder / "run")[-1]
    assert end["step"] == lines[-1]["step"] == best["step"] + 6
    assert end["epochs"] < 20
    before = (folder / "run" / "checkpoint" / "model.safetensors").read_bytes()
    sft.main(config, resume=True)
    assert log_of(folder / "run")[-1]["step"] == end["step"]
    assert (folder / "run" / "checkpoint" / "model.safetensors").read_bytes() == before


def test_best_weights_need_held_out_rows(folder: Path, start: Path) -> None:
    """Patience without them is without effect."""
    rows = [row for row in toy_rows(40) if row["target"] == "prompt"]
    _, held_out = read_toy(read_settings(folder, start))
    write_rows(folder / "toy.jsonl", rows[:6])
    assert held_out
    assert not read_toy(read_settings(folder, start))[1]
    with pytest.raises(ConfigurationError, match='keep = "best" needs held-out rows'):
        sft.main(write_config(folder, start, keep="best"))
    sft.main(write_config(folder, start, name="patient", patience=1))
    assert (folder / "patient" / "checkpoint" / "model.safetensors").exists()


@pytest.mark.parametrize("tune", ["lora", "heads"])
def test_less_than_everything_can_be_trained(folder: Path, start: Path, tune: str) -> None:
    """The result is an ordinary checkpoint; killed, the run ends with the same weights."""
    whole, cut = (
        write_config(folder, start, name=name, tune=tune, save_steps=3, lora={"rank": 4, "alpha": 8, "dropout": 0.1})
        for name in ("whole", "cut")
    )
    sft.main(whole)
    step = GuardTrainer.training_step

    def killed(trainer: GuardTrainer, *values: Any) -> torch.Tensor:
        if trainer.state.global_step == 8:
            raise KeyboardInterrupt
        return step(trainer, *values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            sft.main(cut)
    sft.main(cut, resume=True)
    files = [folder / name / "checkpoint" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    before, after = Checkpoint.open(start), Checkpoint.open(folder / "whole" / "checkpoint")
    assert before.config == after.config
    assert not (before.tensor("risk_level_head.weight") == after.tensor("risk_level_head.weight")).any()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert (before.tensor(name) == after.tensor(name)).all() == (tune == "heads")
    state = next((folder / "whole" / "states").glob("checkpoint-*/model.safetensors"))
    assert state.stat().st_size < 0.2 * files[0].stat().st_size  # the start's weights are not saved again
    assert Guard.load(folder / "whole" / "checkpoint", engine="torch").check_prompt("hello").action


def test_a_process_keeps_to_one_device(folder: Path, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two GPUs are in sight too: the Trainer would cut rows, counts and weight of a step between them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    settings = read_settings(folder, start, device="auto")
    network, (training, held_out) = start_network(start, settings), read_toy(settings)
    model = TunedGuard(network, settings.class_weights, bf16=False)
    assert GuardTrainer(settings, model, training, held_out, folder).args.n_gpu == 1


def test_the_checkpoint_may_be_bfloat16(folder: Path, start: Path) -> None:
    """Half the size, the same numbers rounded."""
    sft.main(write_config(folder, start, epochs=0.5))
    sft.main(write_config(folder, start, name="half", epochs=0.5, dtype="bf16"))
    sizes = [(folder / name / "checkpoint" / "model.safetensors").stat().st_size for name in ("run", "half")]
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.01)
    assert 0 < largest_difference(folder / "run" / "checkpoint", folder / "half" / "checkpoint") < 0.01


def test_trackers_are_passed_through(folder: Path, start: Path) -> None:
    """One that is not installed is named by transformers."""
    with pytest.raises(ValueError, match="no_such_tracker is not supported"):
        sft.main(write_config(folder, start, report_to=["no_such_tracker"]))
