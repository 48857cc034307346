"""Settings by which a record says less about another policy than its verdicts seem to: they decided what was read."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from guardrail.actions import Action
from guardrail.audit.replay import ANSWERS, Recorded
from guardrail.audit.replay_filter import levels
from guardrail.decision import Direction, Reason
from guardrail.errors import ContextOverflow
from guardrail.policy import DebounceRule, OnStop, Policy, Rules, TooLong
from guardrail.records.record import Record
from guardrail.taxonomy import RiskLevel
from guardrail.weighing import rules_for


def limits(recorded: Recorded, policy: Policy, known: Mapping[str, Policy]) -> tuple[str, ...]:
    """Return the settings that decide on this record and cannot be replayed.

    Args:
        recorded: a record.
        policy: the policy that is replayed.
        known: policies by hash; a record of another one is told by what stands in it alone.
    """
    record = recorded.record
    made_by = known.get(record.policy_sha256)
    if made_by == policy:
        return ()
    found = _limits_of_answers(recorded, policy, made_by) if record.direction in ANSWERS else []
    if made_by is None:
        found += ["normalise"] if has_twin(policy, record) else []
        return tuple(found)
    if record.direction is Direction.PROMPT and made_by.judge_system is not policy.judge_system:
        found.append("judge_system")
    if len(recorded.positions) and (
        made_by.cascade != policy.cascade or _was_asked_by_rules(recorded, policy, made_by)
    ):
        found.append("cascade")
    is_weighed_alike = _weighing(rules_for(made_by, record.direction)) == _weighing(rules_for(policy, record.direction))
    if has_twin(made_by, record) is not has_twin(policy, record) or (
        not is_weighed_alike and was_read_by_rules(recorded, made_by)
    ):
        found.append("normalise")
    return tuple(found)


def has_twin(policy: Policy, record: Record) -> bool:
    """Whether texts like the recorded one are read with their normalised twin too."""
    return policy.normalise.answers if record.direction in ANSWERS else policy.normalise.prompts


def was_read_by_rules(recorded: Recorded, made_by: Policy) -> bool:
    """Whether the rules of then chose what is recorded of a text and its twin.

    Of an answer the verdict stands that was worse by them. The twin of a prompt was not read where they had stopped it
    already; in shadow mode it was.
    """
    if not has_twin(made_by, recorded.record):
        return False
    return recorded.record.direction in ANSWERS or (made_by.enforce and recorded.record.would_action is Action.STOP)


def _weighing(rules: Rules) -> Rules:
    """Return what says how bad one verdict is."""
    return replace(rules, debounce=1, debounce_rule=DebounceRule.NON_SAFE)


def _was_asked_by_rules(recorded: Recorded, policy: Policy, made_by: Policy) -> bool:
    """Whether a second model, if there was one, was or was not asked because of rules that are others now.

    Of an answer it is not asked for a while where it has said Safe; of a prompt not at all where the first one is sure
    of harm that stops it, whatever that one doubts beside.
    """
    positions, doubts = recorded.positions, made_by.cascade
    if recorded.record.direction in ANSWERS:
        safe = RiskLevel.SAFE.rank
        before, after = (levels(one.response, positions) == safe for one in (made_by, policy))
        return doubts.grace_tokens > 0 and bool(np.any(before != after))
    if _weighing(made_by.prompt) == _weighing(policy.prompt):
        return False
    verdicts = [positions.verdict(i) for i in range(len(positions))]
    was_stopped = any(doubts.is_sure_of_harm(v) and made_by.prompt.action(v) is Action.STOP for v in verdicts)
    return was_stopped and any(map(doubts.doubts, verdicts))


def _limits_of_answers(recorded: Recorded, policy: Policy, made_by: Policy | None) -> list[str]:
    record, found = recorded.record, []
    was_too_long = record.failure is not None and record.failure.kind == ContextOverflow.__name__
    if (record.n_windows > 1 and policy.too_long is TooLong.STOP) or (
        was_too_long and policy.too_long is TooLong.SLIDE
    ):
        found.append("too_long")
    if record.reason is Reason.HELD or _may_hold(recorded, policy, made_by):
        found.append("max_held_chars")
    is_repaired_again = policy.on_stop is OnStop.REPAIR and record.action is Action.STOP
    if record.n_repairs or (is_repaired_again and made_by is not None and made_by.on_stop is not OnStop.REPAIR):
        found.append("repair")
    return found


def _may_hold(recorded: Recorded, policy: Policy, made_by: Policy | None) -> bool:
    """Whether an endless word may have been held that the policy of the record did not mind."""
    bound, old = policy.max_held_chars, made_by.max_held_chars if made_by else None
    return made_by is not None and bound is not None and recorded.n_chars > bound and (old is None or old > bound)
