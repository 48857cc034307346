"""Scripts of tool calls in the forms in which providers stream them, and what a model answers in all ways."""

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessageChunk

from guardrail.adapters.langchain import GuardedChatModel

TALK = "Let me look that up."
Form = Callable[[list[tuple[str, str]]], list[AIMessageChunk]]


def pieces(text: str, size: int = 4) -> list[str]:
    """Cut a text."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def piece_of(name: str | None, args: str, call_id: str | None, index: int | None) -> Any:
    """Return a tool call chunk."""
    return {"name": name, "args": args, "id": call_id, "index": index, "type": "tool_call_chunk"}


def plain(calls: list[tuple[str, str]]) -> list[AIMessageChunk]:
    """Calls as pieces in `tool_call_chunks` alone."""
    found = []
    for i, (name, args) in enumerate(calls):
        found.append(AIMessageChunk(content="", tool_call_chunks=[piece_of(name, "", f"call-{i}", i)]))
        found += [AIMessageChunk(content="", tool_call_chunks=[piece_of(None, one, None, i)]) for one in pieces(args)]
    return found


def openai(calls: list[tuple[str, str]]) -> list[AIMessageChunk]:
    """Calls as OpenAI's chat completions stream them: repeated in additional_kwargs."""

    def both(i: int, name: str | None, args: str, call_id: str | None) -> AIMessageChunk:
        raw = {"index": i, "id": call_id, "function": {"arguments": args, "name": name}, "type": call_id and "function"}
        kwargs = {"tool_calls": [raw]}
        return AIMessageChunk(content="", additional_kwargs=kwargs, tool_call_chunks=[piece_of(name, args, call_id, i)])

    found = []
    for i, (name, args) in enumerate(calls):
        found += [both(i, name, "", f"call-{i}"), *(both(i, None, one, None) for one in pieces(args))]
    return found


def anthropic(calls: list[tuple[str, str]]) -> list[AIMessageChunk]:
    """Calls as Anthropic streams them: repeated in content blocks."""
    found = []
    for i, (name, args) in enumerate(calls, start=1):
        use = {"type": "tool_use", "id": f"call-{i - 1}", "name": name, "input": {}, "index": i}
        found.append(AIMessageChunk(content=[use], tool_call_chunks=[piece_of(name, "", f"call-{i - 1}", i)]))
        for one in pieces(args):
            block = {"type": "input_json_delta", "partial_json": one, "index": i}
            found.append(AIMessageChunk(content=[block], tool_call_chunks=[piece_of(None, one, None, i)]))
    return found


def legacy(calls: list[tuple[str, str]]) -> list[AIMessageChunk]:
    """A single call as the old function_call."""
    ((name, args),) = calls
    values = [{"name": name, "arguments": ""}, *({"arguments": one} for one in pieces(args))]
    return [AIMessageChunk(content="", additional_kwargs={"function_call": value}) for value in values]


def responses(calls: list[tuple[str, str]]) -> list[AIMessageChunk]:
    """Calls in content blocks alone, as pieces of OpenAI's responses."""
    found = []
    for i, (name, args) in enumerate(calls, start=1):
        head = {"type": "function_call", "name": name, "arguments": "", "call_id": f"call-{i - 1}", "index": i}
        found.append(AIMessageChunk(content=[head]))
        rest = [{"type": "function_call", "arguments": one, "index": i} for one in pieces(args)]
        found += [AIMessageChunk(content=[one]) for one in rest]
    return found


FORMS = [plain, openai, anthropic, responses, legacy]


def talk(form: Form) -> AIMessageChunk:
    """Return the text before the call, as the provider of this form sends it."""
    listed = form in (anthropic, responses)
    return AIMessageChunk(content=[{"type": "text", "text": TALK, "index": 0}] if listed else TALK)


def joined(found: Iterable[Any]) -> Any:
    """Return the message that the pieces make up."""
    return reduce(operator.add, found)


async def answers(model: GuardedChatModel) -> list[Any]:
    """Return what a model answers in all four ways."""
    astreamed = [chunk async for chunk in model.astream("Q")]
    return [joined(model.stream("Q")), joined(astreamed), model.invoke("Q"), await model.ainvoke("Q")]
