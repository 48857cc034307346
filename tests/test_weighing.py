"""What a policy makes of a text before its first verdict."""

from dataclasses import replace

import pytest

from guardrail.actions import Action
from guardrail.decision import Direction, Reason
from guardrail.policy import Policy
from guardrail.tool_rules import ToolRule, ToolRules, Trust
from guardrail.weighing import gate_for

CALL = Direction.TOOL_CALL


def policy(call: Trust, unreadable: Action) -> Policy:
    return replace(Policy(), unreadable=unreadable, tools=ToolRules(names={"shell": ToolRule(call=call)}))


@pytest.mark.parametrize("call", Trust)
def test_parts_that_nobody_can_read_stop_a_call_whatever_its_tool(call: Trust) -> None:
    """Trust in a tool is no answer to what the policy stops."""
    gate = gate_for(policy(call, Action.STOP), CALL, "shell", ("image",))
    assert (gate.is_stopped, gate.reason) == (True, Reason.UNREADABLE)


@pytest.mark.parametrize(
    ("call", "unreadable", "would"),
    [
        (Trust.READ, (), Action.ALLOW),
        (Trust.READ, ("image",), Action.FLAG),
        (Trust.TRUSTED, (), Action.ALLOW),
        (Trust.TRUSTED, ("image",), Action.FLAG),
        (Trust.ASK, ("image",), Action.ASK),
    ],
)
def test_the_hardest_of_rule_and_parts_counts(call: Trust, unreadable: tuple[str, ...], would: Action) -> None:
    """And a trusted call is not read."""
    gate = gate_for(policy(call, Action.FLAG), CALL, "shell", unreadable)
    assert gate.would_action is would
    assert gate.is_settled is (call is Trust.TRUSTED)
