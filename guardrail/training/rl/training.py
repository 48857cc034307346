"""One training of a policy model: with one reward, from one seed."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from guardrail.errors import ConfigurationError
from guardrail.training.gen.files import TOKENIZER_FILES, load_model
from guardrail.training.gen.trainer import train_on
from guardrail.training.rewards import RewardKind
from guardrail.training.rl.following import RlFollowing
from guardrail.training.rl.gspo import GspoTrainer, gspo_arguments
from guardrail.training.rl.prompts import Prompt
from guardrail.training.rl.scoring import Judges, Scoring
from guardrail.training.rl.settings import RlSettings
from guardrail.training.rl.summary import CLIPPED, MEASURED
from guardrail.training.rl.world import World
from guardrail.training.run_folder import STATES, RunFolder, n_processes
from guardrail.training.tuning.page import read_log
from guardrail.whole_files import whole_folder, write_whole

CHECKPOINT = "checkpoint"
"""Folder of a training that holds the finished model."""

RESULT = "result.json"
"""File of a training that says that it has ended, and what came of it."""

_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a run.

    Attributes:
        kind: of the reward.
        seed: of what is drawn.
        folder: takes its files.
        report: writes the report of the run anew, with what there is.
    """

    kind: RewardKind
    seed: int
    folder: RunFolder
    report: Callable[[], object]


def train(settings: RlSettings, world: World, judges: Judges, chosen: Sequence[Prompt], trial: Trial) -> dict[str, Any]:
    """Train one policy model, or go on with it, and return what came of it; a finished one is left as it is."""
    folder = trial.folder
    result = folder.path / RESULT
    if result.is_file():
        found: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return found
    _check_batch(settings, chosen)
    with RlFollowing(folder, f"{trial.kind}, seed {trial.seed}", trial.report) as following:
        trainer = _trainer(settings, world, judges, chosen, trial, following)
        trainer.add_callback(following)
        folder.log({"event": "data", "prompts": len(chosen), "vllm": trainer.use_vllm})
        train_on(trainer, following, folder, is_measured=True)
    _write(trainer, world, folder.path, settings)
    told = {"reward": trial.kind, "seed": trial.seed, "folder": folder.path.name, **_told(folder.path)}
    if folder.writes:
        write_whole(result, json.dumps(told, indent=2).encode())
    return told


def _check_batch(settings: RlSettings, chosen: Sequence[Prompt]) -> None:
    """Refuse fewer prompts than one rollout takes: the trainer would meet none, since it leaves out what is over."""
    needed = settings.gspo.batch * n_processes() * settings.gspo.mini_batches // settings.gspo.answers
    if len(chosen) < needed:
        raise ConfigurationError(
            f"{len(chosen)} prompts are left, but one rollout takes {needed}", hint="add prompts, or lower gspo.batch"
        )


def _trainer(
    settings: RlSettings,
    world: World,
    judges: Judges,
    chosen: Sequence[Prompt],
    trial: Trial,
    following: RlFollowing,
) -> GspoTrainer:
    held_out = [
        Prompt(one.id, one.messages, one.is_harmful, thinks)
        for one in world.held_out
        for thinks in settings.rollouts.thinks
    ]
    rendered = [world.renderer.render(prompt) for prompt in (*chosen, *held_out)]
    numbered = list(enumerate(rendered))
    model = world.model()
    scoring = Scoring(trial.kind, judges, rendered, partial(world.text_of, ends=world.end_ids(model)))
    return GspoTrainer(
        gspo_arguments(settings, trial.folder.path / STATES, trial.seed), model, world.tokenizer, scoring,
        numbered[: len(chosen)], numbered[len(chosen) :], measured=following.measured, log_kl=settings.gspo.log_kl,
    )  # fmt: skip


def _write(trainer: GspoTrainer, world: World, folder: Path, settings: RlSettings) -> None:
    """Write the checkpoint, with the start's tokenizer, template and way of sampling."""
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trained = folder / "trained"
    trainer.save_model(str(trained))
    if trainer.is_world_process_zero():
        dtype = settings.policy_model.dtype if settings.policy_model else "f32"
        with whole_folder(folder / CHECKPOINT) as unfinished:
            load_model(trained, _DTYPES[dtype]).save_pretrained(unfinished)
            for name in (*TOKENIZER_FILES, "generation_config.json"):
                if (world.start / name).is_file():
                    shutil.copyfile(world.start / name, unfinished / name)
        shutil.rmtree(trained)
    trainer.accelerator.wait_for_everyone()


def _told(folder: Path) -> dict[str, Any]:
    """Return the figures before and after, and how much was clipped, from the log."""
    log = read_log(folder)
    measured = {line["step"]: line for line in log if line.get("event") == MEASURED}
    before, after = measured[0], measured[max(measured)]
    clipped = [line[CLIPPED] for line in log if CLIPPED in line]
    left_out = ("time", "event", "step")
    return {
        "steps": after["step"],
        **{
            name: {key: value for key, value in line.items() if key not in left_out}
            for name, line in (("before", before), ("after", after))
        },
        "clip_fraction": sum(clipped) / len(clipped) if clipped else 0.0,
    }
