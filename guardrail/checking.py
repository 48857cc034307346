"""Prompt checks: the verdicts on the judged turns, the system prompt where the policy asks, and one decision."""

from collections.abc import Sequence

from guardrail.context import Context, applied, explain
from guardrail.conversation import Message, Role, judged_prompts
from guardrail.decision import Decision, Direction, Failure, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.errors import EngineError
from guardrail.policy import Action, Rules
from guardrail.reading import PromptReading, Steps, read_prompt
from guardrail.verdict import Verdict


def judging_prompt(context: Context, tokenizer: GuardTokenizer, messages: Sequence[Message]) -> Steps[Verdict]:
    """Return the worst verdict on the turns under judgement."""
    reading = PromptReading()
    for conversation in judged_prompts(messages):
        yield from read_prompt(context.engine, tokenizer, conversation, reading)
    return max(reading.verdicts, key=lambda v: (v.risk.rank, v.non_safe_probability))


def checking_prompt(context: Context, tokenizer: GuardTokenizer, messages: Sequence[Message]) -> Steps[Decision]:
    """Judge the last user turn or tool results, decide and record."""
    started = context.clock()
    conversations = judged_prompts(messages)
    judged = [conversation[-1] for conversation in conversations]
    if context.policy.judge_system:
        conversations += [(Message(Role.USER, m.content),) for m in messages if m.role is Role.SYSTEM]
    text = "\n".join(message.content for message in judged)
    reading, failure = PromptReading(), None

    def decide(failure: Failure | None) -> Decision:
        decision = _decide(context, judged, reading, failure, (context.clock() - started) * 1000)
        context.record(decision, text)
        return decision

    try:
        for conversation in conversations:
            yield from read_prompt(context.engine, tokenizer, conversation, reading)
    except EngineError as error:
        failure = explain(error)
    except GeneratorExit:  # the caller was interrupted and gets no decision; the record says so
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


def _decide(
    context: Context, judged: list[Message], reading: PromptReading, failure: Failure | None, latency_ms: float
) -> Decision:
    policy, rules = context.policy, context.policy.prompt
    verdict = _worst(rules, reading.verdicts)
    unreadable = tuple(kind for message in judged for kind in message.unreadable)
    causes = [(Action.ALLOW, Reason.CLEAR)]
    if failure:
        causes.append((policy.on_failure, Reason.FAILURE))
    if verdict and rules.action(verdict).rank:
        causes.append((rules.action(verdict), Reason.VERDICT))
    if unreadable:
        causes.append((policy.unreadable, Reason.UNREADABLE))
    would, reason = max(causes, key=lambda cause: cause[0].rank)
    if failure and would is policy.on_failure:
        reason = Reason.FAILURE
    action = applied(policy, would)
    n_chars = sum(len(message.content) for message in judged)
    released = 0 if action is Action.STOP else n_chars
    risky = verdict is not None and rules.level(verdict).rank > 0
    return Decision(
        id=context.new_id(),
        stream_id=context.stream_id,
        conversation_id=context.conversation_id,
        time=context.wall_clock(),
        direction=Direction.PROMPT,
        action=action,
        would_action=would,
        reason=reason,
        risk=rules.level(verdict) if verdict else None,
        category=verdict.top_category if verdict and risky else None,
        verdict=verdict,
        stop_offset=0 if would is Action.STOP else None,
        released_chars=released,
        withheld_chars=n_chars - released,
        leaked_chars=0,
        unjudged_chars=released if failure else 0,
        n_tokens=reading.n_tokens,
        n_windows=len(reading.verdicts),
        n_dropped_turns=reading.n_dropped_turns,
        unreadable=unreadable,
        failure=failure,
        identity=context.identity,
        latency_ms=latency_ms,
    )
