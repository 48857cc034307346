"""A run folder: settings, versions, log lines and the latest checkpoint, so that a killed run goes on where it was."""

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from guardrail.errors import ConfigurationError
from guardrail.whole_files import make_whole, write_whole

STATES = "states"
"""Folder of a run that holds the states of transformers' Trainer from which `--resume` goes on."""


class RunFolder:
    """Keeps one run's files. Not safe for two processes.

    Attributes:
        path: the folder.
        writes: whether this process writes into it.
    """

    def __init__(
        self,
        path: Path,
        config: Path,
        *,
        resume: bool,
        packages: Sequence[str] = ("torch", "tokenizers", "numpy"),
        writes: bool = True,
    ) -> None:
        """Begin or continue a run.

        Args:
            path: the folder.
            config: the settings' file, of which a copy is kept.
            resume: whether the folder may hold the run already.
            packages: whose versions the log names.
            writes: False for a process that only looks on: it checks and writes nothing.

        Raises:
            ConfigurationError: the folder holds a run and `resume` is False, or other settings than `config`.
        """
        self.path, self.writes = path, writes
        if not writes:
            return
        kept = path / "settings.toml"
        if kept.exists() and not resume:
            raise ConfigurationError(f"{path} holds a run", hint="--resume continues it; another `output` starts anew")
        if kept.exists() and kept.read_bytes() != config.read_bytes():
            raise ConfigurationError(
                f"{path} was begun with other settings than {config.name}",
                hint="its settings.toml holds them; another `output` starts anew",
            )
        path.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            write_whole(kept, config.read_bytes())  # half of them would refuse every --resume
        versions = {name: version(name) for name in packages}
        self.log({"event": "start", "resume": resume, "python": platform.python_version(), **versions})

    def log(self, values: dict[str, Any]) -> None:
        """Append one line to log.jsonl."""
        if not self.writes:
            return
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **values}) + "\n")

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint in one move, so that a kill leaves the old or the new one."""
        torch.save(state, self.path / "state.tmp")
        (self.path / "state.tmp").replace(self.path / "state.pt")

    def load(self) -> dict[str, Any] | None:
        """Return the checkpoint, or None if there is none."""
        path = self.path / "state.pt"
        return torch.load(path, weights_only=True) if path.exists() else None


def save_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array so that the file is there whole or not at all."""

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            np.save(file, values)

    make_whole(path, write)


def is_first_process() -> bool:
    """Whether this is the first of the processes that `accelerate launch` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def n_processes() -> int:
    """Return how many processes `accelerate launch` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def newest_state(states: Path, mark: str) -> Path | None:
    """Return the newest state that is whole, which one is that holds `mark`, a file that is written last; or None."""
    whole = [path.parent for path in states.glob(f"checkpoint-*/{mark}")]
    return max(whole, key=step_of, default=None)


def step_of(state: Path) -> int:
    """Return the step at which a state was saved."""
    return int(state.name.rpartition("-")[2])


def progress_bar() -> Progress:
    """Return the bar that training shows, on stderr: steps, loss, speed and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        refresh_per_second=0.5,
        console=Console(stderr=True),
    )


def share_done(n_steps: int, most_steps: int, spent_s: float, max_minutes: float) -> float:
    """Return the share of a run that is done, by steps or by the clock, whichever is further; 0 minutes: no bound."""
    by_clock = spent_s / 60 / max_minutes if max_minutes else 0.0
    return max(n_steps / most_steps, by_clock)


def cosine(progress: float, warmup: float, floor: float = 0.05) -> float:
    """Return the learning-rate factor at a share of the run in [0, 1]: linear warm-up, then cosine down to `floor`."""
    if progress < warmup:
        return progress / warmup
    done = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + cos(pi * min(1.0, done)))
