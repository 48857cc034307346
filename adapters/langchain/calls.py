"""Tool calls in whatever form a provider sends them, and the decisions on them that are kept for whoever runs them."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessage, AIMessageChunk

from guardrail.adapters.langchain.messages import CALL_BLOCKS
from guardrail.adapters.langchain.recent import Recent
from guardrail.decision import Decision
from guardrail.guard import Guard

CALL_ARGUMENTS = ("tool_calls", "function_call")
"""Keys of additional_kwargs that hold calls."""

_ARGUMENT_KEYS = ("args", "arguments", "partial_json", "input")
_KEPT_WHEN_BLANK = ("type", "id", "call_id", "name", "index")

M = TypeVar("M", AIMessage, AIMessageChunk)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, or one piece of it, in one of its forms.

    Attributes:
        id: the provider's id; None in later pieces.
        name: the tool's name; empty in later pieces.
        arguments: JSON text.
        index: which of the parallel calls it belongs to; None says that it is whole.
    """

    id: str | None
    name: str
    arguments: str
    index: Any = None

    @property
    def content(self) -> tuple[str, str]:
        """Name and arguments, the same for every spelling of the same JSON."""
        try:
            # As pairs: a key that is given twice is read twice.
            arguments = json.dumps(json.loads(self.arguments or "{}", object_pairs_hook=list))
        except (ValueError, RecursionError):
            arguments = self.arguments
        return self.name, arguments

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Call":
        """Read one form of a call."""
        inner = entry["function"] if isinstance(entry.get("function"), Mapping) else entry
        texts = [_as_text(inner[key]) for key in _ARGUMENT_KEYS if inner.get(key)]
        name = inner.get("name") or ""
        return cls(entry.get("call_id") or entry.get("id"), str(name), "".join(texts), entry.get("index"))


def forms(message: AIMessage) -> list[list[Call]]:
    """Return a message's calls in each form that it holds them in."""
    if isinstance(message, AIMessageChunk):
        listed: list[Any] = [*message.tool_call_chunks]
    else:
        listed = [*message.tool_calls, *message.invalid_tool_calls]
    raw = message.additional_kwargs
    entries = [*(raw.get("tool_calls") or ())]
    if single := raw.get("function_call"):
        entries.append({"index": "function_call", **single})
    found = [[Call.of(entry) for entry in form] for form in (listed, _blocks(message), entries)]
    return [form for form in found if form]


def calls_of(message: AIMessageChunk) -> AIMessageChunk | None:
    """Return what a message holds of tool calls, in all forms; None if nothing."""
    kept = {key: value for key, value in message.additional_kwargs.items() if key in CALL_ARGUMENTS}
    blocks: list[Any] = _blocks(message)
    if not (kept or blocks or message.tool_call_chunks):
        return None
    return AIMessageChunk(content=blocks or "", additional_kwargs=kept, tool_call_chunks=message.tool_call_chunks)


def blanked(message: M, is_refused: Callable[[Call], bool]) -> M:
    """Return a message whose refused calls have empty arguments, in every form; names and ids stay."""
    if not any(is_refused(call) for form in forms(message) for call in form):
        return message

    def each(entries: list[Any]) -> list[Any]:
        return [_blank(entry) if is_refused(Call.of(entry)) else entry for entry in entries]

    content = message.content
    if isinstance(content, list):
        content = [each([part])[0] if _is_call_block(part) else part for part in content]
    raw: dict[str, Any] = dict(message.additional_kwargs)
    if isinstance(raw.get("tool_calls"), list):
        raw["tool_calls"] = each(raw["tool_calls"])
    if "function_call" in raw:
        (raw["function_call"],) = each([raw["function_call"]])
    changed: dict[str, Any] = {"content": content, "additional_kwargs": raw}
    if isinstance(message, AIMessageChunk):  # its lists of calls are made from the chunks
        made = {name for name in type(message).model_fields if name not in ("tool_calls", "invalid_tool_calls")}
        fields = {name: getattr(message, name) for name in made} | changed
        return message.__class__(**{**fields, "tool_call_chunks": each(message.tool_call_chunks)})
    changed |= {"tool_calls": each(message.tool_calls), "invalid_tool_calls": each(message.invalid_tool_calls)}
    return message.model_copy(update=changed)


class CallBook:
    """Decisions on calls that have left, for whoever runs them. Bounded: the oldest go. Safe for many threads."""

    def __init__(self) -> None:
        self._decisions: Recent[Decision] = Recent()

    def keep(
        self, conversation_id: str, call_id: str, name: str, arguments: Mapping[str, Any], decision: Decision
    ) -> None:
        """Keep the decision on a call with exactly these arguments."""
        self._decisions.keep((conversation_id, call_id, _digest(name, arguments)), decision)

    def find(self, conversation_id: str, call_id: str, name: str, arguments: Mapping[str, Any]) -> Decision | None:
        """Return the decision on this call; None if it was not judged, or has been changed since."""
        return self._decisions.find((conversation_id, call_id, _digest(name, arguments)))


_books: WeakKeyDictionary[Guard, CallBook] = WeakKeyDictionary()
_books_lock = threading.Lock()


def call_book(guard: Guard) -> CallBook:
    """Return the book that everybody shares who uses this guard."""
    with _books_lock:
        return _books.setdefault(guard, CallBook())


def _blocks(message: AIMessage) -> list[dict[str, Any]]:
    return [block for block in message.content if isinstance(block, dict) and _is_call_block(block)]


def _is_call_block(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in CALL_BLOCKS


def _blank(entry: Mapping[str, Any]) -> dict[str, Any]:
    blank = {key: entry[key] for key in _KEPT_WHEN_BLANK if key in entry}
    blank |= {key: {} if isinstance(entry[key], Mapping) else "{}" for key in _ARGUMENT_KEYS if key in entry}
    if isinstance(entry.get("function"), Mapping):
        blank["function"] = _blank(entry["function"])
    return blank | ({"error": None} if "error" in entry else {})


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _digest(name: str, arguments: Mapping[str, Any]) -> str:
    text = json.dumps([name, arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
