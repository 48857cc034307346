"""Many threads at one cache of tapes: nobody gets what another one holds, and nobody waits in vain."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from threading import Thread

import pytest

from guardrail.decision import Decision
from guardrail.driving import drive
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.prefixes import Owner
from guardrail.reuse import KeptTapes, Tapes
from guardrail.testing import HashEngine
from tests.counting import CountingEngine

SYSTEM = [1] * 40
QUESTIONS = ["How does bread rise? " * 8, "How does bread rise? " * 4 + "And cake?", "Who invented cake? " * 5]


def read(engine: CountingEngine, kept: KeptTapes, owner: Owner, ids: list[int]) -> None:
    """Read ids and keep the tape."""
    tapes = Tapes(engine, kept, owner)
    tape = drive(engine, tapes.open(ids))
    drive(engine, tape.feed(ids[tape.length :]))
    tapes.put_back(tape)


@pytest.fixture
def threads() -> Iterator[list[Thread]]:
    """Threads that a test starts; they must end."""
    started: list[Thread] = []
    yield started
    for thread in started:
        thread.join(20)
        assert not thread.is_alive()


def test_nobody_touches_a_tape_while_it_is_copied(threads: list[Thread]) -> None:
    """Its own conversation, another copy, a request without room and the end of everything wait until it is done."""
    engine = CountingEngine(HashEngine(vocab_size=100), max_sessions=4)
    kept = KeptTapes(engine, 10**9)
    read(engine, kept, Owner(None, "a"), [*SYSTEM, 5])
    others = [engine.open() for _ in range(3)]
    waited: list[bool] = []

    def meanwhile() -> None:
        engine.before_fork = lambda: None
        work = partial(read, engine, kept)
        for call in (
            partial(work, Owner(None, "a"), [*SYSTEM, 5, 6]),
            partial(work, Owner(None, "c"), [*SYSTEM, 7]),
            partial(work, Owner("x"), SYSTEM),
            kept.close,
        ):
            threads.append(Thread(target=call))
            threads[-1].start()
            threads[-1].join(0.05)
        waited.extend(thread.is_alive() for thread in threads)
        for session in others:
            session.close()

    engine.before_fork = meanwhile
    read(engine, kept, Owner(None, "b"), [*SYSTEM, 8])
    assert waited == [True] * 4
    for thread in threads:
        thread.join(20)
    assert not engine.clashes
    assert not engine.live


def test_threads_and_tenants_at_once_decide_as_one_alone(tokenizer: GuardTokenizer, threads: list[Thread]) -> None:
    """As many sessions as threads: no request fails, no session has two users, every verdict is what it is alone."""
    inner = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.3)
    engine = CountingEngine(inner, max_sessions=6, kv_bytes_per_token=1)
    engine.before_fork = partial(time.sleep, 0.0005)  # so that others come meanwhile
    guard, alone = Guard(engine, tokenizer, kept_bytes=600), Guard(inner, tokenizer, kept_bytes=0)
    found: list[tuple[str, Decision]] = []

    def talk(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(40):
            text = f"{draw.choice(QUESTIONS)} {draw.randrange(3)}"
            owner = {"tenant": draw.choice([None, "x"]), "conversation_id": draw.choice([None, "a", "b"])}
            found.append((text, guard.check_prompt(text, **owner)))

    threads.extend(Thread(target=talk, args=(seed,)) for seed in range(6))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(text, decision.verdict) for text, decision in found] == [
        (text, alone.check_prompt(text).verdict) for text, _ in found
    ]
    assert len(found) == 240
    assert not engine.clashes
    assert engine.n_read < sum(decision.n_tokens for _, decision in found) / 2
    guard.close()
    assert not engine.live


class SlowCopy:
    """Lasts until it may end, which only the event loop tells.

    Attributes:
        has_begun: set by the first copy.
        may_end: lets all of them end.
        in_time: for each that has ended, whether it was told to.
    """

    def __init__(self) -> None:
        self.has_begun, self.may_end = asyncio.Event(), threading.Event()
        self.in_time: list[bool] = []
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.has_begun.set)
        self.in_time.append(self.may_end.wait(20))


async def test_an_event_loop_goes_on_while_a_tape_is_copied(tokenizer: GuardTokenizer) -> None:
    """A second task waits for the copy and blocks nobody either."""
    engine = CountingEngine(HashEngine(vocab_size=tokenizer.vocab_size))
    guard = Guard(engine, tokenizer)
    first = (await guard.acheck_prompt(QUESTIONS[0] + "first")).n_tokens
    engine.before_fork = copy = SlowCopy()
    tasks = [asyncio.create_task(guard.acheck_prompt(QUESTIONS[0] + name)) for name in ("second", "third")]
    await copy.has_begun.wait()
    copy.may_end.set()
    await asyncio.gather(*tasks)
    assert copy.in_time == [True, True]
    assert engine.n_read < 1.5 * first


async def test_a_task_that_is_cancelled_while_it_copies_leaks_nothing(tokenizer: GuardTokenizer) -> None:
    """The copy ends first, and rests for the next one."""
    engine = CountingEngine(HashEngine(vocab_size=tokenizer.vocab_size))
    guard = Guard(engine, tokenizer)
    await guard.acheck_prompt(QUESTIONS[0] + "first")
    engine.before_fork = copy = SlowCopy()
    task = asyncio.create_task(guard.acheck_prompt(QUESTIONS[0] + "second"))
    await copy.has_begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    copy.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(engine.live) == 2
    guard.close()
    assert not engine.live
    assert not engine.clashes
