"""A PostgreSQL server that is gone while a guard works, and comes back: nothing waits for it, and nothing is lost."""

from collections.abc import Iterator

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.records import Durability, MemorySink, Queueing, StoredSink, WhenFull
from guardrail.records.sql import SqlStore
from guardrail.testing import MarkerEngine
from tests.postgres import PostgresServer
from tests.records.made import decision
from tests.records.sql.stored import ids

TOO_LONG_S = 250.0
"""Longer than a test may take: whoever waits for this has failed."""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that nobody else needs meanwhile."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("end", ["fast", "immediate"])
def test_a_stream_goes_on_while_the_server_is_away(
    own_server: PostgresServer, tokenizer: GuardTokenizer, end: str
) -> None:
    """In the middle of an answer it is shut down, or crashes: each call returns though nothing can be stored, and all
    records are there in the end, once.
    """
    url, memory = own_server.new_url(), MemorySink()
    sink = StoredSink(SqlStore(url), queueing=Queueing(Durability.BATCH, timeout_s=TOO_LONG_S, close_s=60))
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, sinks=[sink, memory])
    guard.check_prompt("before")
    assert sink.flush(60)
    own_server.execute("CHECKPOINT")  # a crash of the server may lose what it took lately, but for stops under `sync`
    stream = guard.open_stream("hi")
    released = stream.feed("the first words ")
    own_server.stop(end)
    released += stream.feed("and the others, ") + stream.feed("☠ and so on and on")
    released += stream.finish()
    for i in range(3):
        guard.check_prompt(f"meanwhile {i} ☠")
    assert (sink.n_stored, sink.n_waiting, sink.n_lost) == (1, 4, 0)
    assert released == "the first words and the others, "
    own_server.start()
    assert sink.flush(60)
    guard.check_prompt("after")
    sink.close()
    assert (sink.n_stored, sink.n_waiting, sink.n_lost) == (6, 0, 0)
    assert ids(url) == [one.id for one in memory.decisions]


@pytest.mark.parametrize(
    ("when_full", "n_kept", "n_waited_for"), [(WhenFull.DROP, 3, 0), (WhenFull.BLOCK, 6, 3)], ids=["drop", "block"]
)
def test_what_is_too_much_meanwhile_is_counted(
    own_server: PostgresServer, when_full: WhenFull, n_kept: int, n_waited_for: int
) -> None:
    """Eight records where three may wait: the newest are dropped at once, or their callers are kept for so long, and
    then as many again are kept. A store that is back takes what waited, in order, and what comes then.
    """
    url = own_server.new_url()
    queueing = Queueing(Durability.BATCH, when_full, max_waiting=3, timeout_s=0.01, close_s=60)
    sink = StoredSink(SqlStore(url), queueing=queueing)
    own_server.stop("immediate")
    decisions, waits = [decision() for _ in range(8)], []
    for one in decisions:
        wait = sink.write(one, "")
        if wait:
            wait.wait()
            assert not wait.future.done()
            waits.append(wait)
    assert len(waits) == n_waited_for
    assert (sink.n_stored, sink.n_waiting, sink.n_lost) == (0, n_kept, 8 - n_kept)
    own_server.start()
    assert sink.flush(60)
    last = decision()
    sink.write(last, "")
    sink.close()
    assert ids(url) == [*[one.id for one in decisions[:n_kept]], last.id]
    assert (sink.n_stored, sink.n_lost) == (n_kept + 1, 8 - n_kept)


def test_a_stop_waits_no_longer_than_it_may(own_server: PostgresServer, tokenizer: GuardTokenizer) -> None:
    """Under `sync` while the server is away: the call returns, its record waits, and is stored later."""
    url, memory = own_server.new_url(), MemorySink()
    sink = StoredSink(SqlStore(url), queueing=Queueing(timeout_s=0.05, close_s=60))
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, sinks=[sink, memory])
    own_server.stop("immediate")
    assert guard.check_prompt("kill ☠").stopped
    assert (sink.n_stored, sink.n_waiting) == (0, 1)
    own_server.start()
    sink.close()
    assert ids(url) == [one.id for one in memory.decisions]
