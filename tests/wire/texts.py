"""Texts and deltas for scripted LLMs, and what a reader of their answers sees."""

from collections.abc import Iterator
from typing import Any

BAD = "☠☠ FORBIDDEN alder12 birch13"
"""Risky from its first character on; the words stand nowhere else."""

CLEAN = "Bread needs flour, water, salt and time."


def dig(value: Any) -> Iterator[str]:
    """Yield all texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from dig(list(value.values()))
    elif isinstance(value, list):
        for one in value:
            yield from dig(one)


def shown(endpoint: str, frames: list[Any]) -> str:
    """Return the text that a reader of a stream sees."""
    if endpoint == "chat/completions":
        return "".join(choice["delta"].get("content") or "" for frame in frames for choice in frame["choices"])
    if endpoint == "completions":
        return "".join(choice["text"] or "" for frame in frames for choice in frame["choices"])
    if endpoint == "responses":
        return "".join(frame["delta"] for frame in frames if frame["type"] == "response.output_text.delta")
    deltas = [frame["delta"] for frame in frames if frame["type"] == "content_block_delta"]
    return "".join(delta.get("text", "") for delta in deltas)


def call_deltas(name: str, arguments: str, *, size: int, text: str = "", index: int = 0) -> list[dict[str, Any]]:
    """Return the deltas of an answer that calls a tool."""
    start = {"index": index, "id": f"call{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    calls = [start, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]
    return [*([{"content": text}] if text else []), *({"tool_calls": [call]} for call in calls)]
