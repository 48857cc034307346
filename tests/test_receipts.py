"""A stop is told when its record is stored, whoever drives the call; nothing else waits, and nobody waits for ever."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import pytest

from guardrail.batches import Check
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.records import MemorySink, Queueing, Record, StoredSink
from guardrail.tape import Receipt
from guardrail.testing import MarkerEngine

RISKY = {"☠": ("Unsafe", "Violent")}


class HeldStore:
    """A store that keeps every call waiting until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.records: list[Record] = []

    def append(self, records: Sequence[Record], *, sync: bool) -> None:  # noqa: ARG002  # the protocol's
        self.asked.set()
        assert self.go.wait(30)
        self.records += records

    def close(self) -> None:
        self.go.set()


@pytest.fixture
def store() -> HeldStore:
    return HeldStore()


def guarded(tokenizer: GuardTokenizer, store: HeldStore, timeout_s: float = 30) -> Guard:
    sink = StoredSink(store, queueing=Queueing(timeout_s=timeout_s))
    return Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])


async def until(event: threading.Event) -> None:
    """Wait for another thread's event."""
    await asyncio.get_running_loop().run_in_executor(None, event.wait, 30)


CALLS = {
    "prompt": lambda guard: guard.check_prompt("kill ☠"),
    "answer": lambda guard: guard.check_response("hi", "go on ☠ and on"),
    "tool call": lambda guard: guard.check_tool_call("hi", ToolCall("shell", '{"a": "☠ and on"}')),
    "tool result": lambda guard: guard.check_tool_result("hi", "see ☠", tool="web"),
    "screened result": lambda guard: guard.screen_tool_result("hi", "see ☠", tool="web").decision,
    "document": lambda guard: guard.check_documents(["see ☠"])[0],
    "many": lambda guard: next(guard.check_many([Check("kill ☠")])),
    "turn": lambda guard: guard.check_turn([{"role": "user", "content": "kill ☠"}]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_stop_returns_when_its_record_is_stored(name: str, tokenizer: GuardTokenizer, store: HeldStore) -> None:
    """Until then the call waits; its decision stands in the store when it returns."""
    guard, told = guarded(tokenizer, store), []
    caller = threading.Thread(target=lambda: told.append((CALLS[name](guard), len(store.records))))
    caller.start()
    assert store.asked.wait(30)
    assert caller.is_alive()
    store.go.set()
    caller.join(30)
    ((decision, n_stored),) = told
    assert decision.stopped
    assert n_stored == 1
    assert store.records[0].id == decision.id
    guard.sinks[0].close()


def test_what_is_let_go_waits_for_nothing(tokenizer: GuardTokenizer, store: HeldStore) -> None:
    """The store is stuck, and the calls return."""
    guard = guarded(tokenizer, store)
    assert not guard.check_prompt("hello").stopped
    assert not guard.check_response("hi", "all is well").stopped
    assert store.records == []
    store.go.set()
    guard.sinks[0].close()


async def test_an_event_loop_goes_on_while_a_stop_is_stored(tokenizer: GuardTokenizer, store: HeldStore) -> None:
    """Other tasks' checks end meanwhile."""
    guard = guarded(tokenizer, store)
    stop = asyncio.create_task(guard.acheck_prompt("kill ☠"))
    await until(store.asked)
    others = await asyncio.gather(*(guard.acheck_prompt(f"hello {i}") for i in range(5)))
    assert not any(decision.stopped for decision in others)
    assert not stop.done()
    store.go.set()
    assert (await stop).stopped
    assert store.records[0].id == stop.result().id
    guard.sinks[0].close()


async def test_a_stream_is_stopped_once_its_record_is_stored(tokenizer: GuardTokenizer, store: HeldStore) -> None:
    """The delta in which it stops returns then; those before it waited for nothing."""
    guard = guarded(tokenizer, store)
    stream = await guard.aopen_stream("hi")
    released = await stream.afeed("go on and on ")
    feeding = asyncio.create_task(stream.afeed("☠ and on and on "))
    await until(store.asked)
    assert not feeding.done()
    store.go.set()
    released += await feeding
    assert stream.is_stopped
    assert released == "go on and on "
    assert len(store.records) == 1
    guard.sinks[0].close()


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_stop_is_told_although_its_store_is_stuck(
    way: str, tokenizer: GuardTokenizer, store: HeldStore
) -> None:
    """After the time that the sink allows; its record still waits, and is stored later."""
    guard = guarded(tokenizer, store, timeout_s=0.05)
    decision = guard.check_prompt("kill ☠") if way == "sync" else await guard.acheck_prompt("kill ☠")
    assert decision.stopped
    assert store.records == []
    store.go.set()
    guard.sinks[0].close()
    assert [record.id for record in store.records] == [decision.id]


async def test_a_caller_who_gives_up_leaves_one_record(tokenizer: GuardTokenizer, store: HeldStore) -> None:
    """Cancelled while the stop is on its way to the disk: recorded once, as a stop, and the task ends at once."""
    guard = guarded(tokenizer, store)
    stop = asyncio.create_task(guard.acheck_response("hi", "go on ☠ and on"))
    await until(store.asked)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(stop, 10)
    store.go.set()
    guard.sinks[0].close()
    assert [record.action.value for record in store.records] == ["stop"]


def test_sinks_of_users_may_return_whatever_they_like(tokenizer: GuardTokenizer) -> None:
    """Only a `Receipt` is waited for; one that has ended costs nothing, one that fails changes nothing."""
    failed: Future[None] = Future()
    failed.set_exception(OSError("SECRET"))

    class Odd:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        def write(self, decision: Decision, text: str) -> object:  # noqa: ARG002  # the protocol's
            return self.answer

        def close(self) -> None: ...

    sinks = [Odd(answer) for answer in (17, "later", Receipt(failed, 5), Receipt(Future(), 0.01))]
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=sinks)  # type: ignore[arg-type]
    assert guard.check_prompt("kill ☠").stopped
    assert guard.n_record_failures == 0


@pytest.mark.parametrize("name", [42, UUID(int=7), b"raw"])
def test_ids_of_any_type_are_recorded_as_text(name: Any, tokenizer: GuardTokenizer) -> None:
    """A number costs no record."""
    sink = MemorySink()
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    guard.check_response("hi", "go on ☠ and on", conversation_id=name, tenant=name)
    record = Record.of(sink.decisions[0])
    assert (record.conversation_id, record.tenant) == (str(name), str(name))
    assert guard.n_record_failures == 0
