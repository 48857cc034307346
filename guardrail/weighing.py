"""What a policy makes of verdicts, without a model: of a prompt's all at once, of an answer's through a gate. Guards
decide by these functions, and so does replay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardrail.actions import Action
from guardrail.decision import Direction, Failure, Reason
from guardrail.errors import ContextOverflow
from guardrail.gate import Gate
from guardrail.policy import Policy, ReleaseMode, Rules
from guardrail.taxonomy import RiskLevel
from guardrail.tool_rules import Trust
from guardrail.verdict import Verdict


def rules_for(policy: Policy, direction: Direction) -> Rules:
    """Return what a policy says of a direction."""
    if direction is Direction.TOOL_CALL:
        return policy.call_rules()
    return policy.response if direction is Direction.RESPONSE else policy.prompt


def trust_for(policy: Policy, direction: Direction, tool: str | None) -> Trust:
    """Return how a policy's rule for a tool treats what is judged; what is no tool's is read."""
    rule = policy.tools.rule(tool or "")
    return {Direction.TOOL_CALL: rule.call, Direction.TOOL_RESULT: rule.result}.get(direction, Trust.READ)


def applied(policy: Policy, would_action: Action) -> Action:
    """Return what is done when the rules ask for `would_action`: shadow mode marks where it would have stopped."""
    return would_action if policy.enforce else min(would_action, Action.FLAG, key=lambda action: action.rank)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a policy makes of a prompt.

    Attributes:
        would: what its rules ask for.
        reason: why.
        verdict: the decisive one; None when nothing could be judged.
        risk: its level under the policy's thresholds.
        category: kind of harm; None when the risk is Safe.
    """

    would: Action
    reason: Reason
    verdict: Verdict | None
    risk: RiskLevel | None
    category: str | None


def weigh(
    policy: Policy,
    direction: Direction,
    verdicts: Sequence[Verdict],
    unreadable: Sequence[str] = (),
    failure: Failure | None = None,
) -> Weighed:
    """Return what a policy makes of a prompt, a tool result or a document.

    Args:
        policy: decides.
        direction: what is judged.
        verdicts: one a reading.
        unreadable: kinds of parts that could not be read.
        failure: what failed, if anything did.
    """
    rules = rules_for(policy, direction)
    verdict = max(
        verdicts, key=lambda v: (rules.action(v).rank, rules.level(v).rank, v.non_safe_probability), default=None
    )
    would, reason = _cause(policy, rules, verdict, unreadable, failure)
    level = rules.level(verdict) if verdict else None
    category = verdict.top_category if verdict and level and level.rank else None
    return Weighed(would, reason, verdict, level, category)


def _cause(
    policy: Policy, rules: Rules, verdict: Verdict | None, unreadable: Sequence[str], failure: Failure | None
) -> tuple[Action, Reason]:
    """Return the hardest action that is asked for, and why; a failure that asks for as much comes first."""
    causes = [(Action.ALLOW, Reason.CLEAR if verdict else Reason.RULE)]
    if failure:
        causes.append((policy.on_failure, Reason.FAILURE))
    if verdict and rules.action(verdict).rank:
        causes.append((rules.action(verdict), Reason.VERDICT))
    if unreadable:
        causes.append((policy.unreadable, Reason.UNREADABLE))
    would, reason = max(causes, key=lambda cause: cause[0].rank)
    return would, Reason.FAILURE if failure and would is policy.on_failure else reason


def gate_for(policy: Policy, direction: Direction, tool: str | None = None, unreadable: Sequence[str] = ()) -> Gate:
    """Return the gate of an answer or a tool call before its first character: what the policy says of the tool, and of
    parts that cannot be read, is done already.
    """
    gate = Gate(gate_policy(policy, direction), rules_for(policy, direction))
    if unreadable and policy.unreadable is Action.STOP:  # before trust, which would leave nothing to stop
        gate.fail(Reason.UNREADABLE, None, Action.STOP)
        return gate
    trust = trust_for(policy, direction, tool)
    if trust is Trust.TRUSTED:
        gate.open(Reason.RULE)
    elif trust is Trust.ASK:
        gate.mark(Reason.RULE, Action.ASK)
    if unreadable and policy.unreadable is not Action.ALLOW:
        gate.mark(Reason.UNREADABLE, policy.unreadable)
    return gate


def gate_policy(policy: Policy, direction: Direction) -> Policy:
    """Return the policy as a gate takes it: a tool call leaves as a whole, or not at all."""
    return replace(policy, release=ReleaseMode.ANSWER) if direction is Direction.TOOL_CALL else policy


def fail_gate(gate: Gate, policy: Policy, failure: Failure) -> str:
    """Do with a gate what the policy says of failures; return what that lets out. A text beyond the model's context is
    stopped whatever it says.
    """
    if failure.kind == ContextOverflow.__name__:
        return gate.fail(Reason.TOO_LONG, failure, Action.STOP)
    return gate.fail(Reason.FAILURE, failure, policy.on_failure)
