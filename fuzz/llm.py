"""What an LLM may say in OpenAI's formats: scripted answers with markers in them, whole or as frames, and damaged."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from fuzz.serving import BAD, MARKER, dumped, is_risky
from fuzz.shaping import damaged, strings
from tests.wire.frames import FORMS

BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "m", "messages": [{"role": "user", "content": "how?"}]},
    "completions": {"model": "m", "prompt": "how?"},
    "responses": {"model": "m", "input": "how?"},
}
"""Formats, each with a request."""

READ: dict[str, set[tuple[str, ...]]] = {
    "chat/completions": {
        *(("delta", name) for name in ("content", "reasoning", "reasoning_content", "refusal")),
        *(("message", name) for name in ("content", "reasoning", "reasoning_content", "refusal")),
        *((*holder, "tool_calls", "*", "function", name) for name in ("name", "arguments")
          for holder in (("delta",), ("message",))),
    },
    "completions": {("text",)},
    "responses": {
        ("delta",), ("text",), ("arguments",), ("part", "text"), ("item", "arguments"),
        ("item", "content", "*", "text"),
        ("response", "output", "*", "content", "*", "text"), ("response", "output", "*", "arguments"),
        ("output", "*", "content", "*", "text"), ("output", "*", "arguments"),
    },
}  # fmt: skip
"""Where the text of an answer stands, below its choices if it has some. What stands beside it is not read: see
docs/proxy.md."""

CALL = {"index": 0, "id": "call0", "type": "function", "function": {"name": "search", "arguments": ""}}
DELTAS: tuple[Mapping[str, Any], ...] = (
    {"content": "Mix flour. "}, {"content": f"then {BAD}"}, {"content": MARKER}, {"reasoning_content": "So, "},
    {"reasoning_content": BAD}, {"tool_calls": [CALL]}, {"content": "e\u0301 \U0001fae8"}, {"content": ""},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"q": "br'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": f'ead {BAD}"}}'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '\\u2620 alder12"}'}}]},
)  # fmt: skip

ALSO = (
    BAD, [BAD], {"content": BAD}, {"text": BAD}, "tool_calls", "content", "error", "type", "index", "choices", "delta",
    "message", "output", "item", "response.output_text.delta", "response.completed", "response.output_item.added",
    "message", "function_call", "reasoning", "output_text", "text_completion", "length", {"message": BAD},
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn, form: str) -> tuple[bytes, list[Any], bytes]:
    """Return a body that a server may send, its JSON, and its content type."""
    deltas = [{**delta} for delta in draw(st.lists(st.sampled_from(DELTAS), max_size=6))]
    if form == "completions":
        deltas = [delta for delta in deltas if "content" in delta]
    if form == "responses":
        deltas = [delta for delta in deltas if "reasoning_content" not in delta]
        deltas.sort(key=lambda delta: "tool_calls" in delta)  # the scripted server cannot go back to text
    made = FORMS[form](BODIES[form])
    calls_begun = False
    frames = list(made.opening())
    for delta in deltas:
        calls_begun = calls_begun or "id" in (delta.get("tool_calls") or [{}])[0]
        if "tool_calls" not in delta or calls_begun:
            frames += made.add(delta)
    if draw(st.booleans()):
        whole = draw(damaged(with_text(form, made), ALSO))
        return dumped(whole), [whole], b"application/json"
    return draw(streamed([*frames, *made.closing("stop")]))


def with_text(form: str, made: Any) -> Any:
    """Return a whole answer; one without any text has an empty one."""
    if form == "completions":
        for message in made.messages.values():
            message.setdefault("text", "")
    return made.whole("stop")


@st.composite
def streamed(draw: st.DrawFn, frames: list[str]) -> tuple[bytes, list[Any], bytes]:
    """Return frames, some of their objects damaged, dropped, doubled, or of a type that lies."""
    body, values = b"", []
    for frame in frames:
        head, _, payload = frame.partition("data: ")
        if payload.startswith("[DONE]"):
            body += frame.encode()
            continue
        for value in [draw(damaged(loads(payload), ALSO))] * draw(st.sampled_from((1, 1, 1, 1, 1, 1, 0, 2))):
            values.append(value)
            body += head.encode() + b"data: " + dumped(value) + draw(ENDS)
    return body, values, b"text/event-stream; charset=utf-8"


ENDS = st.sampled_from([b"\n\n"] * 9 + [b"\r\n\r\n", b"\n", b"\n\n: ping\n\n", b"\n\ndata: 3\n\n", b"\n\ndata\n\n"])


def loads(payload: str) -> Any:
    """Return what a frame holds."""
    return json.loads(payload)


def is_to_be_caught(form: str, values: list[Any]) -> bool:
    """Whether every marker that the LLM has sent stands in the text of its answer."""
    for value in values:
        for path, text in strings(value):
            if is_risky(text):
                below = path[2:] if path[:2] == ("choices", "*") else path
                if below not in READ[form] or (MARKER not in text and "\\u2620" not in text):
                    return False
    return True
