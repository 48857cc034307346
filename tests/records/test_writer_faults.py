"""The queue before a store, while the store is away, refuses, hangs or is closed, and no record is lost uncounted."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from guardrail.errors import RecordError
from guardrail.records import Queueing, Record, writer
from guardrail.records.writer import Writer
from tests.records.made import HeldStore, ScriptedStore, away, ended, put_all, record

QUICK = Queueing(timeout_s=10, close_s=20)


@pytest.fixture(autouse=True, scope="module")
def short_pauses() -> Iterator[None]:
    """Stores come back at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "FIRST_RETRY_S", 0.001)
        patch.setattr(writer, "LAST_RETRY_S", 0.002)
        yield


def test_an_outage_is_told_of_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    """However often the store is tried; without the text of what it raised, if it is no error of ours."""
    store = ScriptedStore([away()] * 5)
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(2))
    assert queue.flush()
    queue.close()
    assert [r.getMessage() for r in caplog.records] == [
        "the test sink is away, records wait: the store is away", "the test sink is back",
    ]  # fmt: skip


def test_refusals_are_counted_and_the_first_of_a_row_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of a store is a refusal; its message may hold anything, and is not shown."""
    store = ScriptedStore([ValueError("SECRET")] * 3)
    queue = Writer(store, QUICK, "test")
    for number in range(4):
        put_all(queue, range(number, number + 1))
        assert queue.flush()
    queue.close()
    assert (queue.n_refused, store.taken) == (3, [3])
    (told,) = [r.getMessage() for r in caplog.records]
    assert told.endswith(": the store raised ValueError")
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), TimeoutError("SECRET"), OSError(28, "SECRET")])
def test_what_the_system_lacks_for_a_moment_costs_no_record(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a store of one's own lets through: it is tried again, and no text of it is told."""
    store = ScriptedStore([error] * 3)
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(5), stops=frozenset(range(5)))
    queue.close()
    assert (store.taken, queue.n_lost) == ([0, 1, 2, 3, 4], 0)
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("bounds", [{"max_waiting": 3}, {"max_bytes": 3200}])
def test_a_flood_during_an_outage_drops_no_stop(bounds: dict[str, Any]) -> None:
    """What fills the queue is no reason to hand on a stop without its record: stops wait, up to twice the bounds."""
    store = HeldStore()
    queue = Writer(store, Queueing(timeout_s=0.01, **bounds), "test")
    put_all(queue, range(10))
    waits = [queue.put(record(number), is_stop=True) for number in range(20, 24)]
    put_all(queue, range(30, 40))
    assert [wait is not None for wait in waits] == [True] * 3 + [False]
    assert (queue.n_waiting, queue.n_dropped) == (6, 18)
    assert waits[0]
    waits[0].wait()
    assert not waits[0].future.done()
    store.released.set()
    queue.close()
    assert store.taken == [0, 1, 2, 20, 21, 22]


def test_a_store_that_is_away_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses grow; records that come meanwhile do not shorten them."""
    monkeypatch.setattr(writer, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(writer, "LAST_RETRY_S", 1.0)
    store = ScriptedStore([away()] * 1000)
    queue = Writer(store, Queueing(close_s=0), "test")
    started = time.monotonic()
    for number in range(300):
        put_all(queue, range(number, number + 1))
        time.sleep(0.001)
    n_calls, passed_s = len(store.calls), time.monotonic() - started
    queue.close()
    assert 1 < n_calls <= 6 + passed_s  # after 0, 50, 150, 350 and 750 ms, and then once a second


def test_an_idle_queue_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a record, without a time-out that would wake it."""
    waited: list[float | None] = []
    wait = threading.Condition.wait

    def spy(self: threading.Condition, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "guardrail-test":
            waited.append(timeout)
        return wait(self, timeout)

    queue = Writer(ScriptedStore(), QUICK, "test")
    put_all(queue, range(1))
    assert queue.flush()
    monkeypatch.setattr(threading.Condition, "wait", spy)
    put_all(queue, range(1, 2))
    assert queue.flush()
    time.sleep(0.2)
    assert set(waited) == {None}
    assert len(waited) <= 3  # once after the record, and once for each call that woke it
    queue.close()


def test_closing_stores_what_waits_though_the_store_comes_back_late() -> None:
    """It is tried until `close_s` is over."""
    store = ScriptedStore([away()] * 20)
    queue = Writer(store, QUICK, "test")
    put_all(queue, range(5))
    queue.close()
    assert (store.taken, queue.n_lost, store.n_closed) == ([0, 1, 2, 3, 4], 0, 1)


def test_closing_gives_up_on_a_store_that_stays_away(caplog: pytest.LogCaptureFixture) -> None:
    """What is left is counted and told of, whoever waits goes on, and the store is closed."""
    store = ScriptedStore([away()] * 100_000)
    queue = Writer(store, Queueing(close_s=0.05, timeout_s=30), "test")
    put_all(queue, range(4))
    wait = queue.put(record(4), is_stop=True)
    queue.close()
    assert (queue.n_abandoned, queue.n_waiting, store.n_closed) == (5, 0, 1)
    assert wait
    assert wait.future.done()
    assert caplog.records[-1].getMessage() == "5 records were not stored: the test sink was closed"


def test_closing_while_a_bad_batch_is_taken_apart_counts_each_record_once() -> None:
    """Refused as a batch, and away when its records are tried alone: they were abandoned, not refused."""

    class Choosy(ScriptedStore):
        def append(self, records: Sequence[Record], *, sync: bool) -> None:
            if len(records) > 1:
                raise RecordError("no")
            if records[0].conversation_id == "0":
                raise away()
            super().append(records, sync=sync)

    store = Choosy()
    queue = Writer(store, Queueing(close_s=0.05, flush_s=600), "test")
    put_all(queue, range(4))
    queue.close()
    assert (queue.n_refused, queue.n_abandoned, store.taken) == (0, 4, [])


def test_closing_leaves_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It says how many are not stored; what hangs is stored if it ever goes on, what waits behind it is counted."""
    store = HeldStore()
    queue = Writer(store, Queueing(close_s=0), "test")
    put_all(queue, range(1))
    assert store.entered.wait(10)
    put_all(queue, range(1, 3))
    join = threading.Thread.join
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout=None: join(self, min(timeout or 0.1, 0.1)))
    queue.close()
    assert caplog.records[-1].getMessage() == "the test sink hangs: 3 records are not stored"
    assert queue.n_waiting == 3
    store.released.set()
    assert queue._thread
    join(queue._thread, 10)
    assert (store.taken, queue.n_stored, queue.n_abandoned) == ([0], 1, 2)


def test_closing_twice_and_at_once_is_harmless() -> None:
    """From several threads, with and without records; nothing is taken from then on."""
    for n_records in (0, 3):
        store = ScriptedStore([away()] * n_records)
        queue = Writer(store, QUICK, "test")
        put_all(queue, range(n_records))
        threads = [threading.Thread(target=queue.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        queue.close()
        assert (len(store.taken), store.n_closed) == (n_records, 1)
        with pytest.raises(RecordError, match="the test sink is closed"):
            queue.put(record(), is_stop=False)


def test_a_store_that_cannot_be_closed_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its message may hold anything."""

    class Stuck(ScriptedStore):
        def close(self) -> None:
            raise OSError("SECRET")

    for n_records in (0, 1):
        queue = Writer(Stuck(), QUICK, "test")
        put_all(queue, range(n_records))
        queue.close()
    assert [r.getMessage() for r in caplog.records] == ["the test sink's store could not be closed: OSError"] * 2


def test_a_system_without_another_thread_stores_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an interpreter that is about to end, which starts none."""

    def refuse(self: threading.Thread) -> None:  # the method's
        raise RuntimeError("can't start new thread")

    store = ScriptedStore()
    queue = Writer(store, QUICK, "test")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        put_all(queue, range(2))
        queue.close()
    assert (store.taken, store.n_closed) == ([0, 1], 1)


class Recording(logging.Handler):
    """A log handler that writes a record of each line to the sink that the line tells of."""

    def __init__(self, queue: Writer) -> None:
        super().__init__()
        self.queue, self.is_inside, self.goes_on = queue, threading.Event(), threading.Event()

    def emit(self, line: logging.LogRecord) -> None:  # noqa: ARG002  # the method's
        self.is_inside.set()
        self.goes_on.wait(10)
        self.queue.put(record(99), is_stop=False)


@pytest.fixture
def recording() -> Iterator[Any]:
    """Makes such a handler, and takes it away again."""
    made: list[logging.Handler] = []

    def make(queue: Writer) -> Recording:
        made.append(Recording(queue))
        logging.getLogger("guardrail").addHandler(made[-1])
        return made[-1]  # type: ignore[return-value]  # the one just made

    yield make
    for handler in made:
        logging.getLogger("guardrail").removeHandler(handler)


def test_a_log_handler_may_write_to_the_sink_that_logs(recording: Any) -> None:
    """While one thread is in the handler, whose lock it holds, another one's record is dropped: neither waits for the
    other for ever, and a dropped record of a drop is told of no further.
    """
    store = HeldStore()
    queue = Writer(store, Queueing(max_waiting=1), "test")
    handler = recording(queue)
    put_all(queue, range(1))
    first = threading.Thread(target=put_all, args=(queue, range(1, 2)), daemon=True)
    first.start()
    assert handler.is_inside.wait(10)
    queue._is_dropping = False  # as if a new row of drops began just now
    second = threading.Thread(target=put_all, args=(queue, range(2, 3)), daemon=True)
    second.start()
    assert ended(lambda: [None for _ in iter(lambda: queue.n_dropped, 2)])
    handler.goes_on.set()
    for thread in (first, second):
        thread.join(10)
        assert not thread.is_alive()
    store.released.set()
    queue.close()
