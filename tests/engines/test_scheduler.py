"""What runs next: shares of one call, without threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.engines.requests import Request, Row
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.engines.scheduler import Scheduler
from guardrail.testing import HashEngine


def waiting(scheduler: Scheduler, sizes: list[int]) -> list[Row]:
    """Let requests of one row each wait."""
    engine = ScheduledEngine(HashEngine(vocab_size=100))
    rows = []
    for size in sizes:
        request = Request()
        request.rows.append(Row(request, engine.open(), [1] * size, 0))
        scheduler.add(request)
        rows += request.rows
    return rows


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([2000], [64]),
        ([1, 1, 1], [1, 1, 1]),
        ([1] * 15 + [2000], [1] * 15 + [49]),
        ([2000, 2000], [32, 32]),
        ([2000, 3, 2000], [40, 3, 21]),
        ([8] * 10, [8, 8, 6, 6, 6, 6, 6, 6, 6, 6]),
        ([1] * 100, [1] * 64),
    ],
)
def test_a_call_is_shared_equally_and_what_is_left_goes_to_the_first(sizes: list[int], shares: list[int]) -> None:
    """Short rows are read whole, long ones get what they leave, and 64 tokens are never exceeded."""
    scheduler = Scheduler(64)
    rows = waiting(scheduler, sizes)
    taken = scheduler.take()
    assert [n for _, n in taken] == shares
    assert [row for row, _ in taken] == rows[: len(shares)]


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=40), step=st.integers(1, 64))
def test_nobody_starves(sizes: list[int], step: int) -> None:
    """Every row is in one of the next calls that the others' number demands, and all are read to their ends."""
    scheduler = Scheduler(step)
    rows = waiting(scheduler, sizes)
    last_seen = dict.fromkeys(map(id, rows), 0)
    number = 0
    while shares := scheduler.take():
        number += 1
        assert sum(n for _, n in shares) <= step
        for row, n in shares:
            assert n >= 1
            assert number - last_seen[id(row)] <= -(-len(rows) // step) + 1
            last_seen[id(row)] = number
            row.n_read += n
            if row.n_left:
                scheduler.put_back(row)
    assert all(not row.n_left for row in rows)
