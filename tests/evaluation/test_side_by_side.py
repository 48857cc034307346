"""Rows that wait side by side."""

import threading
from collections.abc import Sequence

from guardrail.errors import EngineError
from guardrail.evaluation.judges import Judgement
from guardrail.evaluation.opinions import Opinion, judged
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import run
from guardrail.evaluation.side_by_side import Pace, SideBySide
from guardrail.policy_file import load_policy
from tests.evaluation.made import prompt

RULES = load_policy("balanced").prompt


class Meeting:
    """Judges rows only when as many as it waits for are there; fails at one of them."""

    name, batch_size = "meeting", 1

    def __init__(self, n: int) -> None:
        self.identity: dict[str, str] = {}
        self.asked: list[str] = []
        self._barrier = threading.Barrier(n, timeout=20)

    def judge(self, rows: Sequence[Row]) -> list[Judgement]:
        """Wait for the others."""
        self.asked += [row.id for row in rows]
        self._barrier.wait()
        if rows[0].id == "2":
            raise EngineError("no")
        return [judged(Opinion(score=int(row.id) / 10), RULES) for row in rows]


def test_rows_are_under_way_at_once_and_keep_their_order() -> None:
    """Four wait for each other; one that fails counts as the gravest, and is not asked about again."""
    meeting = Meeting(4)
    with SideBySide(meeting, 4) as judge:
        found = run(judge, [prompt(str(i)) for i in range(8)])
    assert sorted(meeting.asked) == [str(i) for i in range(8)]
    assert [one.score for one in found.judgements] == [0.0, 0.1, 1.0, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [one.failure for one in found.judgements] == [None, None, "EngineError", *[None] * 5]


def test_the_pace_is_even() -> None:
    """Four a minute: fifteen seconds from one to the next, and no wait where nobody came in time."""
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(4, clock=lambda: now[0], sleep=sleep)
    for _ in range(3):
        pace.wait()
    now[0] += 60
    pace.wait()
    pace.wait()
    assert slept == [15, 15, 15]


def test_a_pace_holds_for_all_that_are_under_way() -> None:
    """Whoever asks passes it."""
    turns = []

    class Counted(Pace):
        def wait(self) -> None:
            turns.append(1)

    with SideBySide(Meeting(2), 2, Counted(1)) as judge:
        judge.judge([prompt("0"), prompt("1")])
    assert len(turns) == 2
