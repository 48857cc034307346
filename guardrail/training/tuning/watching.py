"""What a run shows: a bar on stderr, lines in log.jsonl, and the report."""

import time
from types import TracebackType
from typing import Any, Self

from guardrail.errors import MissingExtra
from guardrail.training.run_folder import RunFolder, progress_bar
from guardrail.training.tuning.batches import StepPlan
from guardrail.training.tuning.pace import Clock
from guardrail.training.tuning.page import write_report

try:
    from transformers import TrainerCallback, TrainerState
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

_EVERY_S = 0.5


class Watcher(TrainerCallback):
    """Shows and logs; for one process of a run. A context, in which the bar is on the screen."""

    def __init__(self, folder: RunFolder, clock: Clock, plan: StepPlan) -> None:
        self._folder, self._clock, self._plan = folder, clock, plan
        self._bar = progress_bar()
        self._task = self._bar.add_task("sft", total=plan.n_steps, status="")
        self._n_tokens, self._since_s, self._shown = 0, clock.spent_s, 0.0
        self._loss: float | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        self._n_tokens += self._plan.n_tokens(state.global_step - 1)
        if time.monotonic() - self._shown > _EVERY_S or self._clock.has_ended:
            self._shown = time.monotonic()
            said = f"step {state.global_step}, {self._rate():,.0f} tokens/s"
            said += f", loss {self._loss:.3f}" if self._loss is not None else ""
            self._bar.update(
                self._task, completed=self._clock.share(state.global_step) * self._plan.n_steps, status=said
            )

    def on_log(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:  # noqa: ARG002  # its names
        """See `TrainerCallback`."""
        kept: dict[str, float] = {name: value for name, value in given["logs"].items() if name != "epoch"}
        if "loss" in kept:
            self._loss = kept["loss"]
            kept["tokens_a_second"] = self._rate()
            self._n_tokens, self._since_s = 0, self._clock.spent_s
        elif "held_out" not in kept:  # the Trainer's summary, whose times begin anew with each start
            return
        self._folder.log({"step": state.global_step, "loss": self._loss, **kept, "spent_s": self._clock.spent_s})
        if "held_out" in kept:
            self.report()

    def report(self) -> None:
        """Replace the report of the run."""
        write_report(self._folder.path)

    def _rate(self) -> float:
        """Return tokens a second since the last line of the log."""
        spent_s = self._clock.spent_s - self._since_s
        return self._n_tokens / spent_s if spent_s else 0.0
