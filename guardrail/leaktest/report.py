"""What a leak test found, as tables for people and as JSON for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from guardrail.leaktest.canary import Canary
from guardrail.leaktest.spy import Outlet, Run, Spy

RESULTS = ("invoke", "HTTP answer", "yielded text")
"""Outlets that a caller asked for the whole answer."""


@dataclass(frozen=True)
class Report:
    """The outcome of a leak test.

    Attributes:
        canary: what the LLM wrote.
        outlets: what came out where, clean outlets too.
        runs: how the target was called, and what the LLM did meanwhile.
    """

    canary: Canary
    outlets: tuple[Outlet, ...]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, canary: Canary, spy: Spy, runs: Sequence[Run]) -> "Report":
        """Look through all that a spy has heard."""
        return cls(canary, spy.leaks(canary), tuple(runs))

    @property
    def leaks(self) -> bool:
        """Whether anything came out that should have been withheld."""
        return any(outlet.leaks for outlet in self.outlets)

    @property
    def proves(self) -> bool:
        """Whether the LLM was asked in some run; else the guard of its answer was never tried."""
        return any(run.was_tried for run in self.runs)

    @property
    def is_unguarded(self) -> bool:
        """Whether a caller got everything and nothing was stopped: there is no guard, or it saw no risk."""
        results = [outlet.leaked_chars for outlet in self.outlets if outlet.name in RESULTS]
        is_whole = max(results, default=0) == len(self.canary.withheld)
        return is_whole and not any(run.error or run.n_saved(self.canary) for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the canary's text."""
        canary = self.canary
        runs = [
            {
                "name": run.name,
                "produced_tokens": list(run.produced),
                "tokens_after_marker": run.n_after_marker(canary),
                "saved_tokens": run.n_saved(canary),
                "first_text_at_token": run.first_text_at,
                "was_tried": run.was_tried,
                "error": run.error,
            }
            for run in self.runs
        ]
        return {
            "canary": {
                "name": canary.name,
                "clean_chars": len(canary.clean),
                "withheld_chars": len(canary.withheld),
                "tokens": len(canary.tokens),
                "tokens_to_marker": canary.n_tokens_to_marker,
            },
            "leaks": self.leaks,
            "proves": self.proves,
            "outlets": [asdict(outlet) for outlet in self.outlets],
            "runs": runs,
        }

    def outlets_table(self) -> Table:
        """Return one row for each outlet."""
        table = _table(f"Outlets: {len(self.canary.withheld)} characters had to be withheld")
        table.add_column("outlet")
        table.add_column("finding", no_wrap=True)
        for column in ("characters leaked", "tokens late", "clean text"):
            table.add_column(column, justify="right")
        for outlet in self.outlets:
            finding = Text("LEAKS", "bold red") if outlet.leaks else Text("clean", "green")
            clean = f"{outlet.clean_chars} of {len(self.canary.clean)}"
            table.add_row(outlet.name, finding, str(outlet.leaked_chars), str(outlet.leaked_tokens), clean)
        return table

    def runs_table(self) -> Table:
        """Return one row for each way of calling the target."""
        table = _table(f"The LLM: {len(self.canary.tokens)} tokens, the marker at {self.canary.n_tokens_to_marker}")
        table.add_column("call")
        for column in ("tokens after the marker", "tokens saved", "first text at token"):
            table.add_column(column, justify="right")
        table.add_column("ended with")
        for run in self.runs:
            table.add_row(
                run.name,
                str(run.n_after_marker(self.canary)) if run.was_tried else "LLM not asked",
                str(run.n_saved(self.canary)),
                "-" if run.first_text_at is None else str(run.first_text_at),
                run.error or "-",
            )
        return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
