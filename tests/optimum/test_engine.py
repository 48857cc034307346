"""The reference engine keeps the promises of every engine."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from guardrail.engines.base import Engine, Feed
from guardrail.errors import ContextOverflow, EngineError
from guardrail.onnx_export.optimum_engine import OptimumEngine, OptimumSession


@pytest.fixture
def engine(fp32: Path) -> Iterator[OptimumEngine]:
    """The tiny checkpoint's fp32 export, loaded."""
    made = OptimumEngine(fp32)
    yield made
    made.close()


def fed(engine: OptimumEngine, ids: list[int]) -> OptimumSession:
    """A session that holds some ids."""
    session = engine.open()
    engine.step([Feed(session, ids)])
    return session


def test_it_is_an_engine(engine: OptimumEngine) -> None:
    """It has the protocol's methods and says what it runs."""
    assert isinstance(engine, Engine)
    assert (engine.info.engine, engine.info.precision, engine.info.max_context) == ("optimum", "fp32", 512)


def test_kv_bytes_are_what_is_held(engine: OptimumEngine) -> None:
    """Seven tokens take seven times `kv_bytes_per_token`."""
    session = fed(engine, list(range(7)))
    assert sum(array.nbytes for array in session.past.values()) == 7 * engine.info.kv_bytes_per_token


def test_a_fork_goes_on_by_itself(engine: OptimumEngine) -> None:
    """Both branches give what a fresh session gives."""
    session = fed(engine, [5, 6, 7, 8])
    other = session.fork(2)
    branch, trunk = engine.step([Feed(other, [9]), Feed(session, [9])])
    for logits, ids in ((branch, [5, 6, 9]), (trunk, [5, 6, 7, 8, 9])):
        alone = engine.step([Feed(engine.open(), ids)])[0]
        np.testing.assert_allclose(logits.response_risk, alone.response_risk[-1:], atol=1e-5)


def test_a_refused_step_changes_no_session(engine: OptimumEngine) -> None:
    """An id outside the vocabulary or too many of them leave every length as it was."""
    session, other = fed(engine, [1, 2]), engine.open()
    with pytest.raises(EngineError, match="vocabulary"):
        engine.step([Feed(other, [1]), Feed(session, [10**6])])
    with pytest.raises(ContextOverflow):
        engine.step([Feed(other, [1]), Feed(session, [1] * 511)])
    assert (session.length, other.length) == (2, 0)


def test_closed_and_foreign_sessions_are_refused(engine: OptimumEngine, fp32: Path) -> None:
    """A step on either is an EngineError, and so is a fork of a closed one."""
    session = fed(engine, [1])
    session.close()
    session.close()
    for wrong in (session, OptimumEngine(fp32).open()):
        with pytest.raises(EngineError):
            engine.step([Feed(wrong, [1])])
    with pytest.raises(EngineError, match="closed"):
        session.fork(0)


def test_a_closed_engine_refuses_steps(engine: OptimumEngine) -> None:
    """Its sessions stay, unusable."""
    session = fed(engine, [1])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.step([Feed(session, [2])])


@pytest.mark.parametrize("length", [-1, 3])
def test_lengths_that_are_not_held_are_refused(engine: OptimumEngine, length: int) -> None:
    """Rolling back ahead of the end is a caller's bug."""
    with pytest.raises(ValueError, match="cannot roll back"):
        fed(engine, [1, 2]).rollback(length)
