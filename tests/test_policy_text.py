"""Policies written as files: read again they are the same."""

import dataclasses

import pytest
from hypothesis import given

from guardrail.actions import Action
from guardrail.errors import PolicyError
from guardrail.policy import CategoryRule, Policy, Rules
from guardrail.policy_file import READY_POLICIES, load_policy, parse_policy
from guardrail.policy_text import render_policy
from tests.audit.policies import policies


@given(policies())
def test_a_written_policy_is_read_as_itself(policy: Policy) -> None:
    """Every setting, every override, tools in their order; the hash in records stays."""
    again = parse_policy(render_policy(policy))
    assert again == policy
    assert [*again.tools.names] == [*policy.tools.names]
    assert again.sha256 == policy.sha256


@pytest.mark.parametrize("name", READY_POLICIES)
def test_ready_policies_can_be_written(name: str) -> None:
    """They are what most calibrations start from."""
    assert parse_policy(render_policy(load_policy(name))) == load_policy(name)


def test_messages_and_categories_of_ones_own_stand_in_the_file() -> None:
    """Whatever characters they are made of."""
    policy = Policy(
        prompt=Rules(Action.FLAG, categories={'Recipes = ["x"]\n': CategoryRule(threshold=0.25)}),
        messages={
            "default": {"de-DE": 'Nein.\u0000\u007f"\\'},
            "Violent": {"en": "No 🙅"},
            "repair": {"en": "{category}"},
        },
    )
    assert parse_policy(render_policy(policy)) == policy


def test_a_comment_stands_on_top() -> None:
    """Each line behind a #, so that it can say anything."""
    text = render_policy(Policy(), 'made\nname = "evil"\n\nend')
    assert text.startswith('# made\n# name = "evil"\n#\n# end\n')
    assert parse_policy(text) == Policy()


@pytest.mark.parametrize(
    "policy",
    [
        dataclasses.replace(Policy(), name=""),
        dataclasses.replace(Policy(), name="\ud800"),
        Policy(prompt=Rules(categories={"violent": CategoryRule()})),
    ],
    ids=["no name", "half a character", "a spelling"],
)
def test_what_no_file_can_hold_is_refused(policy: Policy) -> None:
    """It would be read as another policy, or not at all."""
    with pytest.raises(PolicyError, match="no file can hold"):
        render_policy(policy)
