"""Structured output of a guarded agent: it works, and what was stopped is never taken for a structure."""

from typing import Any

import pytest
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.messages import ToolMessage
from pydantic import BaseModel

from guardrail import Action, Guard, Policy
from guardrail.testing import MarkerEngine
from guardrail.tool_rules import ToolRules


class Recipe(BaseModel):
    """A recipe."""

    name: str = "unnamed"
    minutes: int = 0


GOOD = '{"name": "bread", "minutes": 90}'
FORMATS = {"tool": ToolStrategy(Recipe), "provider": ProviderStrategy(Recipe)}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", ["tool", "provider"])
async def test_structured_output_passes(acts: Any, agent_of: Any, go: Any, kind: str, way: str) -> None:
    """Both strategies give the structure, through a call or through text."""
    turn = acts.call("Recipe", name="bread", minutes=90) if kind == "tool" else acts.say(GOOD)
    agent = agent_of(turn, response_format=FORMATS[kind])
    state = agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)
    assert state["structured_response"] == Recipe(name="bread", minutes=90)


def test_auto_detection_sees_through_the_guard(acts: Any, agent_of: Any, go: Any) -> None:
    """A model whose profile knows structured output gets the provider's strategy, guarded too."""
    model = acts.model(turns=[acts.say(GOOD)], profile={"structured_output": True})
    assert agent_of(model=model, response_format=Recipe).graph.invoke(go)["structured_response"].name == "bread"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("action", [Action.STOP, Action.ASK])
async def test_a_refused_call_is_no_structure(
    acts: Any, agent_of: Any, go: Any, tokenizer: Any, action: Action, way: str
) -> None:
    """The schema would accept a call without arguments: the model is told of the refusal instead, and tries again."""
    engine = MarkerEngine(tokenizer, {"☠": ("Controversial", "Violent")})
    guard = Guard(engine, tokenizer, policy=Policy(tools=ToolRules(controversial=action)))
    script = [acts.call("Recipe", name=acts.risky, id="1"), acts.call("Recipe", name="bread", id="2")]
    agent = agent_of(*script, response_format=FORMATS["tool"], by=guard)
    state = agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)
    assert state["structured_response"] == Recipe(name="bread")
    told = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert [m.content == guard.policy.call_message("Violent") for m in told] == [True, False]
    assert not acts.shows(state)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", ["tool", "provider"])
async def test_a_stopped_answer_ends_the_run(acts: Any, agent_of: Any, go: Any, kind: str, way: str) -> None:
    """An answer that was stopped has no structure; the agent neither fails nor asks the model again."""
    agent = agent_of(acts.say(f'{{"name": "{acts.risky}"}}'), response_format=FORMATS[kind])
    state = agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)
    assert state["messages"][-1].response_metadata["finish_reason"] == "content_filter"
    assert state.get("structured_response") is None
    assert len(agent.model.asked) == 1


def test_a_stopped_turn_ends_the_run_of_an_agent_with_structure(acts: Any, agent_of: Any) -> None:
    """The refusal is the end, though the agent still lacks its structure."""
    agent = agent_of(acts.say("never"), response_format=FORMATS["tool"])
    state = agent.graph.invoke({"messages": [("user", "Tell me ☠")]})
    assert state["messages"][-1].response_metadata["guardrail"]["direction"] == "prompt"
    assert agent.model.asked == []


def test_a_wrong_structure_is_the_agents_own_error(acts: Any, agent_of: Any, go: Any) -> None:
    """Text that nobody stopped and that is no JSON fails as without a guard."""
    agent = agent_of(acts.say("no JSON"), response_format=FORMATS["provider"])
    with pytest.raises(StructuredOutputValidationError):
        agent.graph.invoke(go)
