"""Prompt checks: the verdicts on the judged turns, the system prompt where the policy asks, and one decision."""

from collections.abc import Sequence
from dataclasses import replace

from guardrail.actions import Action
from guardrail.context import Context, explain
from guardrail.conversation import Message, Role, judged_prompts
from guardrail.decision import INTERRUPTED, Decision, Failure, Reason
from guardrail.errors import EngineError
from guardrail.json_text import undo_unicode
from guardrail.reader import PromptReading
from guardrail.tape import Receipt, Steps, received
from guardrail.tool_rules import Trust
from guardrail.verdict import Verdict
from guardrail.weighing import applied, weigh


def judging_prompt(context: Context, messages: Sequence[Message]) -> Steps[Verdict]:
    """Return the worst verdict on the turns under judgement."""
    reading = PromptReading()
    for conversation in judged_prompts(messages):
        yield from context.read_prompt(conversation, reading)
    return max(reading.verdicts, key=lambda v: (v.risk.rank, v.non_safe_probability))


def checking_prompt(context: Context, messages: Sequence[Message]) -> Steps[Decision]:
    """Judge the last user turn or tool results, decide and record."""
    conversations = judged_prompts(messages)
    judged = [conversation[-1] for conversation in conversations]
    if context.policy.judge_system:
        conversations += [(Message(Role.USER, m.content),) for m in messages if m.role is Role.SYSTEM]
    return (yield from _checking(context, conversations, judged))


def checking_result(context: Context, messages: Sequence[Message], result: Message) -> Steps[Decision]:
    """Judge a tool result or document that follows these messages, beside none of its neighbours; decide and record.

    It is read with its unicode escapes undone: results are JSON more often than not, written in ASCII.
    """
    before = list(messages)
    while before and before[-1].role is Role.TOOL:
        before.pop()
    if context.trust is Trust.TRUSTED:
        return (yield from _checking(context, [], [replace(result, unreadable=())]))
    read = (*before, replace(result, content=undo_unicode(result.content)))
    return (yield from _checking(context, [read], [result]))


def _checking(
    context: Context, conversations: Sequence[tuple[Message, ...]], judged: Sequence[Message]
) -> Steps[Decision]:
    started = context.clock()
    text = "\n".join(message.content for message in judged)
    reading, failure = PromptReading(), None

    def decide(failure: Failure | None) -> tuple[Decision, Sequence[Receipt]]:
        decision = _decide(context, judged, reading, failure, (context.clock() - started) * 1000)
        return decision, context.record(decision, text)

    try:
        for conversation in conversations:
            yield from context.read_prompt(conversation, reading)
    except EngineError as error:
        failure = explain(error)
    except GeneratorExit:  # the caller was interrupted and gets no decision: whatever the policy says, nothing passed
        context = replace(context, policy=replace(context.policy, on_failure=Action.STOP))
        decide(Failure("Interrupted", INTERRUPTED))
        raise
    decision, receipts = decide(failure)
    yield from received(receipts)
    return decision


def _decide(
    context: Context, judged: Sequence[Message], reading: PromptReading, failure: Failure | None, latency_ms: float
) -> Decision:
    unreadable = tuple(kind for message in judged for kind in message.unreadable)
    weighed = weigh(context.policy, context.direction, reading.verdicts, unreadable, failure)
    n_chars = sum(len(message.content) for message in judged)
    released = 0 if applied(context.policy, weighed.would) is Action.STOP else n_chars
    return context.decide(
        weighed.would,
        weighed.reason,
        failure,
        risk=weighed.risk,
        category=weighed.category,
        verdict=weighed.verdict,
        stop_offset=0 if weighed.would is Action.STOP else None,
        released_chars=released,
        withheld_chars=n_chars - released,
        leaked_chars=0,
        unjudged_chars=released if failure or weighed.reason is Reason.RULE else 0,
        n_tokens=reading.n_tokens,
        n_windows=len(reading.verdicts),
        n_dropped_turns=reading.n_dropped_turns,
        unreadable=unreadable,
        latency_ms=latency_ms,
        readings=tuple(reading.verdicts),
    )
