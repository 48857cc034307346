"""A tape knows what its session holds, whatever the engine does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.driving import drive
from guardrail.engines.base import Engine
from guardrail.errors import EngineError
from guardrail.tape import Tape, common_prefix
from guardrail.testing import FailingEngine, FakeSession, HashEngine, raising
from tests.counting import CountingEngine

few_ids = st.lists(st.integers(0, 2), max_size=20)


@given(left=few_ids, right=few_ids, shared=few_ids)
def test_a_common_prefix_is_as_long_as_can_be(left: list[int], right: list[int], shared: list[int]) -> None:
    """Both begin with it, and differ or end behind it."""
    left, right = shared + left, shared + right
    n = common_prefix(left, right)
    assert left[:n] == right[:n]
    assert n == min(len(left), len(right)) or left[n] != right[n]


def test_a_copy_holds_the_beginning_and_goes_its_own_way(engine: Engine) -> None:
    """Neither sees what the other reads."""
    tape = Tape(engine)
    drive(engine, tape.feed([1, 2, 3, 4]))
    copy = tape.fork(2)
    drive(engine, copy.feed([9]))
    tape.rollback(3)
    assert (tape.ids, copy.ids) == ([1, 2, 3], [1, 2, 9])


def test_a_failed_step_leaves_the_ids_as_they_were() -> None:
    """What the model did not read is not on the tape."""
    engine = FailingEngine(HashEngine(vocab_size=10), at_step=1, breakage=raising(RuntimeError()))
    tape = Tape(engine)
    drive(engine, tape.feed([1, 2]))
    with pytest.raises(EngineError):
        drive(engine, tape.feed([3]))
    assert tape.ids == [1, 2]


def test_what_the_engine_raises_at_a_copy_is_an_engine_error() -> None:
    """So that no caller has to know more."""
    tape = Tape(CountingEngine(HashEngine(vocab_size=10), max_sessions=1))
    for length in (0, 1):  # no room, and more than it holds
        with pytest.raises(EngineError):
            tape.fork(length)


def test_a_session_that_cannot_be_closed_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It changes no verdict."""

    class Stuck(FakeSession):
        def close(self) -> None:
            raise RuntimeError("stuck")

    Tape(HashEngine(vocab_size=10), Stuck()).close()
    assert "RuntimeError" in caplog.text
