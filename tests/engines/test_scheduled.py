"""Many callers, one worker: sharing, bounds, cancelling, time-outs, and failures that stay with whom they befall."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from guardrail.driving import adrive, drive
from guardrail.engines.base import Engine, Feed, Logits
from guardrail.engines.requests import ScheduledTicket
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import ContextOverflow, EngineError, EngineOverloaded, EngineTimeout, InvalidLogits
from guardrail.tape import Steps, Tape
from guardrail.testing import HashEngine
from tests.engines.gated import RAISES, SPOILS, GatedEngine
from tests.engines.test_contract import assert_same, read

IDS = list(range(100, 400))


@pytest.fixture
def gated() -> Iterator[GatedEngine]:
    """An engine that runs when it is let."""
    engine = GatedEngine(HashEngine(vocab_size=1000, max_context=4096))
    yield engine
    engine.open_up()


def submitted(engine: ScheduledEngine, *rows: list[int]) -> list[ScheduledTicket]:
    """Submit each row by itself, in a fresh session."""
    return [engine.submit([Feed(engine.open(), row)]) for row in rows]


def test_what_piles_up_during_a_call_is_read_by_the_next(gated: GatedEngine) -> None:
    """The first runs alone; the three that came meanwhile share one call, each with all its tokens."""
    engine = ScheduledEngine(gated)
    first = submitted(engine, IDS[:2])
    gated.wait_for_step()
    others = submitted(engine, IDS[:1], IDS[:5], IDS[:3])
    gated.open_up()
    for ticket in (*first, *others):
        ticket.future.result(20)
    assert gated.batches == [[2], [1, 5, 3]]


def test_a_long_prompt_stalls_nobody_for_more_than_a_call(gated: GatedEngine) -> None:
    """1,200 tokens are read beside a stream of single tokens, in calls of at most 64 tokens together."""
    engine = ScheduledEngine(gated)
    prompt = submitted(engine, IDS * 4)[0]
    session = engine.open()
    gated.wait_for_step()
    for token in IDS[:4]:
        ticket = engine.submit([Feed(session, [token])])
        gated.let_run()
        gated.let_run()
        assert ticket.future.result(20)
    assert not prompt.future.done()
    gated.open_up()
    prompt.future.result(20)
    assert max(map(sum, gated.batches)) == 64
    assert sum(map(sum, gated.batches)) == 1204


@pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32"])
def test_forty_threads_and_tasks_get_what_one_gets(engines: dict[str, Engine], name: str) -> None:
    """Sync and async callers mixed, of rows of all lengths: each row's logits are those of the row alone."""
    inner = engines[name]
    engine = ScheduledEngine(inner, Runtime(step_tokens=48))
    rows = [IDS[n : n + 5 + 3 * n] for n in range(40)]
    found: dict[int, Logits] = {}

    def work(n: int) -> None:
        found[n] = read(engine, rows[n], [7, 1, 3])

    async def work_async(n: int) -> None:
        def reading() -> Steps[Logits]:
            tape = Tape(engine)
            logits = yield from tape.feed(rows[n])
            tape.close()
            return logits

        found[n] = await adrive(engine, reading())

    async def tasks() -> None:
        await asyncio.gather(*(work_async(n) for n in range(1, 40, 2)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(0, 40, 2)]
    threads.append(threading.Thread(target=asyncio.run, args=(tasks(),)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, row in enumerate(rows):
        assert_same(found[n], read(inner, row, [len(row)]), 1e-4)


@pytest.mark.parametrize(("bad_id", "kind"), [(RAISES, EngineError), (SPOILS, InvalidLogits)])
def test_a_row_that_breaks_the_model_fails_alone(gated: GatedEngine, bad_id: int, kind: type[Exception]) -> None:
    """Its mates in the same call get their logits; its session is at its former length and can go on."""
    engine = ScheduledEngine(gated)
    before = submitted(engine, IDS[:2])
    gated.wait_for_step()
    session = engine.open()
    bad = engine.submit([Feed(session, [100, bad_id])])
    mates = submitted(engine, IDS[:3], IDS[:4])
    gated.open_up()
    with pytest.raises(kind):
        bad.future.result(20)
    for ticket in (*before, *mates):
        assert ticket.future.result(20)
    assert session.length == 0
    assert engine.step([Feed(session, IDS[:3])])
    assert session.length == 3


def test_a_request_of_several_feeds_is_all_or_nothing(gated: GatedEngine) -> None:
    """One of them fails in a later chunk: both sessions are where they were."""
    gated.open_up()
    engine = ScheduledEngine(gated, Runtime(step_tokens=10))
    sessions = engine.open(), engine.open()
    engine.step([Feed(session, IDS[:5]) for session in sessions])
    with pytest.raises(EngineError):
        engine.step([Feed(sessions[0], IDS[:40]), Feed(sessions[1], [*IDS[:60], RAISES])])
    assert [session.length for session in sessions] == [5, 5]
    assert engine.n_waiting == 0


def test_too_many_waiting_feeds_are_refused_and_lose_nothing(gated: GatedEngine) -> None:
    """The queue is full: the next one is told so at once; those that wait are answered."""
    engine = ScheduledEngine(gated, Runtime(max_waiting=3))
    waiting = submitted(engine, IDS[:1])
    gated.wait_for_step()
    waiting += submitted(engine, *[IDS[:2]] * 3)
    session = engine.open()
    with pytest.raises(EngineOverloaded, match="3 feeds wait") as caught:
        engine.step([Feed(session, IDS[:1])])
    assert caught.value.retryable
    gated.open_up()
    for ticket in waiting:
        assert ticket.future.result(20)
    assert engine.step([Feed(session, IDS[:1])])


def test_a_request_that_waits_is_withdrawn_at_once(gated: GatedEngine) -> None:
    """It is never read, and its session is free for other work while the call goes on."""
    engine = ScheduledEngine(gated)
    first = submitted(engine, IDS[:2])[0]
    gated.wait_for_step()
    session = engine.open()
    ticket = engine.submit([Feed(session, IDS[:9])])
    ticket.withdraw()
    with pytest.raises(CancelledError):
        ticket.future.result(0)
    again = engine.submit([Feed(session, IDS[:3])])
    gated.open_up()
    assert first.future.result(20)
    assert again.future.result(20)
    assert gated.batches == [[2], [3]]


def test_a_request_that_is_being_read_is_withdrawn_when_the_call_ends(gated: GatedEngine) -> None:
    """Until then its session is in use; then it is at its former length."""
    engine = ScheduledEngine(gated)
    session = engine.open()
    ticket = engine.submit([Feed(session, IDS)])
    gated.wait_for_step()
    ticket.withdraw()
    assert not ticket.future.done()
    with pytest.raises(EngineError, match="still being read"):
        session.rollback(0)
    gated.let_run()
    with pytest.raises(CancelledError):
        ticket.future.result(20)
    assert session.length == 0
    assert gated.batches == [[64]]


def test_a_cancelled_task_leaves_its_session_at_rest(gated: GatedEngine) -> None:
    """The task ends when the call under way has ended, not before, and nothing of its feed is held."""
    engine = ScheduledEngine(gated)
    tapes: list[Tape] = []

    def reading() -> Steps[Logits]:
        tapes.append(Tape(engine))
        return (yield from tapes[0].feed(IDS))

    async def cancel() -> None:
        task = asyncio.create_task(adrive(engine, reading()))
        await asyncio.to_thread(gated.wait_for_step)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        await asyncio.to_thread(gated.let_run)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert gated.opened[0].length == 0
    assert gated.batches == [[64]]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_answer_that_does_not_come_in_time_is_an_error(gated: GatedEngine, way: str) -> None:
    """The caller is told while the model still hangs; the session comes to rest when it wakes."""
    engine = ScheduledEngine(gated, Runtime(timeout_s=0.05))
    session = engine.open()

    def reading() -> Steps[Logits]:
        return (yield [Feed(session, IDS[:5])])[0]

    def call() -> Logits:
        return drive(engine, reading()) if way == "sync" else asyncio.run(adrive(engine, reading()))

    with pytest.raises(EngineTimeout, match=r"0\.05 s"):
        call()
    with pytest.raises(EngineError, match="still being read"):
        session.rollback(0)
    gated.open_up()
    while session.request is not None:
        threading.Event().wait(0.01)
    assert session.length == 0


def test_closing_a_session_ends_its_request(gated: GatedEngine) -> None:
    """Whoever waits for it gets an error, the mates of its call their logits."""
    engine = ScheduledEngine(gated)
    session = engine.open()
    ticket = engine.submit([Feed(session, IDS[:5])])
    gated.wait_for_step()
    mate = submitted(engine, IDS[:3])[0]
    session.close()
    gated.open_up()
    with pytest.raises(EngineError, match="closed"):
        ticket.future.result(20)
    assert mate.future.result(20)


def test_closing_the_engine_fails_what_waits(gated: GatedEngine) -> None:
    """Nobody waits for ever."""
    engine = ScheduledEngine(gated)
    tickets = submitted(engine, IDS[:5])
    gated.wait_for_step()
    tickets += submitted(engine, IDS[:3])
    engine.close()
    gated.open_up()
    for ticket in tickets:
        with pytest.raises(EngineError, match="closed"):
            ticket.future.result(20)
    with pytest.raises(EngineError, match="closed"):
        engine.step([Feed(engine.open(), IDS[:1])])


def test_an_overlong_feed_is_refused_before_any_of_it_is_read(gated: GatedEngine) -> None:
    """It would be cut into calls, and only the last would overflow."""
    engine = ScheduledEngine(gated)
    with pytest.raises(ContextOverflow):
        engine.step([Feed(engine.open(), [1] * 5000)])
    assert not gated.batches


def test_an_idle_engine_that_nobody_holds_is_freed(gated: GatedEngine) -> None:
    """Its worker does not keep it."""
    gated.open_up()
    engine = ScheduledEngine(gated)
    engine.step([Feed(engine.open(), IDS[:3])])
    gone = weakref.ref(engine)
    del engine
    for _ in range(100):
        gc.collect()
        if gone() is None:
            return
        threading.Event().wait(0.02)
    pytest.fail("the engine is still there")
