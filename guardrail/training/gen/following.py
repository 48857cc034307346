"""What accompanies the trainer: the log and the bar, measurements, the order of an epoch, states that are whole."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from guardrail.errors import EngineError, MissingExtra
from guardrail.training.gen.order import EpochOrder
from guardrail.training.run_folder import RunFolder, progress_bar

try:
    from transformers import TrainerCallback, TrainerState
    from transformers.utils import logging
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

WHOLE = "whole"
"""File in a state's folder that says that all of it was written: it is the last one."""


@contextmanager
def without_file_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file that it reads or writes, across ours."""
    bars: Any = logging
    was_shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            bars.enable_progress_bar()


def drop_unfinished(states: Path) -> None:
    """Remove states that a kill left half written: the trainer keeps the two last ones, these would count."""
    for path in states.glob("checkpoint-*"):
        if not (path / WHOLE).is_file():
            shutil.rmtree(path)


class Epochs(TrainerCallback):
    """Tells the order which epoch begins.

    Accelerate tells it too, but not where several processes skip batches of a resumed epoch.
    """

    def __init__(self, order: EpochOrder) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002  # its names
        """See `TrainerCallback`; the epoch of a resumed run is a fraction."""
        self._order.set_epoch(int(state.epoch or 0))


class WholeStates(TrainerCallback):
    """Marks states that were written whole, after all processes have written their part."""

    def __init__(self, states: Path, wait: Callable[[], object]) -> None:
        """Take the folder of the states, and what waits for all processes."""
        self._states, self._wait = states, wait

    def on_save(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        self._wait()
        if state.is_world_process_zero:
            (self._states / f"checkpoint-{state.global_step}" / WHOLE).touch()


class Following(TrainerCallback):
    """Writes the log, shows the bar, and measures where the trainer has measured its loss. A context of a run.

    Attributes:
        last: the last figures on held-out rows, and their step; empty before the first.
    """

    def __init__(
        self,
        folder: RunFolder,
        measure: Callable[[Any], dict[str, Any]] | None,
        *,
        is_shown: bool,
        name: str = "sft-gen",
    ) -> None:
        """Follow one run.

        Args:
            folder: takes the log.
            measure: from the model to figures; None measures the loss alone. All processes call it, since a model
                that is spread over them answers only to all.
            is_shown: whether there is a bar.
            name: stands beside it.
        """
        self._folder, self._measure = folder, measure
        self._bar = progress_bar()
        self._bar.disable = not is_shown
        self._task = self._bar.add_task(name, status="")
        self.last: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)

    def on_log(self, args: Any, state: TrainerState, control: Any, **said: Any) -> None:  # noqa: ARG002  # its names
        """Log what the trainer says of its steps; its summary, whose times begin anew with each start, is left out.

        Raises:
            EngineError: the loss is no number any more; further steps would be thrown away.
        """
        logs = said["logs"]
        loss = logs.get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise EngineError(f"the loss is {loss} at step {state.global_step}", hint="lower learning_rate")
        self._bar.update(self._task, status=f"loss {loss:.3f}")
        self._folder.log({"step": state.global_step, **logs})

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **said: Any) -> None:  # noqa: ARG002  # its names
        """Measure, and log it with the loss on held-out rows."""
        figures = self._measure(said["model"]) if self._measure else {}
        self.last = {"step": state.global_step, "held_out": said["metrics"]["eval_loss"], **figures}
        self._folder.log(self.last)
