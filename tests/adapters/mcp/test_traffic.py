"""Who may speak, in which order, and what becomes of what is cancelled or comes at once."""

import threading
from typing import Any

import pytest

from guardrail.engines.base import Logits
from guardrail.records import MemorySink
from guardrail.tool_rules import ToolRule, ToolRules, Trust
from tests.adapters.mcp.talk import CALL, EVIL, Talk, Talking, content, is_clean, text


@pytest.mark.parametrize(
    "params",
    [None, {}, {"name": 3}, {"name": "a", "arguments": [1]}, {"arguments": {}}, {"name": "a", "arguments": ""}],
    ids=str,
)
async def test_invalid_calls_get_a_protocol_error(talking: Talking, params: Any) -> None:
    """A call that cannot be read is no call: invalid params, and the server never sees it."""
    async with talking({}) as talk:
        assert (await talk.client.ask("tools/call", params))["error"]["code"] == -32602
        assert talk.passed == []


async def test_a_call_without_an_id_does_not_slip_through(talking: Talking) -> None:
    """Sent as a notification it would be judged by nobody, so it is dropped; other notifications pass."""
    async with talking({"ping": [{}]}) as talk:
        talk.client.say({"method": "tools/call", "params": {"name": "send", "arguments": {"text": EVIL}}})
        talk.client.say({"method": "notifications/novel", "params": {"x": 1}})
        await talk.client.ask("ping")
        assert [message["method"] for message in talk.passed] == ["notifications/novel", "ping"]


async def test_notifications_keep_their_order_and_poisoned_ones_are_dropped(talking: Talking) -> None:
    """What follows a notification never overtakes it, however long its reading takes."""
    progress: list[dict[str, Any]] = [
        {"method": "notifications/progress", "params": {"progressToken": 1, "progress": n, "message": message}}
        for n, message in enumerate(["a long message. " * 50, EVIL, "", "short"])
    ]
    async with talking({"vendor/x": [*progress, {"n": 1}]}) as talk:
        heard = [await talk.client.ask("vendor/x")] + [await talk.client.hear() for _ in range(3)]
    expected = [progress[0], progress[2], progress[3], {"id": 1, "result": {"n": 1}}]
    assert heard == [{"jsonrpc": "2.0", **message} for message in expected]


async def test_a_poisoned_request_of_the_server_is_refused(talking: Talking) -> None:
    """A client's LLM is not asked to sample orders, and the server learns of it; harmless requests and answers pass."""
    asks = [
        {
            "id": n,
            "method": "sampling/createMessage",
            "params": {"messages": [{"role": "user", "content": text(words)}]},
        }
        for n, words in enumerate([EVIL, "hello"])
    ]
    async with talking({"vendor/x": asks}) as talk:
        assert await talk.client.ask("vendor/x") == {"jsonrpc": "2.0", **asks[1]}
        answer = {"jsonrpc": "2.0", "id": 1, "result": {"novel": "answer"}}
        talk.client.say(answer)
        await talk.until(lambda: answer in talk.passed)
        assert [message["error"]["code"] for message in talk.passed if message["id"] == 0] == [-32000]
        assert is_clean(talk.client.heard)


async def test_answers_that_nobody_asked_for_are_dropped(talking: Talking, caplog: pytest.LogCaptureFixture) -> None:
    """A server cannot speak through a second answer, a foreign id or lines that are no messages."""
    stray = [{"id": 77, "result": {"n": 0}}, {"n": 1}, {"n": 2}, f"no json {EVIL}", {"id": "1", "result": {"n": 3}}]
    async with talking({"vendor/x": stray, "ping": [{}]}) as talk:
        assert (await talk.client.ask("vendor/x"))["result"] == {"n": 1}
        assert await talk.client.ask("ping", None, 2) == {"jsonrpc": "2.0", "id": 2, "result": {}}
    assert len(talk.client.heard) == 2
    assert is_clean(caplog.text)


async def test_lines_of_the_client_that_are_no_messages_get_a_parse_error(talking: Talking) -> None:
    """And the next line is served."""
    async with talking({"ping": [{}]}) as talk:
        talk.client.say("no json")
        error = {"code": -32700, "message": "not a JSON-RPC message"}
        assert await talk.client.hear() == {"jsonrpc": "2.0", "id": None, "error": error}
        assert (await talk.client.ask("ping"))["result"] == {}


async def test_an_open_id_cannot_be_used_again(talking: Talking) -> None:
    """Else one request's answer could be taken for another's."""
    async with talking({}) as talk:
        talk.client.say({"id": 1, "method": "vendor/slow"})
        assert (await talk.client.ask("vendor/slow", None, 1))["error"]["code"] == -32600
        assert len(talk.passed) == 1


class Held:
    """Keeps the engine in its step until it is told to go on."""

    def __init__(self) -> None:
        self.is_inside, self.go_on = threading.Event(), threading.Event()

    def __call__(self, logits: list[Logits], /) -> list[Logits]:
        self.is_inside.set()
        self.go_on.wait(10)
        return logits

    async def cancel(self, talk: Talk) -> None:
        """Let the client cancel request 1 while the engine is inside its step."""
        await talk.until(self.is_inside.is_set)
        talk.client.say({"method": "notifications/cancelled", "params": {"requestId": 1}})
        await talk.client.ask("ping", None, 2)
        self.go_on.set()


async def test_a_call_that_is_cancelled_while_it_is_judged_never_runs(talking: Talking, sink: MemorySink) -> None:
    """The server hears neither of the call nor of its end; the record says that it was cancelled."""
    held = Held()
    async with talking({"ping": [{}]}, breakage=held) as talk:
        talk.client.say({"id": 1, "method": "tools/call", "params": CALL})
        await held.cancel(talk)
        await talk.until(lambda: sink.decisions)
        assert [decision.failure and decision.failure.kind for decision in sink.decisions] == ["CancelledError"]
        assert [message["method"] for message in talk.passed] == ["ping"]
        assert len(talk.client.heard) == 1


async def test_an_invalid_call_may_be_cancelled_at_once(talking: Talking) -> None:
    """The next request is served."""
    async with talking({"vendor/x": [{"n": 1}]}) as talk:
        talk.client.say({"id": 1, "method": "tools/call", "params": {"name": 3}})
        talk.client.say({"method": "notifications/cancelled", "params": {"requestId": 1}})
        talk.client.say({"id": 2, "method": "vendor/x"})
        await talk.until(lambda: any('"n":1' in line for line in talk.client.heard))


async def test_a_server_cannot_answer_a_call_that_it_has_not_seen(talking: Talking) -> None:
    """It may guess the id; the call is judged all the same, and refused."""
    held = Held()
    async with talking({"ping": [{"id": 1, "result": content(text("guessed"))}, {}]}, breakage=held) as talk:
        talk.client.say({"id": 1, "method": "tools/call", "params": {"name": "a", "arguments": {"text": EVIL}}})
        await talk.until(held.is_inside.is_set)
        assert (await talk.client.ask("ping", None, 2))["id"] == 2
        held.go_on.set()
        assert "was not run" in str(await talk.client.hear())
        assert len(talk.client.heard) == 2


async def test_a_result_that_is_cancelled_while_it_is_judged_is_not_sent(talking: Talking, sink: MemorySink) -> None:
    """The server hears of the cancellation too; what it answered goes nowhere."""
    held, trusting = Held(), ToolRules(ToolRule(call=Trust.TRUSTED))
    async with talking({"tools/call": [content(text("a"))], "ping": [{}]}, breakage=held, tools=trusting) as talk:
        talk.client.say({"id": 1, "method": "tools/call", "params": CALL})
        await held.cancel(talk)
        await talk.until(lambda: len(sink.decisions) == 2)
        assert [decision.failure and decision.failure.kind for decision in sink.decisions] == [None, "Interrupted"]
        assert [message["method"] for message in talk.passed] == ["tools/call", "notifications/cancelled", "ping"]
        assert len(talk.client.heard) == 1


async def test_parallel_calls_do_not_mix(talking: Talking) -> None:
    """Of fifty at once each gets its own answer, though every third call and every fifth result is poisoned."""

    def words(n: int) -> str:
        return f"call {n} " + ("filler " * (n % 7) * 30)

    async with talking({}) as talk:
        for n in range(50):
            arguments = {"text": EVIL if n % 3 == 0 else words(n)}
            talk.client.say({"id": n, "method": "tools/call", "params": {"name": "a", "arguments": arguments}})
        await talk.until(lambda: len(talk.passed) == 33 and len(talk.client.heard) == 17)
        for n in sorted((message["id"] for message in talk.passed), reverse=True):
            talk.server.say({"id": n, "result": content(text(f"{words(n)}\n{EVIL if n % 5 == 0 else ''}"))})
        heard = [await talk.client.hear() for _ in range(50)]
    assert {message["id"] for message in heard} == set(range(50))
    for n, result in ((message["id"], message["result"]) for message in heard):
        assert result["isError"] is (n % 3 == 0 or n % 5 == 0)
        expected = "was not run" if n % 3 == 0 else "was withheld" if n % 5 == 0 else f"call {n} "
        assert expected in result["content"][0]["text"]
    assert is_clean(talk.client.heard)
