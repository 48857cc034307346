"""How streams end that nobody ends: bounds, expiry, drain and shutdown."""

import json
from dataclasses import dataclass

import pytest

from guardrail import Guard, Reason
from guardrail.records import MemorySink
from guardrail.service import ServiceError, Settings
from guardrail.service.callers import Caller
from guardrail.service.live_stream import LiveStream
from guardrail.service.sections import ServerSettings, StreamSettings
from guardrail.service.stream_registry import StreamRegistry
from guardrail.stream_protocol import DeltaFrame, OpenFrame
from tests.service.servers import marker_guard
from tests.service.streaming import asking, delta_frame, kinds, open_frame, post_open, released, socket_to

SHOP, BANK = Caller("web", "shop"), Caller("app", "bank")


@dataclass
class Clock:
    """Stands until it is moved."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Holder:
    """A registry with a guard, and time in our hands."""

    registry: StreamRegistry
    clock: Clock
    guard: Guard
    sink: MemorySink

    async def open(self, caller: Caller = SHOP) -> LiveStream:
        """Open a stream."""
        return await self.registry.open(self.guard, caller, OpenFrame(messages="how?"))


def holder(**settings: float) -> Holder:
    """A registry with these bounds."""
    clock, sink = Clock(), MemorySink()
    registry = StreamRegistry(StreamSettings.model_validate(settings), clock, lambda _: None)
    return Holder(registry, clock, marker_guard(sink=sink), sink)


def told(live: LiveStream) -> list[str]:
    """Kinds of all its events."""
    return kinds([json.loads(event) for event in live.log.since(0)])


async def test_a_tenant_and_the_server_have_their_bounds() -> None:
    """One tenant cannot take the places of all; a stream that ended makes room."""
    held = holder(max_open=3, max_per_tenant=2)
    first, _, _ = await held.open(), await held.open(), await held.open(BANK)
    for caller in (SHOP, BANK):
        with pytest.raises(ServiceError) as refused:
            await held.open(caller)
        assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    await first.close()
    await held.open(SHOP)


async def test_a_stream_that_nobody_feeds_or_reads_is_given_up() -> None:
    """At `idle_s`, not before; its readers to come are told why, and it is recorded as abandoned."""
    held = holder(idle_s=60, keep_s=1000)
    live = await held.open()
    held.clock.now_s += 59
    await live.feed(DeltaFrame(text="It is br"))
    held.clock.now_s += 59
    await held.registry.sweep()
    assert not live.is_over
    held.clock.now_s += 1
    await held.registry.sweep()
    assert told(live)[-3:] == ["error", "decision", "closed"]
    assert live.error
    assert live.error.code == "stream_idle"
    assert [decision.reason for decision in held.sink.decisions] == [Reason.ABANDONED]


async def test_a_reader_keeps_a_stream_open() -> None:
    """The time begins when the last one leaves."""
    held = holder(idle_s=60)
    live = await held.open()
    with live.reading():
        held.clock.now_s += 100
        await held.registry.sweep()
        assert not live.is_over
    held.clock.now_s += 59
    await held.registry.sweep()
    assert not live.is_over
    held.clock.now_s += 1
    await held.registry.sweep()
    assert live.is_over


async def test_an_ended_stream_can_be_read_for_a_while() -> None:
    """For `keep_s` behind its end; then its id is unknown, swept or not."""
    held = holder(keep_s=30)
    live = await held.open()
    await live.finish()
    held.clock.now_s += 29
    await held.registry.sweep()
    assert held.registry.find(live.id, SHOP) is live
    held.clock.now_s += 1
    with pytest.raises(ServiceError, match="no such stream"):
        held.registry.find(live.id, SHOP)
    await held.registry.sweep()
    held.clock.now_s -= 1
    with pytest.raises(ServiceError, match="no such stream"):
        held.registry.find(live.id, SHOP)


async def test_ids_are_long_and_another_tenants_is_unknown() -> None:
    """24 random bytes each; whose it is makes no difference to the answer."""
    held = holder()
    one, other = await held.open(), await held.open()
    assert one.id != other.id
    assert len(one.id) == len("stream_") + 32
    with pytest.raises(ServiceError, match="there is no such stream"):
        held.registry.find(one.id, BANK)


async def test_a_closed_registry_takes_no_more() -> None:
    """What is open ends as abandoned; a new stream is refused for now."""
    held = holder()
    live = await held.open()
    await live.feed(DeltaFrame(text="It is br"))
    await held.registry.close()
    assert told(live)[-3:] == ["error", "decision", "closed"]
    with pytest.raises(ServiceError) as refused:
        await held.open()
    assert refused.value.status == 503


def test_a_drain_lets_open_streams_end_and_takes_no_new_ones() -> None:
    """Deltas of an open stream are read while the server drains; the drain waits for its end."""
    with asking(Settings(server=ServerSettings(drain_s=30))) as (running, http), socket_to(running) as socket:
        stream = post_open(http)
        socket.send(open_frame(verdicts=False))
        socket.next("opened")
        running.server.servers[0].get_loop().call_soon_threadsafe(running.server.handle_exit, 15, None)
        while http.get("/readyz").status_code != 503:
            pass
        assert http.post("/v1/streams", json={"messages": "how?"}).status_code == 503
        socket.send(delta_frame("It is bread."), {"type": "finish"})
        assert released(socket.rest()) == "It is bread."
        stream.feed("So is ")
        assert not running.server.should_exit
        stream.feed("this.")
        stream.finish()
        assert released(stream.events) == "So is this."


def test_streams_that_do_not_end_in_time_are_closed_and_their_readers_told() -> None:
    """A shutdown closes the gate: error, decision, end; the socket closes with the code for later."""
    with asking() as (running, http), socket_to(running) as socket:
        stream = post_open(http)
        stream.feed("It is br")
        socket.send(open_frame(), delta_frame("It is br"))
        socket.next("read")
        with http.stream("GET", f"{stream.path}/events") as answer:
            running.server.should_exit = True
            lines = list(answer.iter_lines())
        events = socket.rest()
    assert kinds([json.loads(line[6:]) for line in lines if line.startswith("data")])[-3:] == [
        "error", "decision", "closed",
    ]  # fmt: skip
    assert kinds(events) == ["error", "decision", "closed"]
    assert events[0]["error"]["code"] == "overloaded"
    assert socket.code == 1013
    assert [decision.reason for decision in running.sink.decisions] == [Reason.ABANDONED] * 2
    assert all(decision.withheld_chars for decision in running.sink.decisions)


def test_an_answer_that_is_too_long_is_not_read() -> None:
    """413 beyond `max_chars`, and the stream can still end."""
    with asking(Settings(streams=StreamSettings(max_chars=10))) as (_running, http):
        stream = post_open(http)
        stream.feed("It is ")
        answer = http.post(f"{stream.path}/deltas", json={"text": "too long"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        stream.finish()
        assert released(stream.events) == "It is "


def test_events_that_are_gone_are_410_and_what_a_delta_brings_is_whole() -> None:
    """`max_events` bounds what is kept for readers who come back, not what one delta brings."""
    with asking(Settings(streams=StreamSettings(max_events=3))) as (_running, http):
        stream = post_open(http)
        assert len(stream.feed("It is bread and salt and more of it. ")) > 6
        stream.finish()
        gone = http.get(f"{stream.path}/events")
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "events_gone")
        last = stream.events[-1]["seq"]
        assert kinds(stream.log(after=last - 1)) == ["closed"]
