"""When a run evaluates, saves and ends: by steps, by the clock and by the held-out rows."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from guardrail.errors import MissingExtra
from guardrail.training.run_folder import share_done
from guardrail.training.tuning.settings import SftSettings
from guardrail.whole_files import write_whole

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

PROGRESS_FILE = "progress.json"
"""Written last into a saved state: one without it was not finished."""

_KEPT = ("spent_s", "best", "best_step", "n_worse", "has_ended")
"""What it holds of the clock."""


@dataclass(slots=True)
class Clock:
    """Where a run stands.

    Attributes:
        n_steps: steps that are planned.
        max_minutes: bound by the clock; 0: none.
        spent_s: seconds that the steps so far have taken.
        best: what the best evaluation said, more is better; None before the first.
        best_step: its step.
        n_worse: evaluations since.
        has_ended: whether the run has come to its end.
    """

    n_steps: int
    max_minutes: float
    spent_s: float = 0.0
    best: float | None = None
    best_step: int = 0
    n_worse: int = 0
    has_ended: bool = False

    def share(self, step: int) -> float:
        """Return the share of the run that is done, in [0, 1] or a little more."""
        return share_done(step, self.n_steps, self.spent_s, self.max_minutes)


class Pace(TrainerCallback):
    """Tells the Trainer when to log, evaluate, save and stop; all processes come to the same result.

    Attributes:
        clock: where the run stands.
    """

    def __init__(self, settings: SftSettings, clock: Clock, *, evaluates: bool) -> None:
        self.clock = clock
        self._settings, self._evaluates = settings, evaluates
        self._began = 0.0
        self._saved = time.monotonic()
        self._save_is_due = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """See `TrainerCallback`."""
        self._began = time.perf_counter()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Take the time; before the learning rate of the next step is set."""
        self.clock.spent_s += time.perf_counter() - self._began
        self._save_is_due = time.monotonic() - self._saved > 60 * self._settings.save_minutes
        if distributed.is_initialized():
            self._follow_first()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        step, settings = state.global_step, self._settings
        self.clock.has_ended = self.clock.share(step) >= 1
        control.should_training_stop |= self.clock.has_ended
        control.should_evaluate = self._evaluates and (self.clock.has_ended or step % settings.evaluate_steps == 0)
        control.should_log = control.should_evaluate or self.clock.has_ended or step % settings.log_steps == 0
        by_step = settings.save_steps and step % settings.save_steps == 0
        control.should_save = bool(self.clock.has_ended or self._save_is_due or by_step)
        return control

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> TrainerControl:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        metrics: Mapping[str, float] = given["metrics"]
        value = -metrics["held_out"] if self._settings.best_by == "loss" else metrics.get("auc", 0.0)
        if self.clock.best is None or value > self.clock.best:
            self.clock.best, self.clock.best_step, self.clock.n_worse = value, state.global_step, 0
            control.should_save |= self._settings.keep == "best"
        else:
            self.clock.n_worse += 1
        if 0 < self._settings.patience <= self.clock.n_worse:
            self.clock.has_ended = control.should_training_stop = control.should_save = True
        return control

    def on_save(self, *_: Any, **__: Any) -> None:
        """See `TrainerCallback`."""
        self._saved = time.monotonic()

    def _follow_first(self) -> None:
        """Take over the clock of the first process, else the processes would go different ways."""
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        said = torch.tensor([self.clock.spent_s, self._save_is_due], dtype=torch.float64, device=device)
        distributed.broadcast(said, 0)
        self.clock.spent_s, self._save_is_due = float(said[0]), bool(said[1])


def finish_state(folder: Path, clock: Clock) -> None:
    """Mark a saved state as whole, with where the run stands."""
    write_whole(folder / PROGRESS_FILE, json.dumps({name: getattr(clock, name) for name in _KEPT}).encode())


def restore_clock(clock: Clock, state: Path) -> None:
    """Set a clock to where it stood when a state was saved."""
    values = json.loads((state / PROGRESS_FILE).read_text("utf-8"))
    for name in _KEPT:
        setattr(clock, name, values[name])
