"""Parts of a file, and how one is judged: the same function here and on every node of a cluster."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Protocol

from guardrail.batches import AT_ONCE, Check
from guardrail.context import identify
from guardrail.guard import Guard
from guardrail.scanning.columns import Columns, UnreadableRow
from guardrail.scanning.results import judged, to_line, unread
from guardrail.scanning.sources import Row, open_source

PART_ROWS = 512
"""Rows of a part: what a kill costs at most, some seconds with the embedded model; our own choice."""

CALL_TOKENS = 128
"""Most tokens of a model call that several rows share. Nobody waits, so it is twice what a server takes: measured in
docs/scan.md."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a scan.

    Attributes:
        columns: which are judged.
        keep_columns: whether the input's columns stand in the output.
        limit: most rows of a file; None takes all.
        part_rows: rows of a part.
        at_once: rows under way at once.
        call_tokens: most tokens of a call of the model that several rows share.
    """

    columns: Columns
    keep_columns: bool = False
    limit: int | None = None
    part_rows: int = PART_ROWS
    at_once: int = AT_ONCE
    call_tokens: int = CALL_TOKENS


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do of a file.

    Attributes:
        file: number of the file in the scan.
        path: of the file.
        request: with the columns as they are in the file.
        finished: numbers of the parts that are done.
    """

    file: int
    path: Path
    request: Request
    finished: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of a file.

    Attributes:
        number: of the part, from 0.
        rows: as they were read.
    """

    number: int
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """What a part came to.

    Attributes:
        file: as in `Work`.
        number: of the part, from 0.
        lines: a line of JSON for each row.
        n_rows: how many.
        n_tokens: tokens that were judged.
    """

    file: int
    number: int
    lines: bytes
    n_rows: int
    n_tokens: int


class Runner(Protocol):
    """Judges the parts of files, here or elsewhere."""

    def __call__(self, works: Sequence[Work], /) -> Iterable[JudgedPart]:
        """Return every part that is not finished, in any order."""
        ...


def read_parts(work: Work) -> Iterator[Part]:
    """Yield the parts that are left to do."""
    source, request = open_source(work.path), work.request
    rows = islice(source.rows(request.columns.used), request.limit)
    for number in count():
        part = Part(number, list(islice(rows, request.part_rows)))
        if not part.rows:
            return
        if number not in work.finished:
            yield part


def judge_part(guard: Guard, work: Work, part: Part) -> JudgedPart:
    """Judge the rows of a part.

    Which rows share a call of the model depends on the part alone, so that it comes to the same bytes every time. For
    that the guard must keep nothing between texts.
    """
    request, identity = work.request, identify(guard.engine, guard.policy)
    keeps = request.keep_columns and work.path.suffix != ".parquet"  # Parquet's are joined as they are, types and all
    asked = [_ask(row, request.columns) for row in part.rows]
    checks = [check for check in asked if isinstance(check, Check)]
    decisions = guard.check_many(checks, at_once=request.at_once, call_tokens=request.call_tokens)
    results, n_tokens = [], 0
    for row, check in zip(part.rows, asked, strict=True):
        row_id = (row.values or {}).get(request.columns.id) if request.columns.id else None
        if isinstance(check, Check):
            decision = next(decisions)
            n_tokens += decision.n_tokens
            result = judged(row, row_id, decision)
        else:
            result = unread(row, row_id, check, identity)
        results.append(result | ({"input": row.values} if keeps else {}))
    return JudgedPart(work.file, part.number, b"".join(map(to_line, results)), len(results), n_tokens)


def _ask(row: Row, columns: Columns) -> Check | str:
    """Return what is judged of a row, or why nothing is."""
    if row.values is None:
        return row.error
    try:
        return columns.to_check(row.values)
    except UnreadableRow as error:
        return str(error)


def judging_here(guard: Guard) -> Runner:
    """Return a runner that judges one part after the other, in this process."""

    def run(works: Sequence[Work]) -> Iterator[JudgedPart]:
        return (judge_part(guard, work, part) for work in works for part in read_parts(work))

    return run
