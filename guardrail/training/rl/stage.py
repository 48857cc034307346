"""Reinforcement learning with the guard as a reward, through TRL: `guardrail train rl` and `guardrail train rollouts`.

Source: technical report of Qwen3Guard, its section on safety RL: GSPO, the rewards `guard_only` and `mixed`, 8 answers
a prompt of which some are safe and some are not. Ours, since the report does not say: all other numbers, and that
Controversial counts as unsafe in both rewards.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from guardrail.errors import ConfigurationError
from guardrail.training.gen.following import without_file_bars
from guardrail.training.rl.page import write_report
from guardrail.training.rl.prompts import Prompt
from guardrail.training.rl.rollouts import FOLDER, MANIFEST, choose_prompts
from guardrail.training.rl.scoring import Judges
from guardrail.training.rl.settings import RlSettings, load_rl
from guardrail.training.rl.summary import write_summary
from guardrail.training.rl.training import Trial, train
from guardrail.training.rl.world import World, open_judges, open_world
from guardrail.training.run_folder import RunFolder, is_first_process, n_processes

PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "numpy")
"""Whose versions the log and the summary name."""


def main(config: Path, *, resume: bool = False) -> None:
    """Train with each reward and seed that a TOML file names, or go on with it.

    Under `accelerate launch` every process calls this; the first one alone writes.
    """
    settings = load_rl(config)
    with _quiet():
        run(settings, config, resume=resume)


def rollouts(config: Path, *, resume: bool = False) -> None:
    """Draw and judge the answers that say which prompts a run trains on, and end."""
    settings = load_rl(config)
    torch.set_num_threads(settings.threads)
    with _quiet():
        folder = RunFolder(settings.output, config, resume=resume, packages=PACKAGES)
        world = open_world(settings)
        with open_judges(settings) as judges:
            _chosen(settings, world, judges, folder)


def run(settings: RlSettings, config: Path, *, resume: bool) -> None:
    """Choose the prompts, train, and write summary and report."""
    torch.set_num_threads(settings.threads)
    writes = is_first_process()
    places = [(kind, seed, settings.output / f"{kind}-{seed}") for seed in settings.seeds for kind in settings.rewards]
    has_begun = any(path.is_dir() for _, _, path in places)
    is_prepared = (settings.output / FOLDER / MANIFEST).is_file() and not has_begun  # by `train rollouts`
    folder = RunFolder(settings.output, config, resume=resume or is_prepared, packages=PACKAGES, writes=writes)
    world = open_world(settings)
    report = partial(write_report, settings.output, [path for _, _, path in places])
    results = []
    with open_judges(settings) as judges:
        chosen = _chosen(settings, world, judges, folder)
        for kind, seed, path in places:
            one = RunFolder(path, config, resume=True, packages=PACKAGES, writes=writes)
            results.append(train(settings, world, judges, chosen, Trial(kind, seed, one, report)))
    if writes:
        report()
        write_summary(settings.output, results, PACKAGES)


def _chosen(settings: RlSettings, world: World, judges: Judges, folder: RunFolder) -> list[Prompt]:
    manifest = settings.output / FOLDER / MANIFEST
    if n_processes() > 1 and not manifest.is_file():
        raise ConfigurationError(
            "the prompts are not chosen yet", hint="run guardrail train rollouts with the same --config before"
        )
    folder.log({"event": "judges", **judges.identity})
    chosen = choose_prompts(settings, world, judges, Console(stderr=True))
    folder.log({"event": "prompts", **json.loads(manifest.read_text("utf-8"))["counts"]})
    return chosen


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide bars across ours, and what TRL's trainer does not know yet of transformers' names."""
    with without_file_bars(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".\w*gradient_checkpointing\w*. is deprecated", FutureWarning)
        yield
