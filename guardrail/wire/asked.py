"""What an LLM is asked in any of the formats, as the guard reads it."""

import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from guardrail.conversation import ROLES, Message, Part, Role, ToolCall


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's result in a request.

    Attributes:
        tool: the tool's name.
        text: the result.
        unreadable: kinds of its parts that the guard cannot read.
        position: of its message.
        replace: puts another text in its place.
    """

    tool: str
    text: str
    unreadable: tuple[str, ...]
    position: int
    replace: Callable[[str], None]


@dataclass(slots=True)
class Asked:
    """What an LLM is asked.

    Attributes:
        messages: all of it.
        results: tool results among them.
        n_choices: answers that are asked for.
    """

    messages: list[Message] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    n_choices: int = 1
    _tools: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Asked":
        """Read a request of chat or text completions, responses, messages, embeddings or images.

        Raises:
            ValueError: it asks in more than one way.
        """
        n = data.get("n")
        asked = cls(n_choices=n if isinstance(n, int) and n > 0 else 1)
        for instructions in (data.get("system"), data.get("instructions")):
            if instructions:
                asked._add(Role.SYSTEM, instructions)
        asks = [name for name in ("messages", "input", "prompt") if data.get(name)]
        if len(asks) > 1 and not isinstance(data.get("prompt"), Mapping):  # a stored prompt is named beside an input
            raise ValueError(f"a request has {' and '.join(asks)}: which of them the LLM gets depends on the endpoint")
        for message in data.get("messages") or ():
            asked._add_message(message)
        if data.get("input"):
            asked._add_input(data["input"])
        if isinstance(prompt := data.get("prompt"), Mapping):
            asked._add_stored_prompt()
        elif prompt:
            asked._add_prompt(prompt)
        return asked

    def prompt(self, *, with_system: bool) -> tuple[Message, ...]:
        """Return the messages up to the last user's; tool results behind it are judged by themselves.

        Args:
            with_system: whether the system's messages behind it come along; without a user's, the last of them is
                read as one.
        """
        end = max((i for i, m in enumerate(self.messages) if m.role is Role.USER), default=-1)
        behind = [m for m in self.messages[end + 1 :] if with_system and m.role is Role.SYSTEM]
        if end < 0 and behind:
            behind[-1] = replace(behind[-1], role=Role.USER)
        return (*self.messages[: end + 1], *behind)

    def _add_message(self, message: MutableMapping[str, Any]) -> None:
        role = ROLES.get(message.get("role") or "", Role.USER)
        if role is Role.TOOL:
            tool = self._tools.get(message.get("tool_call_id") or "") or message.get("name") or ""
            self._add_result(tool, message, "content")
            return
        calls = [_call(call) for call in message.get("tool_calls") or ()]
        for call in message.get("tool_calls") or ():
            self._tools[call.get("id") or ""] = _call(call).name
        if function := message.get("function_call"):
            calls.append(ToolCall(function.get("name") or "", function.get("arguments") or ""))
        self._add(role, message.get("content"), calls, message.get("reasoning_content"))

    def _add(self, role: Role, content: Any, calls: Sequence[ToolCall] = (), reasoning: str | None = None) -> None:
        """Add a turn; its parts may hold calls, reasoning and results too."""
        text, unreadable, made = [], [], list(calls)
        results: list[MutableMapping[str, Any]] = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            kind = part.get("type") or ""
            if kind == "tool_use":
                made.append(ToolCall(part.get("name") or "", _json(part.get("input"))))
                self._tools[part.get("id") or ""] = part.get("name") or ""
            elif kind == "tool_result":
                results.append(part)
            elif kind == "thinking":
                reasoning = (reasoning or "") + (part.get("thinking") or "")
            elif kind != "redacted_thinking":
                read = Part.of(part)
                text += [] if read.text is None else [read.text]
                unreadable += [read.unreadable] if read.unreadable else []
        for part in results:
            self._add_result(self._tools.get(part.get("tool_use_id") or "", ""), part, "content")
        if text or made or reasoning or unreadable or not results:
            self.messages.append(Message(role, "\n".join(text), reasoning, tuple(made), tuple(unreadable)))

    def _add_result(self, tool: str, holder: MutableMapping[str, Any], key: str) -> None:
        content = holder.get(key)
        parts = [Part.of(part) for part in (content if isinstance(content, list) else [content or ""])]
        text = "\n".join(part.text for part in parts if part.text is not None)
        unreadable = tuple(part.unreadable for part in parts if part.unreadable)
        self.results.append(Result(tool, text, unreadable, len(self.messages), partial(holder.__setitem__, key)))
        self.messages.append(Message(Role.TOOL, text, unreadable=unreadable))

    def _add_input(self, items: Any) -> None:
        """Add the items of a request for responses, or the texts of one for embeddings."""
        if isinstance(items, str) or not any(isinstance(item, Mapping) for item in items):
            self._add_prompt(items)
            return
        for item in items:
            if not isinstance(item, Mapping):
                self._add_prompt(item)
                continue
            kind = item.get("type") or "message"
            if kind == "message":
                self._add(ROLES.get(item.get("role") or "", Role.USER), item.get("content"))
            elif kind.endswith("_output"):
                self._add_result(self._tools.get(item.get("call_id") or "", kind), item, "output")  # type: ignore[arg-type]  # requests are made of dicts
            elif kind.endswith("_call"):
                self._add_call(item)
            elif kind == "reasoning":
                said = [*(item.get("summary") or ()), *(item.get("content") or ())]
                self._add(Role.ASSISTANT, None, reasoning="\n".join(part.get("text") or "" for part in said))
            else:
                self.messages.append(Message(Role.USER, "", unreadable=(kind,)))

    def _add_call(self, item: Mapping[str, Any]) -> None:
        call = call_of_item(item)
        self._tools[item.get("call_id") or ""] = call.name
        self._add(Role.ASSISTANT, None, [call])

    def _add_stored_prompt(self) -> None:
        """Say that a prompt of the LLM's server cannot be read, at the user's turn that is judged."""
        users = [i for i, message in enumerate(self.messages) if message.role is Role.USER]
        turn = self.messages.pop(users[-1]) if users else Message(Role.USER, "")
        turn = replace(turn, unreadable=(*turn.unreadable, "stored_prompt"))
        self.messages.insert(users[-1] if users else len(self.messages), turn)

    def _add_prompt(self, prompt: Any) -> None:
        """Add a prompt, or several: each has its own answer, and they are read as one turn."""
        prompts = prompt if isinstance(prompt, list) else [prompt]
        texts = [one for one in prompts if isinstance(one, str)]
        self.n_choices *= sum(isinstance(one, str | list) for one in prompts) or 1  # a list of numbers is one prompt
        unreadable = ("token_ids",) if len(texts) < len(prompts) else ()
        self.messages.append(Message(Role.USER, "\n".join(texts), unreadable=unreadable))


def call_of_item(item: Mapping[str, Any]) -> ToolCall:
    """Return an item of the responses format as a call; what is no function's goes by its type, with all it says."""
    if item.get("type") == "function_call":
        return ToolCall(item.get("name") or "", item.get("arguments") or "")
    said = {key: value for key, value in item.items() if key not in ("id", "type", "status", "call_id")}
    return ToolCall(str(item.get("type")), _json(said))


def max_tokens(data: Mapping[str, Any]) -> int | None:
    """Return how many tokens the LLM may write at most; None when the request does not say."""
    known = (data.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    return next((one for one in known if isinstance(one, int)), None)


def _call(call: Mapping[str, Any]) -> ToolCall:
    said = call.get("function") or call.get("custom") or {}
    return ToolCall(said.get("name") or "", said.get("arguments") or said.get("input") or "")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
