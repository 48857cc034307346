"""What is handed on in place of a poisoned tool result: a message, or its harmless passages with the others marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.checking import checking_result
from guardrail.context import Context
from guardrail.conversation import Message, Role
from guardrail.decision import Decision, Reason
from guardrail.tape import Steps
from guardrail.tool_rules import OnResult

MAX_PASSAGES = 64
"""Passages a result is cut into at most: each is read by itself. Our choice."""

WITHHELD = "[a passage was withheld by a safety policy]"
"""Stands where a passage was."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A tool result after the guard.

    Attributes:
        text: what the LLM may see: the result, its extract, or a message that it was withheld.
        decision: on the whole result.
    """

    text: str
    decision: Decision


def screening(context: Context, messages: Sequence[Message], result: Message) -> Steps[Screened]:
    """Judge a tool result, decide and record; if it is stopped, return what stands in its place."""
    decision = yield from checking_result(context, messages, result)
    if not decision.stopped:
        return Screened(result.content, decision)
    withheld = Screened(context.policy.result_message(decision.category), decision)
    if context.policy.tools.on_result is not OnResult.EXTRACT or decision.reason is not Reason.VERDICT:
        return withheld
    extract = yield from _extracting(context, messages, passages(result.content))
    if extract is None:
        return withheld
    whole = yield from checking_result(_again(context), messages, Message(Role.TOOL, extract))
    return withheld if whole.stopped else Screened(extract, decision)


def passages(text: str) -> list[str]:
    """Cut a text at its line ends into at most `MAX_PASSAGES` passages of whole lines; joined, they are the text."""
    lines = text.splitlines(keepends=True)
    size = -(-len(lines) // MAX_PASSAGES) or 1
    return ["".join(lines[i : i + size]) for i in range(0, len(lines), size)]


def _extracting(context: Context, messages: Sequence[Message], parts: Sequence[str]) -> Steps[str | None]:
    """Return the passages that pass by themselves, with a mark for each run of others; None if nothing passes."""
    kept: list[str] = []
    silent = replace(_again(context), record=lambda *_: ())
    for part in parts:
        if part.strip():
            decision = yield from checking_result(silent, messages, Message(Role.TOOL, part))
        if not part.strip() or not decision.stopped:
            kept.append(part)
        elif not kept or kept[-1] != WITHHELD + "\n":
            kept.append(WITHHELD + "\n")
    has_text = any(part.strip() and part != WITHHELD + "\n" for part in kept)
    return "".join(kept) if has_text else None


def _again(context: Context) -> Context:
    return replace(context, stream_id=context.new_id())
