"""What passes, what is stopped and what stands in its place, with a server that writes whatever a script says."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import Action
from guardrail.engines.base import Logits
from guardrail.errors import EngineError
from guardrail.records import MemorySink
from guardrail.testing import raising
from guardrail.tool_rules import OnResult, ToolRule, ToolRules, Trust
from tests.adapters.mcp.talk import CALL, ENCODED, EVIL, WITHHELD, Talking, content, is_clean, text

PASSING = [
    ("tools/call", CALL, content(text("good"), structuredContent={"a": [1, 2.5, None, True]}, novel={"x": 1})),
    ("tools/call", CALL, content({"type": "resource_link", "uri": "x://y", "name": "y", "size": 3})),
    ("tools/call", CALL, {"resultType": "input_required", "requestState": "AAECAw", "inputRequests": {}}),
    ("tools/call", CALL, content({"type": "hologram", "novel": "kind of block"}, _meta={"vendor/key": "value"})),
    ("resources/read", {"uri": "x://y"}, {"contents": [{"uri": "x://y", "mimeType": "text/plain", "text": "good"}]}),
    ("prompts/get", {"name": "p"}, {"description": "d", "messages": [{"role": "user", "content": text("good")}]}),
    ("prompts/list", None, {"prompts": [{"name": "p", "description": "good"}], "nextCursor": "c2Vjb25k"}),
    ("completion/complete", {"ref": {}}, {"completion": {"values": ["Ada"], "hasMore": False}}),
    ("vendor/unknown", {"novel": [1]}, {"novel": {"deep": ["value", 12345678901234567890]}}),
    ("ping", None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "params", "result"), PASSING, ids=lambda v: v if isinstance(v, str) else "")
async def test_what_is_harmless_passes_as_it_is(talking: Talking, method: str, params: Any, result: Any) -> None:
    """Nothing of a request or its answer is lost or changed, whether its kind is known or not."""
    async with talking({method: [result]}) as talk:
        assert await talk.client.ask(method, params, "a-1") == {"jsonrpc": "2.0", "id": "a-1", "result": result}
        sent = {"jsonrpc": "2.0", "id": "a-1", "method": method, **({"params": params} if params is not None else {})}
        assert talk.passed == [sent]


POISONED = [
    content(text(EVIL)),
    content(text("good"), text(EVIL)),
    content(text("good"), structuredContent={"note": EVIL}),
    content(text("good"), structuredContent={EVIL: 1}),
    content(text(json.dumps({"note": EVIL})), structuredContent={"note": EVIL}),
    content(text(json.dumps([EVIL]))),
    content(text(json.dumps({"a": EVIL})[:-1] + r', "a": "\u0066ine"}')),
    content({"type": "image", "data": EVIL, "mimeType": "image/png"}),
    content({"type": "image", "data": ENCODED, "mimeType": "image/svg+xml"}),
    content({"type": "resource", "resource": {"uri": "x://y", "text": EVIL}}),
    content({"type": "resource", "resource": {"uri": "x://y", "mimeType": "image/png", "blob": ENCODED}}),
    content({"type": "resource_link", "uri": "x://y", "name": "y", "description": EVIL}),
    content({"type": "image", "data": "AAEC/w==", "mimeType": EVIL}),
    content({"type": "hologram", "novel": {"deep": [EVIL]}}),
    content(text("good"), _meta={"vendor/key": EVIL}),
    {"resultType": "input_required", "inputRequests": {"1": {"method": "x", "params": {"message": EVIL}}}},
    {"content": EVIL},
]


@pytest.mark.parametrize("result", POISONED)
async def test_a_poisoned_result_is_withheld_wherever_the_text_stands(
    talking: Talking, sink: MemorySink, caplog: pytest.LogCaptureFixture, result: Any
) -> None:
    """The client gets one error block that tells its LLM so, and nothing of the rest."""
    async with talking({"tools/call": [result]}) as talk:
        got = (await talk.client.ask("tools/call", CALL))["result"]
    assert got["isError"] is True
    assert [block["type"] for block in got["content"]] == ["text"]
    assert got["content"][0]["text"].startswith(WITHHELD)
    assert set(got) <= {"content", "isError", "resultType"}
    assert is_clean(talk.client.heard, caplog.text)
    assert sink.decisions[-1].stopped


async def test_a_stopped_result_can_be_an_extract(talking: Talking) -> None:
    """With `on_result = "extract"` the harmless passages come, marked, without the structured content."""
    lines = f"first\n{EVIL}\nlast"
    result = content(text(lines), structuredContent={"result": lines})
    async with talking({"tools/call": [result]}, tools=ToolRules(on_result=OnResult.EXTRACT)) as talk:
        got = (await talk.client.ask("tools/call", CALL))["result"]
    extract = "first\n[a passage was withheld by a safety policy]\nlast"
    assert got == {"content": [text(extract)], "isError": True}


@pytest.mark.parametrize(
    ("method", "params", "result", "stand_in"),
    [
        ("resources/read", {"uri": "x://y"}, {"contents": [{"uri": "x://y", "text": EVIL}], "ttlMs": 5},
         lambda t: {"contents": [{"uri": "x://y", "mimeType": "text/plain", "text": t}], "ttlMs": 5}),
        ("prompts/get", {"name": "p"}, {"messages": [{"role": "user", "content": text(EVIL)}], "ttlMs": 5},
         lambda t: {"messages": [{"role": "user", "content": text(t)}], "ttlMs": 5}),
    ],
    ids=["resource", "prompt"],
)  # fmt: skip
async def test_a_poisoned_resource_or_prompt_is_withheld(
    talking: Talking, method: str, params: Any, result: Any, stand_in: Callable[[str], Any]
) -> None:
    """What stands in its place has the shape that the client waits for."""
    async with talking({method: [result]}) as talk:
        got = (await talk.client.ask(method, params))["result"]
    assert got == stand_in(f"{WITHHELD}. Go on without it, or tell the user that it cannot be used.")


@pytest.mark.parametrize(
    ("method", "key"),
    [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources"),
     ("resources/templates/list", "resourceTemplates")],
)  # fmt: skip
async def test_a_poisoned_item_is_left_out_of_a_list(
    talking: Talking, caplog: pytest.LogCaptureFixture, method: str, key: str
) -> None:
    """The others stay as they are, and so does what surrounds them; the log names what is missing."""
    good = {"name": "good", "description": "harmless", "novel": {"x": "y"}}
    items = [good, {"name": "bad", "description": EVIL}, good, {"name": EVIL}]
    async with talking({method: [{key: items, "ttlMs": 1}]}) as talk:
        assert (await talk.client.ask(method))["result"] == {key: [good, good], "ttlMs": 1}
    assert f"{method}: bad left out: document stopped: Unsafe Violent" in caplog.messages
    assert is_clean(talk.client.heard, caplog.text)


@pytest.mark.parametrize(
    "poison",
    [{"title": EVIL}, {"annotations": {"title": EVIL}}, {"inputSchema": {"properties": {"a": {"description": EVIL}}}},
     {"inputSchema": {"properties": {EVIL: {}}}}, {"outputSchema": {"enum": [EVIL]}}, {"_meta": {"x": EVIL}}],
    ids=str,
)  # fmt: skip
async def test_every_text_of_a_tool_is_read(talking: Talking, poison: Any) -> None:
    """A tool that is poisoned anywhere is not listed, and a call of it never reaches the server."""
    async with talking({"tools/list": [{"tools": [{"name": "bad", **poison}]}]}) as talk:
        assert (await talk.client.ask("tools/list"))["result"] == {"tools": []}
        refused = (await talk.client.ask("tools/call", {"name": "bad"}, 2))["result"]
        assert refused["isError"] is True
        assert "(Violent)" in refused["content"][0]["text"]
        assert [message["method"] for message in talk.passed] == ["tools/list"]


async def test_a_description_is_judged_once_until_it_changes(talking: Talking, sink: MemorySink) -> None:
    """The same list again costs nothing; a tool that turns bad is refused, and one that recovers may run."""
    good, bad = ({"tools": [{"name": "a", "description": words}]} for words in ("harmless", EVIL))
    counts, refused = [], []
    async with talking({"tools/call": [content(text("ran"))]}) as talk:
        for number, result in enumerate([good, good, bad, bad, good]):
            talk.script["tools/list"] = [result]
            await talk.client.ask("tools/list", None, f"list {number}")
            counts.append(sum(decision.direction == "document" for decision in sink.decisions))
            call = await talk.client.ask("tools/call", {"name": "a"}, f"call {number}")
            refused.append(call["result"]["isError"])
    assert counts == [1, 1, 2, 2, 2]
    assert refused == [False, False, True, True, False]


@pytest.mark.parametrize("arguments", [{"text": EVIL}, {EVIL: 1}, {"deep": [{"a": EVIL}]}], ids=str)
async def test_a_poisoned_call_never_reaches_the_server(
    talking: Talking, sink: MemorySink, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    """The client gets an error result that its LLM can read."""
    async with talking({}) as talk:
        got = (await talk.client.ask("tools/call", {"name": "send", "arguments": arguments}))["result"]
        assert talk.passed == []
    assert got["isError"] is True
    assert got["content"][0]["text"].startswith("This tool call was not run: a safety policy refused it (Violent)")
    assert is_clean(talk.client.heard, caplog.text)
    assert [(d.direction, d.action, d.tool) for d in sink.decisions] == [("tool_call", "stop", "send")]


RULES = ToolRules(names={"free": ToolRule(Trust.TRUSTED, Trust.TRUSTED), "ask_*": ToolRule(Trust.ASK)})


async def test_trusted_tools_pass_unread(talking: Talking, sink: MemorySink) -> None:
    """Their calls and results pass whatever they hold, and the record says that a rule decided."""
    result = content(text(EVIL), {"type": "image", "data": "AAEC/w==", "mimeType": "image/png"})
    async with talking({"tools/call": [result]}, tools=RULES, unreadable=Action.STOP) as talk:
        call = {"name": "free", "arguments": {"text": EVIL}}
        assert (await talk.client.ask("tools/call", call))["result"] == result
    assert [decision.reason for decision in sink.decisions] == ["rule", "rule"]


async def test_a_call_that_waits_for_a_person_is_refused(talking: Talking, sink: MemorySink) -> None:
    """There is nobody to ask here."""
    async with talking({}, tools=RULES) as talk:
        assert (await talk.client.ask("tools/call", {"name": "ask_first"}))["result"]["isError"] is True
        assert talk.passed == []
    assert [decision.action for decision in sink.decisions] == ["ask"]


@pytest.mark.parametrize(("unreadable", "is_error"), [(Action.FLAG, False), (Action.STOP, True)])
@pytest.mark.parametrize("kind", ["image", "audio", "resource"])
async def test_what_cannot_be_read_is_the_policys(
    talking: Talking, sink: MemorySink, kind: str, unreadable: Action, is_error: bool
) -> None:
    """Images, audio and bytes pass flagged by default; a policy can refuse them; both are recorded."""
    block: dict[str, Any] = {"type": kind, "data": "AAEC/w==", "mimeType": "x/y"}
    if kind == "resource":
        block = {"type": kind, "resource": {"uri": "x://y", "blob": "AAEC/w=="}}
    async with talking({"tools/call": [content(block)]}, unreadable=unreadable) as talk:
        assert (await talk.client.ask("tools/call", CALL))["result"]["isError"] is is_error
    assert ("AAEC" in talk.client.heard[0]) is not is_error
    assert sink.decisions[-1].action is unreadable
    assert sink.decisions[-1].unreadable == ("blob" if kind == "resource" else kind,)


@pytest.mark.parametrize("method", ["initialize", "server/discover"])
async def test_poisoned_instructions_are_left_out(talking: Talking, method: str) -> None:
    """The connection works without them."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    async with talking({method: [{**hello, "instructions": EVIL}]}) as talk:
        assert (await talk.client.ask(method, {}))["result"] == hello


@pytest.mark.parametrize(
    ("answer", "code"),
    [({"error": {"code": -7, "message": EVIL}}, -7), ({"error": {"code": -7, "message": "no", "data": [EVIL]}}, -7),
     ({"result": {"completion": {"values": [EVIL]}}}, -32000), ({"result": {"tools": EVIL}}, -32000),
     ({"result": {"instructions": EVIL}}, -32000)],
    ids=str,
)  # fmt: skip
async def test_any_other_poisoned_answer_becomes_an_error(talking: Talking, answer: dict[str, Any], code: int) -> None:
    """A server's errors are read too; their code stays."""
    async with talking({"vendor/x": [{"id": 1, **answer}]}) as talk:
        error = (await talk.client.ask("vendor/x"))["error"]
    assert error == {"code": code, "message": error["message"]}
    assert error["message"].startswith(WITHHELD)
    assert is_clean(talk.client.heard)


async def test_harmless_errors_of_the_server_pass_as_they_are(talking: Talking) -> None:
    """Code, message and data stay."""
    error = {"code": -32601, "message": "no such method", "data": {"method": "vendor/x"}}
    async with talking({"vendor/x": [{"id": 1, "error": error}]}) as talk:
        assert (await talk.client.ask("vendor/x"))["error"] == error


@pytest.mark.parametrize(("on_failure", "passes"), [(Action.STOP, False), (Action.FLAG, True)])
@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get", "tools/list", "vendor/x"])
async def test_a_failing_guard_closes_unless_the_policy_opens(
    talking: Talking, sink: MemorySink, method: str, on_failure: Action, passes: bool
) -> None:
    """What cannot be judged is withheld, and the failure is recorded."""
    results = {
        "tools/call": content(text("good")),
        "resources/read": {"contents": [{"uri": "x://y", "text": "good"}]},
        "prompts/get": {"messages": [{"role": "user", "content": text("good")}]},
        "tools/list": {"tools": [{"name": "good"}]},
        "vendor/x": {"novel": "good"},
    }
    broken = raising(EngineError("broken"))
    async with talking({method: [results[method]]}, breakage=broken, on_failure=on_failure) as talk:
        await talk.client.ask(method, CALL)
    assert ("good" in talk.client.heard[0]) is passes
    assert {decision.reason for decision in sink.decisions} == {"failure"}
    assert ("good" in str(talk.passed)) is False


async def test_a_failure_is_no_verdict_that_lasts(talking: Talking) -> None:
    """A tool that could not be judged is not listed; the next list judges it again."""
    failures = iter([EngineError("broken")])

    def fail_once(logits: list[Logits], /) -> list[Logits]:
        for error in failures:
            raise error
        return logits

    tools = {"tools": [{"name": "good"}]}
    async with talking({"tools/list": [tools]}, breakage=fail_once) as talk:
        assert (await talk.client.ask("tools/list"))["result"] == {"tools": []}
        assert (await talk.client.ask("tools/list", None, 2))["result"] == tools


async def test_shadow_stops_nothing_and_records_what_it_would_have(talking: Talking, sink: MemorySink) -> None:
    """`enforce = false` passes the poisoned result unchanged."""
    async with talking({"tools/call": [content(text(EVIL))]}, enforce=False) as talk:
        assert (await talk.client.ask("tools/call", CALL))["result"] == content(text(EVIL))
    assert [decision.would_action for decision in sink.decisions] == ["allow", "stop"]
