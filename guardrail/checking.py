"""Prompt checks: the verdicts on the judged turns, the system prompt where the policy asks, and one decision."""

from collections.abc import Sequence
from dataclasses import replace

from guardrail.actions import Action
from guardrail.context import Context, applied, explain
from guardrail.conversation import Message, Role, judged_prompts
from guardrail.decision import Decision, Failure, Reason
from guardrail.errors import EngineError
from guardrail.json_text import undo_unicode
from guardrail.policy import Rules
from guardrail.reader import PromptReading
from guardrail.tape import Steps
from guardrail.tool_rules import Trust
from guardrail.verdict import Verdict


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

    def decide(failure: Failure | None) -> Decision:
        decision = _decide(context, judged, reading, failure, (context.clock() - started) * 1000)
        context.record(decision, text)
        return decision

    try:
        for conversation in conversations:
            yield from context.read_prompt(conversation, reading)
    except EngineError as error:
        failure = explain(error)
    except GeneratorExit:  # the caller was interrupted and gets no decision: whatever the policy says, nothing passed
        context = replace(context, policy=replace(context.policy, on_failure=Action.STOP))
        decide(Failure("Interrupted", "the call was interrupted"))
        raise
    return decide(failure)


def _worst(rules: Rules, verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict for which the policy asks the hardest action."""
    return max(
        verdicts,
        key=lambda v: (rules.action(v).rank, rules.level(v).rank, v.non_safe_probability),
        default=None,
    )


def _cause(
    context: Context, verdict: Verdict | None, unreadable: Sequence[str], failure: Failure | None
) -> tuple[Action, Reason]:
    """Return the hardest action that is asked for, and why; a failure that asks for as much comes first."""
    policy = context.policy
    causes = [(Action.ALLOW, Reason.CLEAR if verdict else Reason.RULE)]
    if failure:
        causes.append((policy.on_failure, Reason.FAILURE))
    if verdict and context.rules.action(verdict).rank:
        causes.append((context.rules.action(verdict), Reason.VERDICT))
    if unreadable:
        causes.append((policy.unreadable, Reason.UNREADABLE))
    would, reason = max(causes, key=lambda cause: cause[0].rank)
    return would, Reason.FAILURE if failure and would is policy.on_failure else reason


def _decide(
    context: Context, judged: Sequence[Message], reading: PromptReading, failure: Failure | None, latency_ms: float
) -> Decision:
    verdict = _worst(context.rules, reading.verdicts)
    unreadable = tuple(kind for message in judged for kind in message.unreadable)
    would, reason = _cause(context, verdict, unreadable, failure)
    n_chars = sum(len(message.content) for message in judged)
    released = 0 if applied(context.policy, would) is Action.STOP else n_chars
    level = context.rules.level(verdict) if verdict else None
    return context.decide(
        would,
        reason,
        failure,
        risk=level,
        category=verdict.top_category if verdict and level and level.rank else None,
        verdict=verdict,
        stop_offset=0 if would is Action.STOP else None,
        released_chars=released,
        withheld_chars=n_chars - released,
        leaked_chars=0,
        unjudged_chars=released if failure or reason is Reason.RULE else 0,
        n_tokens=reading.n_tokens,
        n_windows=len(reading.verdicts),
        n_dropped_turns=reading.n_dropped_turns,
        unreadable=unreadable,
        latency_ms=latency_ms,
    )
