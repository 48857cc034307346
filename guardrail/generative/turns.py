"""Conversations as turns of the Gen template: what it has no role for is left out, or judged in the role it fits best.

A tool result is judged as a user's query: it is text on its way to the LLM. A tool call is judged as the assistant's
response, as JSON between `<tool_call>` tags. In history, tool results, reasoning and system messages other than the
first are left out, as the template does; leaving the latter in would take the label off the user's turn behind them.
"""

from collections.abc import Sequence

from guardrail.conversation import (
    BEGIN_THINKING,
    EMPTY_THINKING,
    END_THINKING,
    Message,
    Role,
    Segment,
    call_opening,
    render_tool_call,
)
from guardrail.generative.spoofing import without_markers
from guardrail.generative.template import Turn


def prompt_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return the turns up to the user's query, or the tool's result, that is judged."""
    return [*_history(messages[:-1]), Turn("user", (_content(messages[-1].content),))]


def context_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return the turns before a response that is judged: at least one, and the first is not the assistant's, whose text
    the template would leave out.
    """
    turns = _history(messages)
    return turns if turns and turns[0].role != "assistant" else [Turn("user", ()), *turns]


def response_turn(reasoning: str, answer: str) -> Turn:
    """Return the response so far; a think block that no answer follows is still open."""
    if not reasoning:
        return Turn("assistant", (_content(answer),))
    thinking = [*BEGIN_THINKING, _content(reasoning)]
    return Turn("assistant", tuple([*thinking, *END_THINKING, _content(answer)] if answer else thinking))


def call_context(messages: Sequence[Message]) -> tuple[list[Turn], tuple[Segment, ...]]:
    """Return the turns before the assistant's turn that calls a tool, and that turn up to the call."""
    before, parts = call_opening(messages)
    if tuple(parts[: len(EMPTY_THINKING)]) == EMPTY_THINKING:  # the template has it behind the prompt
        parts = parts[len(EMPTY_THINKING) :]
    return context_turns(before), tuple(_safe(part) for part in parts)


def _history(messages: Sequence[Message]) -> list[Turn]:
    leading = [m for m in messages[:1] if m.role is Role.SYSTEM]
    others = [m for m in messages if m.role in (Role.USER, Role.ASSISTANT)]
    return [Turn(m.role.value, _parts(m)) for m in (*leading, *others)]


def _parts(message: Message) -> tuple[Segment, ...]:
    parts = [_content(message.content)]
    for i, call in enumerate(message.tool_calls):
        parts += [Segment("\n", "scaffold")] if i or message.content else []
        parts += map(_safe, render_tool_call(call))
    return tuple(parts)


def _content(text: str) -> Segment:
    return Segment(without_markers(text), "content")


def _safe(part: Segment) -> Segment:
    return _content(part.text) if part.kind == "content" else part
