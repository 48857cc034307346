"""What every engine promises, run over the fake, the torch and the ONNX engine."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from guardrail.engines.base import Engine, Feed, FloatArray, Logits, check_logits
from guardrail.errors import ContextOverflow, EngineError
from tests.conftest import ENGINES

IDS = np.random.default_rng(7).integers(0, 16384, 400).tolist()
OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")


def closeness(engine: Engine) -> float:
    """Largest logit difference that the mates of a batch may make."""
    return 1e-3 if engine.info.precision == "int8" else 1e-4


def tolerance(engine: Engine) -> float:
    """Largest logit difference between two ways of feeding the same ids."""
    return 1.0 if engine.info.precision == "int8" else 1e-4


def read(engine: Engine, ids: list[int], sizes: list[int]) -> Logits:
    """Feed ids in chunks of the given sizes, repeated, and join the logits."""
    session = engine.open()
    parts, start, i = [], 0, 0
    while start < len(ids):
        size = sizes[i % len(sizes)]
        parts += engine.step([Feed(session, ids[start : start + size])])
        start, i = start + size, i + 1
    session.close()
    return Logits(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTPUTS))


def assert_same(left: Logits, right: Logits, atol: float) -> None:
    """Compare all outputs; a failure prints the largest and the mean difference."""
    for name in OUTPUTS:
        difference = np.abs(getattr(left, name) - getattr(right, name))
        assert difference.max() <= atol, f"{name}: max {difference.max()}, mean {difference.mean()}"


def clear(logits: FloatArray, margin: float) -> NDArray[np.bool_]:
    """Positions whose two best labels differ by more than the margin."""
    top = np.sort(logits, axis=-1)
    return np.asarray(top[:, -1] - top[:, -2] > margin, np.bool_)


def test_logits_have_a_row_for_every_position(engine: Engine) -> None:
    """Shapes follow the labels of the model."""
    session = engine.open()
    (logits,) = engine.step([Feed(session, IDS[:9])])
    check_logits(logits, 9, engine.info)
    assert session.length == 9


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ENGINES)
def test_chunk_sizes_change_no_verdict(engines: dict[str, Engine], name: str, sizes: list[int]) -> None:
    """fp32: the same argmax wherever it is no tie; int8: wherever the margin exceeds the tolerance."""
    engine = engines[name]
    whole, chunked = read(engine, IDS[:120], [120]), read(engine, IDS[:120], sizes)
    assert_same(whole, chunked, tolerance(engine))
    for output in OUTPUTS:
        sure = clear(getattr(whole, output), 2 * tolerance(engine))
        same = getattr(whole, output).argmax(-1) == getattr(chunked, output).argmax(-1)
        assert same[sure].all()


def test_a_rolled_back_session_is_like_a_fresh_one(engine: Engine) -> None:
    """Feed 60, go back to 40, feed others: equal to never having fed them."""
    session = engine.open()
    engine.step([Feed(session, IDS[:60])])
    session.rollback(40)
    (after,) = engine.step([Feed(session, IDS[100:130])])
    fresh = engine.open()
    engine.step([Feed(fresh, IDS[:40])])
    (expected,) = engine.step([Feed(fresh, IDS[100:130])])
    assert_same(after, expected, closeness(engine))


def test_rolling_back_to_nothing_and_growing_again_works(engine: Engine) -> None:
    """A session can be emptied and used beyond its first capacity."""
    session = engine.open()
    engine.step([Feed(session, IDS[:5])])
    session.rollback(0)
    (after,) = engine.step([Feed(session, IDS[:300])])
    assert_same(after, read(engine, IDS[:300], [300]), tolerance(engine))


def test_a_fork_goes_on_like_a_fresh_session_and_leaves_its_origin_alone(engine: Engine) -> None:
    """Both halves of a fork read other text behind what they share; each gives what it would have given alone."""
    session = engine.open()
    engine.step([Feed(session, IDS[:60])])
    other = session.fork(40)
    assert (session.length, other.length) == (60, 40)
    forked, kept = engine.step([Feed(other, IDS[100:130]), Feed(session, IDS[60:80])])
    atol = closeness(engine)
    for found, ids, n_before in ((forked, IDS[:40] + IDS[100:130], 40), (kept, IDS[:80], 60)):
        expected = read(engine, ids, [n_before, len(ids)])
        assert_same(found, Logits(*(getattr(expected, name)[n_before:] for name in OUTPUTS)), atol)


@pytest.mark.parametrize("length", [-1, 6])
def test_a_fork_of_an_impossible_length_is_refused(engine: Engine, length: int) -> None:
    """As rolling back to it is; a closed session cannot be forked at all."""
    session = engine.open()
    engine.step([Feed(session, IDS[:5])])
    with pytest.raises(ValueError, match="cannot"):
        session.fork(length)
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.fork(3)


@pytest.mark.parametrize("length", [-1, 6])
def test_rolling_back_to_an_impossible_length_is_refused(engine: Engine, length: int) -> None:
    """A negative length or one beyond what is held is the caller's bug."""
    session = engine.open()
    engine.step([Feed(session, IDS[:5])])
    with pytest.raises(ValueError, match="cannot"):
        session.rollback(length)


def test_batch_mates_change_nothing(engine: Engine) -> None:
    """A ragged batch gives each session what it gets alone."""
    rows = [IDS[:17], IDS[50:51], IDS[100:105]]
    sessions = [engine.open() for _ in rows]
    first = engine.step([Feed(s, row) for s, row in zip(sessions, rows, strict=True)])
    second = engine.step([Feed(s, IDS[i : i + 3]) for i, s in enumerate(sessions)])
    for i, row in enumerate(rows):
        expected = read(engine, row + IDS[i : i + 3], [len(row), 3])
        joined = Logits(*(np.concatenate([getattr(x, n) for x in (first[i], second[i])]) for n in OUTPUTS))
        assert_same(joined, expected, closeness(engine))


def test_an_overflow_feeds_nothing(engine: Engine) -> None:
    """Beyond the context the step raises and the session keeps its length."""
    session, mate = engine.open(), engine.open()
    engine.step([Feed(session, IDS[:300])])
    with pytest.raises(ContextOverflow, match="context of 512"):
        engine.step([Feed(mate, IDS[:3]), Feed(session, IDS[:213])])
    assert (session.length, mate.length) == (300, 0)
    engine.step([Feed(session, IDS[:212])])
    assert session.length == 512


@pytest.mark.parametrize("ids", [[], [-1], [16384], [5, 10**9]])
def test_impossible_ids_are_refused(engine: Engine, ids: list[int]) -> None:
    """An empty feed and ids outside the vocabulary are errors that leave the session as it was."""
    session = engine.open()
    with pytest.raises(EngineError):
        engine.step([Feed(session, ids)])
    assert session.length == 0


def test_a_session_may_stand_in_a_batch_once(engine: Engine) -> None:
    """Twice would make the order of appending undefined."""
    session = engine.open()
    with pytest.raises(EngineError, match="twice"):
        engine.step([Feed(session, IDS[:2]), Feed(session, IDS[:2])])


def test_a_closed_session_cannot_be_fed(engine: Engine) -> None:
    """Closing twice is harmless, feeding afterwards is an error."""
    session = engine.open()
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        engine.step([Feed(session, IDS[:2])])


def test_a_foreign_session_is_refused(engines: dict[str, Engine]) -> None:
    """A session belongs to the engine that opened it."""
    for name, engine in engines.items():
        for other_name, other in engines.items():
            if name != other_name:
                with pytest.raises(EngineError, match="another engine"):
                    engine.step([Feed(other.open(), IDS[:2])])


def test_many_threads_have_their_own_sessions(engine: Engine) -> None:
    """Eight threads at once get what one gets."""
    expected = read(engine, IDS[:40], [7])
    results: list[Logits] = []

    def work() -> None:
        results.append(read(engine, IDS[:40], [7]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for result in results:
        assert_same(result, expected, closeness(engine))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["torch", "onnx-fp32", "scheduled-fake", "scheduled-onnx-fp32"])
def test_a_fork_after_loading_is_an_error_not_a_hang(engines: dict[str, Engine], name: str) -> None:
    """In the child, a step raises at once."""
    child = os.fork()
    if not child:
        try:
            engines[name].step([Feed(engines[name].open(), IDS[:2])])
        except EngineError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
