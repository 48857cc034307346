"""What accompanies the training of one policy model: its log, its bar, and the figures before and after."""

from collections.abc import Callable, Mapping
from typing import Any

from guardrail.errors import MissingExtra
from guardrail.training.gen.following import Following
from guardrail.training.rl.summary import MEASURED
from guardrail.training.run_folder import RunFolder

try:
    from transformers import TrainerState
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error


class RlFollowing(Following):
    """Writes the log and shows the bar. A context of a run."""

    def __init__(self, folder: RunFolder, name: str, report: Callable[[], object]) -> None:
        """Follow one run.

        Args:
            folder: takes the log; who writes into it shows the bar, too.
            name: stands beside the bar.
            report: is called after each measurement, by who writes.
        """
        super().__init__(folder, None, is_shown=folder.writes, name=name)
        self._report = report

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **said: Any) -> None:
        """See `TrainerCallback`; the figures come after it, from `measured`."""

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures of held-out prompts."""
        self.last = {"step": step, **figures}
        self._folder.log({"event": MEASURED, **self.last})
        if self._folder.writes:
            self._report()
