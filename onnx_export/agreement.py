"""Two engines over the same rows: how far their logits are apart, and how often their verdicts are the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guardrail.engines.base import HEADS, Engine, Feed, Logits, joined
from guardrail.onnx_export.verify_rows import Row

TIE = 1e-4
"""Margin up to which two labels are tied (`decisions.md` 2)."""


@dataclass(frozen=True, slots=True)
class HeadComparison:
    """One head over all rows.

    Attributes:
        head: output name.
        max_difference: largest absolute logit difference.
        mean_difference: mean absolute logit difference.
        n_positions: positions compared.
        agreement: share of them with the same most probable label; a tie (margin up to 1e-4) counts as the same.
        n_read: positions at which a guard reads this head.
        agreement_read: as `agreement`, over those.
    """

    head: str
    max_difference: float
    mean_difference: float
    n_positions: int
    agreement: float
    n_read: int
    agreement_read: float


def compare_heads(rows: Sequence[Row], reference: Sequence[Logits], other: Sequence[Logits]) -> list[HeadComparison]:
    """Compare two engines' logits of the same rows, each head by itself."""
    return [_compare(head, rows, reference, other) for head in HEADS]


def _compare(head: str, rows: Sequence[Row], left: Sequence[Logits], right: Sequence[Logits]) -> HeadComparison:
    reference = np.concatenate([getattr(logits, head) for logits in left])
    other = np.concatenate([getattr(logits, head) for logits in right])
    difference = np.abs(reference - other)
    top_two = np.sort(reference, axis=-1)[:, -2:]
    same = (reference.argmax(-1) == other.argmax(-1)) | (top_two[:, 1] - top_two[:, 0] <= TIE)
    starts = np.cumsum([0, *(len(row.ids) for row in rows)])
    read = [int(start) + i for start, row in zip(starts, rows, strict=False) for i in row.read_positions(head)]
    return HeadComparison(
        head, float(difference.max()), float(difference.mean()), len(same), float(same.mean()),
        len(read), float(same[read].mean()),
    )  # fmt: skip


def read_rows(engine: Engine, rows: Sequence[Row], chunk: int | None = None) -> list[Logits]:
    """Return the logits of each row, fed whole or in chunks."""
    return [feed(engine, row.ids, range(0, len(row.ids), chunk or len(row.ids))) for row in rows]


def feed(engine: Engine, ids: list[int], starts: Sequence[int]) -> Logits:
    """Return the logits of ids that a fresh session takes in pieces."""
    session = engine.open()
    ends = [*starts[1:], len(ids)]
    try:
        return joined([engine.step([Feed(session, ids[i:j])])[0] for i, j in zip(starts, ends, strict=True)])
    finally:
        session.close()


def roll_back(engine: Engine, rows: Sequence[Row]) -> list[Logits]:
    """Return the logits of the second half of each row, behind a tail that was taken back."""
    results = []
    for row in rows:
        half = len(row.ids) // 2
        session = engine.open()
        try:
            engine.step([Feed(session, [*row.ids[:half], *row.ids[:half]])])
            session.rollback(half)
            results += engine.step([Feed(session, row.ids[half:])])
        finally:
            session.close()
    return results


def read_together(engine: Engine, rows: Sequence[Row], sizes: Sequence[int]) -> list[Logits]:
    """Return the logits of rows that are fed together, each in pieces of its own size until it ends: every batch is
    ragged, in what its rows take as in what they hold.
    """
    sessions = [engine.open() for _ in rows]
    pieces: list[list[Logits]] = [[] for _ in rows]
    try:
        while unread := [i for i, row in enumerate(rows) if sessions[i].length < len(row.ids)]:
            starts = [sessions[i].length for i in unread]
            batch = [Feed(sessions[i], rows[i].ids[at : at + sizes[i]]) for i, at in zip(unread, starts, strict=True)]
            for i, logits in zip(unread, engine.step(batch), strict=True):
                pieces[i].append(logits)
    finally:
        for session in sessions:
            session.close()
    return [joined(parts) for parts in pieces]


def largest_difference(left: Sequence[Logits], right: Sequence[Logits]) -> float:
    """Return the largest absolute difference over the last positions that both have."""
    largest = 0.0
    for one, other in zip(left, right, strict=True):
        for head in HEADS:
            a, b = getattr(one, head), getattr(other, head)
            n = min(len(a), len(b))
            largest = max(largest, float(np.abs(a[-n:] - b[-n:]).max()))
    return largest
