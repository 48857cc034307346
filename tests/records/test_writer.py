"""The queue before a store: every record is stored once and in order, or counted, whatever the store does."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import RecordError
from guardrail.records import Durability, Queueing, WhenFull, writer
from guardrail.records.writer import BATCH, Writer
from tests.records.made import HeldStore, ScriptedStore, away, ended, put_all, record

QUICK = Queueing(timeout_s=10, close_s=20)


@pytest.fixture(autouse=True, scope="module")
def short_pauses() -> Iterator[None]:
    """Stores come back at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "FIRST_RETRY_S", 0.001)
        patch.setattr(writer, "LAST_RETRY_S", 0.002)
        yield


def n_accounted(queue: Writer) -> int:
    with queue._changed:
        return queue.n_stored + queue.n_lost + queue.n_waiting


failures = st.sampled_from([None, "away", "refused", "a bug"]).map(
    lambda what: {"away": away(), "refused": RecordError("no"), "a bug": ZeroDivisionError()}.get(what or "")
)


@given(
    st.lists(failures, max_size=12),
    st.sets(st.integers(0, 29)),
    st.integers(0, 30),
    st.sets(st.integers(0, 29)),
    st.sampled_from([1, 3, 1000]),
)
def test_every_record_is_stored_once_in_order_or_counted_once(
    script: list[Exception | None], bad: set[int], n_put: int, stops: set[int], max_waiting: int
) -> None:
    """Whatever the store's calls raise, and whatever finds no room; at every moment all records are accounted for."""
    store = ScriptedStore(script, bad)
    queue = Writer(store, Queueing(max_waiting=max_waiting, close_s=20), "test")
    for number in range(n_put):
        queue.put(record(number), is_stop=number in stops)
        assert n_accounted(queue) == number + 1
    queue.close()
    assert store.taken == sorted(set(store.taken))
    assert bad.isdisjoint(store.taken)
    assert (queue.n_stored, queue.n_waiting, queue.n_abandoned) == (len(store.taken), 0, 0)
    assert queue.n_stored + queue.n_lost == n_put
    is_refusing = any(error and not getattr(error, "retryable", False) for error in script)
    if not is_refusing and max_waiting > n_put:
        assert queue.n_refused == len(bad & set(range(n_put)))


@given(st.lists(failures, max_size=6), st.sampled_from(WhenFull), st.integers(1, 4))
def test_no_record_of_many_threads_is_lost_uncounted(
    script: list[Exception | None], when_full: WhenFull, n_threads: int
) -> None:
    """Each thread's records stay in its order."""
    store = ScriptedStore(script)
    queue = Writer(store, Queueing(when_full=when_full, max_waiting=5, timeout_s=10, close_s=20), "test")

    def put(first: int) -> None:
        for number in range(first, first + 20):
            if wait := queue.put(record(number), is_stop=number % 7 == 0):
                wait.wait()

    threads = [threading.Thread(target=put, args=(100 * i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.close()
    assert queue.n_stored + queue.n_lost == 20 * n_threads
    assert len(set(store.taken)) == len(store.taken) == queue.n_stored
    for i in range(n_threads):
        own = [number for number in store.taken if number // 100 == i]
        assert own == sorted(own)
    if when_full is WhenFull.BLOCK:
        assert queue.n_dropped == 0


def test_one_bad_record_costs_no_other() -> None:
    """The batch that holds it is tried again record by record; its stop's caller goes on too."""
    store = HeldStore()
    store._bad = frozenset({2})
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(1))
    store.entered.wait(10)
    waits = [queue.put(record(number), is_stop=True) for number in range(1, 5)]
    store.released.set()
    queue.close()
    assert store.taken == [0, 1, 3, 4]
    assert store.calls[1][0] == [1, 2, 3, 4]
    assert queue.n_refused == 1
    assert all(wait and wait.future.done() for wait in waits)


def test_a_stop_waits_for_the_disk_and_nothing_else_does() -> None:
    """Its wait ends when the store has forced it to the disk; under `batch` nothing waits."""
    store = HeldStore()
    queue = Writer(store, QUICK, "test")
    assert queue.put(record(0), is_stop=False) is None
    store.entered.wait(10)
    wait = queue.put(record(1), is_stop=True)
    assert wait is not None
    assert not wait.future.done()
    store.released.set()
    wait.wait()
    assert wait.future.done()
    assert store.calls == [([0], False), ([1], True)]
    queue.close()
    other = Writer(ScriptedStore(), Queueing(durability=Durability.BATCH), "test")
    assert other.put(record(0), is_stop=True) is None
    other.close()


def test_stops_that_come_together_share_one_way_to_the_disk() -> None:
    """Those that wait while a call is under way are stored by the next call, all of them."""
    store = HeldStore()
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(1), stops=frozenset({0}))
    store.entered.wait(10)
    put_all(queue, range(1, 101), stops=frozenset(range(101)))
    store.released.set()
    queue.close()
    assert [len(numbers) for numbers, _ in store.calls] == [1, 100]


def test_a_batch_has_a_bound() -> None:
    """So that one call of the store stays short."""
    store = HeldStore()
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(1))
    store.entered.wait(10)
    put_all(queue, range(1, BATCH + 10))
    store.released.set()
    queue.close()
    assert [len(numbers) for numbers, _ in store.calls] == [1, BATCH, 9]


def test_a_stop_is_waited_for_so_long_and_no_longer() -> None:
    """The store hangs: the caller goes on, and the record is stored when the store goes on."""
    store = HeldStore()
    queue = Writer(store, Queueing(timeout_s=0.02), "test")
    wait = queue.put(record(0), is_stop=True)
    assert wait is not None
    wait.wait()
    assert not wait.future.done()
    assert queue.n_waiting == 1
    store.released.set()
    queue.close()
    assert store.taken == [0]


def test_nobody_can_cancel_what_another_waits_for() -> None:
    """A task that is cancelled cancels its own waiting: the record's future would take the thread down with it."""
    store = HeldStore()
    queue = Writer(store, QUICK, "test")
    wait = queue.put(record(0), is_stop=True)
    assert wait is not None
    assert not wait.future.cancel()
    store.released.set()
    put_all(queue, range(1, 3))
    queue.close()
    assert store.taken == [0, 1, 2]


@pytest.mark.parametrize(("bounds", "n_kept"), [({"max_waiting": 3}, 3), ({"max_bytes": 2500}, 2)])
def test_the_newest_are_dropped_counted_and_told_of_once(
    bounds: dict[str, Any], n_kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    """By number, and by bytes (a small record counts as 1,000); the next row of drops is told of again."""
    store = HeldStore()
    queue = Writer(store, Queueing(when_full=WhenFull.DROP, durability=Durability.BATCH, **bounds), "test")
    put_all(queue, range(10), stops=frozenset({9}))
    assert (queue.n_waiting, queue.n_dropped) == (n_kept, 10 - n_kept)
    assert [r.getMessage() for r in caplog.records] == [f"records are dropped: {n_kept} wait for the test sink"]
    store.released.set()
    assert queue.flush()
    assert store.taken == list(range(n_kept))
    store.released.clear()
    put_all(queue, range(20, 30))
    assert len(caplog.records) == 2
    store.released.set()
    queue.close()


def test_a_record_larger_than_the_bound_is_taken_when_nothing_waits() -> None:
    """Else it could never be stored at all."""
    store = ScriptedStore()
    queue = Writer(store, Queueing(max_bytes=1), "test")
    put_all(queue, range(1))
    assert queue.flush()
    assert store.taken == [0]
    queue.close()


def test_block_makes_callers_wait_for_room_and_bounds_what_waits() -> None:
    """Kept long enough they go on and their records still wait; from twice the bound on they are dropped."""
    store = HeldStore()
    queue = Writer(store, Queueing(when_full=WhenFull.BLOCK, max_waiting=3, timeout_s=0.01), "test")
    waits = [queue.put(record(number), is_stop=False) for number in range(8)]
    assert [wait is not None for wait in waits] == [False] * 3 + [True] * 3 + [False] * 2
    assert (queue.n_waiting, queue.n_dropped) == (6, 2)
    store.released.set()
    for wait in waits[3:6]:
        assert wait
        wait.future.result(10)
    queue.close()
    assert store.taken == [0, 1, 2, 3, 4, 5]


def test_records_wait_for_others_but_no_stop_and_no_flush_does() -> None:
    """With `flush_s` they are stored together; a stop takes all that wait along."""
    store = ScriptedStore()
    queue = Writer(store, Queueing(flush_s=600, timeout_s=10), "test")
    put_all(queue, range(5))
    assert store.calls == []
    wait = queue.put(record(5), is_stop=True)
    assert wait
    wait.wait()
    assert store.calls == [([0, 1, 2, 3, 4, 5], True)]
    put_all(queue, range(6, 8))
    assert queue.flush()
    put_all(queue, range(8, 9))
    queue.close()
    assert [numbers for numbers, _ in store.calls[1:]] == [[6, 7], [8]]


def test_a_full_batch_waits_for_no_more() -> None:
    """Else the queue would fill while the thread waits."""
    store = ScriptedStore()
    queue = Writer(store, Queueing(flush_s=600), "test")
    put_all(queue, range(BATCH))
    assert ended(lambda: [None for _ in iter(lambda: queue.n_waiting, 0)])
    assert store.taken == list(range(BATCH))
    queue.close()


def test_flush_says_whether_it_came_to_an_end() -> None:
    """It waits for what is there when it is called, not for what comes behind."""
    store = HeldStore()
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(3))
    assert not queue.flush(0.01)
    store.released.set()
    assert queue.flush()
    assert store.taken == [0, 1, 2]
    queue.close()
    assert queue.flush()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"durability": "never"}, "valid: sync, batch"), ({"when_full": "wait"}, "valid: drop, block"),
        ({"max_waiting": 0}, "at least 1"), ({"max_bytes": 0}, "at least 1"), ({"flush_s": -1}, "not negative"),
        ({"timeout_s": float("inf")}, "finite"), ({"close_s": float("nan")}, "finite"),
    ],
)  # fmt: skip
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    """With what would."""
    with pytest.raises(RecordError, match=message):
        Queueing(**values)


SCRIPT = """
import multiprocessing, os, sys
from guardrail.records import JsonlSink, Queueing
from tests.records.made import decision
sink = JsonlSink(sys.argv[1], queueing=Queueing(flush_s=600))
def write(name):
    sink.write(decision(conversation_id=name), "")
"""
