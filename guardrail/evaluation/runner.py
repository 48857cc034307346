"""Runs judges over rows: no row is ever lost, and what could not be judged is counted as a failure and shown."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from guardrail.errors import ConversationError, EngineError
from guardrail.evaluation.judges import GuardJudge, Judge, Judgement, failed
from guardrail.evaluation.rows import Row
from guardrail.policy import Policy


@dataclass(frozen=True, slots=True)
class Run:
    """One judge's judgements on a list of rows.

    Attributes:
        judge: its name.
        identity: what ran: model, hashes, settings.
        rows: the rows.
        judgements: one for each row, in the rows' order.
        seconds: how long it took (monotonic clock).
    """

    judge: str
    identity: dict[str, str]
    rows: tuple[Row, ...]
    judgements: tuple[Judgement, ...]
    seconds: float


def run(judge: Judge, rows: Sequence[Row], *, console: Console | None = None) -> Run:
    """Judge all rows, with a progress bar on the console.

    A batch that fails is judged again row by row, so that one bad row costs no other; a row that fails alone is
    counted as the gravest there is (fail closed). Rows of like length share a batch.
    """
    started = time.monotonic()
    found = _judged(lambda chosen: [[one] for one in judge.judge(chosen)], judge, rows, console)
    ordered = tuple(one for (one,) in found)
    return Run(judge.name, judge.identity, tuple(rows), ordered, time.monotonic() - started)


def run_policies(
    judge: GuardJudge, policies: Sequence[Policy], rows: Sequence[Row], *, console: Console | None = None
) -> list[Run]:
    """Judge all rows once, and apply each policy to the same verdicts; one run a policy, called by judge and policy.

    Raises:
        ConfigurationError: a policy would have the model read other texts than the guard's own does.
    """
    started = time.monotonic()
    found = _judged(
        lambda chosen: [judge.judge_under(row, policies) for row in chosen], judge, rows, console, len(policies)
    )
    seconds = time.monotonic() - started
    return [
        Run(f"{judge.name}, {policy.name}", judge.identity_under(policy), tuple(rows), judgements, seconds)
        for policy, judgements in zip(policies, zip(*found, strict=True), strict=True)
    ]


_JudgeAll = Callable[[Sequence[Row]], list[list[Judgement]]]


def _judged(
    judge_all: _JudgeAll, judge: Judge, rows: Sequence[Row], console: Console | None, n: int = 1
) -> list[list[Judgement]]:
    """Return the judgements of each row."""
    judgements: dict[int, list[Judgement]] = {}
    with _progress(judge.name, len(rows), console) as advance:
        for places in _batches(rows, judge.batch_size):
            judgements |= zip(places, _safely(judge_all, [rows[i] for i in places], n), strict=True)
            advance(len(places))
    return [judgements[i] for i in range(len(rows))]


def _safely(judge_all: _JudgeAll, rows: Sequence[Row], n: int) -> list[list[Judgement]]:
    try:
        return judge_all(rows)
    except (EngineError, ConversationError) as error:
        if len(rows) == 1:
            return [[failed(error)] * n]
    return [judgements for row in rows for judgements in _safely(judge_all, [row], n)]


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Yield the places of the rows of each batch; a single row is a batch in the given order, so that the remaining
    time can be told from the time spent.
    """
    order = range(len(rows)) if size == 1 else sorted(range(len(rows)), key=lambda i: rows[i].n_chars)
    for start in range(0, len(rows), size):
        yield list(order[start : start + size])


class _Advance:
    def __init__(self, bar: Progress, name: str, total: int) -> None:
        self._bar, self._task = bar, bar.add_task(name, total=total)

    def __call__(self, n: int) -> None:
        self._bar.advance(self._task, n)


@contextmanager
def _progress(name: str, total: int, console: Console | None) -> Iterator[_Advance]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    shown = console or Console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        yield _Advance(bar, name, total)
