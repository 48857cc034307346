"""Which columns of a data set hold what is judged, and how a row becomes a check."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from guardrail.batches import Check
from guardrail.conversation import Message, Role, judged_prompts, to_messages
from guardrail.errors import ConfigurationError, ConversationError

Target = Literal["prompt", "response"]

_MESSAGES = ("messages", "conversations", "conversation")
_PROMPTS = ("prompt", "text", "question", "instruction", "query", "input")
_RESPONSES = ("response", "answer", "output", "completion")
_IDS = ("id",)

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"} | {
    "function": "tool", "observation": "tool",
}  # fmt: skip
"""Names that data sets give to roles."""


class UnreadableRow(ValueError):
    """A row holds nothing that can be judged; the message names columns and types, never its text."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a row's parts stand.

    Attributes:
        prompt: column of a prompt's text; None where there is none.
        response: column of the answer's text; a row in which it is null is judged by its prompt.
        messages: column of a conversation: a list of roles and contents, or its JSON text.
        id: column of the row's id.
        target: "prompt": judge the last user turn or tool result; "response": judge the answer; None judges the answer
            where a row has one, else the prompt.
    """

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    id: str | None = None
    target: Target | None = None

    def among(self, names: Collection[str]) -> "Columns":
        """Return the columns as they are in a file; those that nobody named are found by their usual names.

        Args:
            names: of all columns.

        Raises:
            ConfigurationError: a named column is missing, or none is known by its name.
        """
        named = [name for name in (self.prompt, self.response, self.messages, self.id) if name]
        if missing := [name for name in named if name not in names]:
            raise ConfigurationError(f"no column {', '.join(missing)}", hint=f"there are {_listed(names)}")
        found = replace(self, id=self.id or _first(_IDS, names))
        if not (self.prompt or self.response or self.messages):
            messages = _first(_MESSAGES, names)
            prompt = None if messages else _first(_PROMPTS, names)
            response = None if messages else _first(_RESPONSES, names)
            found = replace(found, messages=messages, prompt=prompt, response=response)
        if not (found.prompt or found.response or found.messages):
            raise ConfigurationError(
                f"which columns are judged? There are {_listed(names)}", hint="--prompt, --response or --messages NAME"
            )
        return found

    @property
    def used(self) -> list[str]:
        """Names of all that are read."""
        return [name for name in (self.id, self.messages, self.prompt, self.response) if name]

    def to_check(self, values: Mapping[str, Any]) -> Check:
        """Return what a row asks to be judged.

        Raises:
            UnreadableRow: it holds nothing that can be.
        """
        answer: str | Message | None = self._text(values, self.response)
        try:
            messages = self._messages(values)
            if self.target == "prompt":
                answer = None
            elif answer is None and messages and messages[-1].role is Role.ASSISTANT:
                messages, answer = messages[:-1], messages[-1]
            if self.target == "response" and answer is None:
                raise UnreadableRow(f"{self.response or self.messages or self.prompt}: no answer")
            if answer is None:
                judged_prompts(messages)
        except ConversationError as error:
            raise UnreadableRow(f"{self.messages}: {error}") from None
        return Check(messages, answer)

    def _messages(self, values: Mapping[str, Any]) -> tuple[Message, ...]:
        if self.messages and values.get(self.messages) is not None:
            return to_messages([_plain(turn, self.messages) for turn in _turns(values[self.messages], self.messages)])
        prompt = self._text(values, self.prompt)
        if prompt is None and (self.target == "prompt" or self._text(values, self.response) is None):
            raise UnreadableRow(f"{self.prompt or self.messages or self.response}: nothing to judge")
        return to_messages(prompt or "")

    def _text(self, values: Mapping[str, Any], name: str | None) -> str | None:
        value = values.get(name) if name else None
        if value is not None and not isinstance(value, str):
            raise UnreadableRow(f"{name}: {type(value).__name__}, not text")
        return value


def _turns(value: Any, name: str) -> Sequence[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UnreadableRow(f"{name}: neither a list nor the JSON text of one") from None
    if not isinstance(value, list):
        raise UnreadableRow(f"{name}: {type(value).__name__}, not a list of messages")
    return value


def _plain(turn: Any, name: str) -> dict[str, Any]:
    """Return a message with the usual keys: some data sets say `from` and `value`, `human` and `gpt`."""
    if not isinstance(turn, Mapping):
        raise UnreadableRow(f"{name}: {type(turn).__name__} in place of a message")
    role = turn.get("role") or turn.get("from")
    role = _ROLES.get(str(role).lower(), role)
    if role not in list(Role):
        raise UnreadableRow(f"{name}: a role that is none of {', '.join(Role)}")
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    return {**turn, "role": role, "content": content}


def _first(usual: Sequence[str], names: Collection[str]) -> str | None:
    return next((name for name in usual if name in names), None)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join([*names][:12])
    return shown + (", ..." if len(names) > 12 else "") if names else "none"
