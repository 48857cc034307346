"""Bodies of requests: whatever they hold is answered, with no 500, no traceback, and no word of them in an error."""

from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.serving import BAD, JSON_HEADERS, SECRET, Said, Service, check_no_leak, dumped
from fuzz.shaping import BRIEF, from_bytes, json_bytes

USER = {"role": "user", "content": f"how {SECRET}?"}
CALL = {"id": "call0", "type": "function", "function": {"name": "search", "arguments": '{"q": "bread"}'}}
TURNS: list[Any] = [
    {"role": "system", "content": "Be kind."},
    USER,
    {"role": "assistant", "content": "Hm.", "reasoning_content": "so", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call0", "content": [{"type": "text", "text": f"{SECRET} found"}]},
]
PARTS = [{"type": "text", "text": f"how {SECRET}?"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
ITEMS: list[Any] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"how {SECRET}?"}]},
    {"type": "function_call", "call_id": "c0", "name": "search", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c0", "output": f"{SECRET} found"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
]
LITELLM = "/beta/litellm_basic_guardrail_api"

REQUESTS: tuple[tuple[str, Any], ...] = (
    ("/v1/moderations", {"input": [f"a {SECRET}", "b"], "model": "guardrail", "conversation_id": "c", "tokens": True}),
    ("/v1/moderations", {"input": PARTS}),
    ("/v1/moderations", {"messages": TURNS[:3], "tokens": True}),
    ("/v1/moderations", {"messages": TURNS}),
    ("/v1/chat/moderations", {"input": [TURNS[:2], [USER]], "model": None}),
    ("/v1/chat/completions", {"model": "m", "messages": TURNS, "stream": True, "n": 2, "max_tokens": 9}),
    ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": PARTS}], "functions": []}),
    ("/v1/completions", {"model": "m", "prompt": [f"a {SECRET}", "b"], "stream": False, "suffix": "c"}),
    ("/v1/completions", {"model": "m", "prompt": [[1, 2], [3]], "echo": True}),
    ("/v1/responses", {"model": "m", "input": ITEMS, "instructions": "Be kind.", "stream": True}),
    ("/v1/responses", {"model": "m", "input": f"how {SECRET}?", "prompt": {"id": "p", "variables": {"x": "y"}}}),
    (LITELLM, {"input_type": "request", "structured_messages": TURNS, "litellm_call_id": "1", "request_data": {}}),
    (LITELLM, {
        "input_type": "request", "litellm_call_id": "2", "request_data": {},
        "structured_messages": [*TURNS[:3], {**TURNS[3], "content": BAD}],
    }),
    (LITELLM, {
        "input_type": "response", "texts": ["Mix flour", "and water"], "litellm_call_id": "1", "tool_calls": [CALL],
        "images": ["data:,x"], "request_data": {"user_api_key_team_id": "t"}, "litellm_trace_id": "2",
        "additional_provider_specific_params": {"holds": True},
    }),
    ("/v1/streams", {"type": "open", "messages": TURNS[:2], "conversation_id": "c", "verdicts": True, "enforce": True}),
    ("/v1/policies/check", {"policy": "balanced"}),
)  # fmt: skip
"""Routes, each with a good request."""

ALSO = (
    *(USER, CALL, PARTS, ITEMS, TURNS), "user", "assistant", "tool", "developer", "function", "request", "response",
    BAD, f"{SECRET} \ud800", {SECRET: SECRET}, [SECRET], "input", "messages", "prompt", "content", "tool_calls", "type",
    "text", "input_text", "tool_use", "tool_result", "thinking", "custom", "stream", 4096, "strict", "item_reference",
)  # fmt: skip
"""What stands elsewhere in a request, and what is risky."""

ODD_HEADERS = (
    *((), ((b"host", b"evil.example"), JSON_HEADERS[1]), (JSON_HEADERS[0], (b"content-type", b"text/plain"))),
    (*JSON_HEADERS, (b"x-request-id", b"\xff" * 300), (b"x-conversation-id", b"\xe9" * 300)),
    (*JSON_HEADERS, (b"authorization", b"Bearer \x00"), (b"content-length", b"-1"), (b"traceparent", b"\xff")),
)  # fmt: skip

WHOLE = dumped(
    {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Bread."}, "finish_reason": "stop"}
    ]}
)  # fmt: skip


@cache
def service() -> Service:
    """Return the server; one serves all inputs."""
    started = Service()
    started.line.said = Said((WHOLE,), headers=((b"content-type", b"application/json"),))
    return started


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]:
    """Return a route, a body near a good one, and headers."""
    path, tree = draw(st.sampled_from(REQUESTS))
    body = draw(json_bytes(tree, ALSO) | json_bytes(tree, ALSO) | st.binary(max_size=40))
    return path, body, draw(st.sampled_from((*[JSON_HEADERS] * 9, *ODD_HEADERS)))


@BRIEF
@given(request=requests(), n_pieces=st.integers(1, 3))
def holds(request: tuple[str, bytes, tuple[tuple[bytes, bytes], ...]], n_pieces: int) -> None:
    """Every request is answered in order; what the client sent comes back in no error."""
    path, body, headers = request
    size = -(-len(body) // n_pieces) or 1
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    answer = service().ask(path, *pieces, headers=headers)
    assert answer.status < 500 or answer.status in (502, 503), answer.body
    assert answer.values
    if b'"structured_messages"' not in answer.body:  # the client's own, in which results alone were replaced
        check_no_leak(answer)


one_input = from_bytes(holds)
