"""Answers and messages of MCP servers through the screener: whatever they hold, nothing behind a marker passes."""

import asyncio
import json
import logging
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mcp.types.jsonrpc import ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse

from fuzz.serving import BAD, MARKER, is_risky, marked_guard, new_loop
from fuzz.shaping import BRIEF, damaged, from_bytes, strings
from guardrail.adapters.mcp.reading import OPAQUE
from guardrail.adapters.mcp.screener import Screener
from guardrail.policy import Policy, Rules
from guardrail.tool_rules import OnResult, ToolRules

GUARDS = tuple(
    marked_guard(Policy(response=Rules(debounce=1), tools=ToolRules(on_result=on_result))) for on_result in OnResult
)
LOOP: asyncio.AbstractEventLoop = new_loop()
logging.getLogger("guardrail").setLevel(logging.ERROR)  # a line for each text that is left out

TEXT = {"type": "text", "text": "Bread. Salt."}
RESULTS: tuple[tuple[str, Any], ...] = (
    ("tools/call", {"content": [TEXT, {"type": "image", "data": "aGk=", "mimeType": "image/png"}], "isError": False,
                    "structuredContent": {"found": ["a", {"b": "c"}]}, "_meta": {"note": "d"}}),
    ("resources/read", {"contents": [{"uri": "file:///a", "mimeType": "text/plain", "text": "a"},
                                     {"uri": "file:///b", "blob": "aGVsbG8="}]}),
    ("prompts/get", {"description": "d", "messages": [{"role": "user", "content": TEXT}]}),
    ("tools/list", {"tools": [{"name": "search", "description": "finds", "inputSchema": {"type": "object"}},
                              {"name": "pay", "description": "pays"}], "nextCursor": "2"}),
    ("initialize", {"protocolVersion": "1", "serverInfo": {"name": "s"}, "instructions": "Ask.", "capabilities": {}}),
    ("unknown/method", {"anything": ["a"]}),
)  # fmt: skip
ALSO = (
    BAD,
    BAD,
    MARKER,
    [BAD],
    {"text": BAD},
    {BAD: 1},
    {"type": "text", "text": BAD},
    "4pig",
    "text",
    "content",
    "blob",
)


@BRIEF
@given(
    asked=st.sampled_from(RESULTS).flatmap(lambda one: st.tuples(st.just(one[0]), damaged(one[1], ALSO))),
    guard=st.sampled_from(GUARDS), arguments=damaged({"q": "bread", "deep": [{"a": "b"}]}, ALSO), fails=st.booleans(),
)  # fmt: skip
def holds(asked: tuple[str, Any], guard: Any, arguments: Any, fails: bool) -> None:
    """The client is told the answer, what is left of it, or an error; a risky call does not run."""
    method, result = asked
    screener = Screener(guard)
    request = JSONRPCRequest(jsonrpc="2.0", id=1, method=method, params={"name": "search", "uri": "file:///a"})
    answer: JSONRPCResponse | JSONRPCError = JSONRPCResponse(jsonrpc="2.0", id=1, result=result)
    if fails:
        answer = JSONRPCError(jsonrpc="2.0", id=1, error=ErrorData(code=1, message="no", data=result))
    told = LOOP.run_until_complete(screener.screen_answer(request, answer))
    check_clean(told.result if isinstance(told, JSONRPCResponse) else told.error.model_dump())
    refusal = LOOP.run_until_complete(screener.refusal("search", arguments))
    if any(MARKER in text for _, text in strings(arguments)):
        assert refusal is not None, "a risky call may run"


def check_clean(value: Any) -> None:
    """No marker stands in what the client is told, but in what only a program reads."""
    for path, text in strings(value):
        if not OPAQUE.intersection(path):
            assert not is_risky(text), f"a marker left at {path}"
    json.dumps(value)


one_input = from_bytes(holds)
