"""What a run shows while it works: bars on stderr; where no terminal is, a line now and then."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from guardrail.training.recipe.counting import Calls, total_of
from guardrail.training.recipe.manifest import CallCounts

_REFRESH_S = 0.2
_LINE_S = 30.0
"""Seconds between lines where no terminal is. Our choice."""


class Bars:
    """Shows how far the steps of one stage are. For one thread."""

    def __init__(self, stage: str, calls: Callable[[], Calls], console: Console | None = None) -> None:
        """Set up.

        Args:
            stage: its name.
            calls: returns what was asked so far, by model.
            console: where to show it; stderr unless given.
        """
        self._stage, self._calls = stage, calls
        self._console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[said]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, transient=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._console.is_terminal:  # else nothing was started, and an empty line would be left
            self._progress.stop()

    def begin(self, title: str, total: int | None, done: int = 0) -> Callable[[int], None]:
        """Show another bar; return what is called with the items done since. None: nobody knows how many there are."""
        return (self._bar if self._console.is_terminal else self._lines)(f"{self._stage}: {title}", total, done)

    def _bar(self, title: str, total: int | None, done: int) -> Callable[[int], None]:
        task = self._progress.add_task(title, total=total, completed=done, said="")

        def show(now_done: int) -> None:
            self._progress.update(task, completed=now_done, said=told(total_of(self._calls())))

        return _Throttled(show, total, done, _REFRESH_S)

    def _lines(self, title: str, total: int | None, done: int) -> Callable[[int], None]:
        began = time.monotonic()

        def show(now_done: int) -> None:
            took = time.monotonic() - began
            left = took / (now_done - done) * (total - now_done) if total and now_done > done else 0.0
            how_long = f"{left:.0f} s left" if left else f"{took:.0f} s"
            said = [f"{now_done} of {total or '?'}", told(total_of(self._calls())), how_long]
            self._console.print(f"{title}: {', '.join(filter(None, said))}")

        return _Throttled(show, total, done, _LINE_S)


class _Throttled:
    """Calls `show` with the items that are done: now and then, and at the end."""

    def __init__(self, show: Callable[[int], None], total: int | None, done: int, every_s: float) -> None:
        self._show, self._total, self._done, self._every_s = show, total, done, every_s
        self._last = time.monotonic()

    def __call__(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= self._every_s or self._done == self._total:
            self._last = now
            self._show(self._done)


def told(calls: CallCounts) -> str:
    """Return what was asked, in words; empty when nothing was."""
    said = [
        f"{calls.asked} asked" if calls.asked else "",
        f"{calls.cached} cached" if calls.cached else "",
        f"{calls.failed} failed" if calls.failed else "",
        f"{calls.refused} refused" if calls.refused else "",
        f"{calls.n_input + calls.n_output:,} tokens" if calls.n_input + calls.n_output else "",
        f"cost {calls.cost:.2f}" if calls.cost else "",
    ]
    return ", ".join(filter(None, said))
