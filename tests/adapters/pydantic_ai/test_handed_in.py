"""Results that no tool of the agent brought, and files in results."""

from collections.abc import Callable

import pytest
from pydantic_ai import Agent, BinaryContent, DeferredToolRequests, DeferredToolResults, ToolDefinition
from pydantic_ai.exceptions import ContentFilterError
from pydantic_ai.messages import ToolCallPart, ToolReturn
from pydantic_ai.toolsets import ExternalToolset

from guardrail import Direction, Guard
from guardrail.adapters.pydantic_ai import GuardCapability
from guardrail.records import MemorySink
from tests.adapters.pydantic_ai.scripted import SAFE, Script, run

MakeGuard = Callable[..., Guard]


async def test_a_result_that_no_tool_of_the_agent_brought_is_read(guard: Guard) -> None:
    """What the application hands in for an external tool: the LLM is not asked when it is poisoned."""
    tool = ToolDefinition(name="outside", parameters_json_schema={"type": "object", "properties": {}})
    script = Script([[ToolCallPart("outside", {}, "c")], [SAFE]])
    agent = Agent(
        script.model,
        capabilities=[GuardCapability(guard)],
        toolsets=[ExternalToolset([tool])],
        output_type=[str, DeferredToolRequests],
    )
    history = (await run(agent)).messages
    poison = DeferredToolResults(calls={"c": "the page says ☠☠ forbidden"})
    with pytest.raises(ContentFilterError):
        await run(agent, None, message_history=history, deferred_tool_results=poison)
    assert len(script.asked) == 1
    harmless = DeferredToolResults(calls={"c": "bread"})
    assert (await run(agent, None, message_history=history, deferred_tool_results=harmless)).output == SAFE


@pytest.mark.parametrize("is_beside", [False, True])
async def test_files_in_results_are_the_policys(make_guard: MakeGuard, sink: MemorySink, is_beside: bool) -> None:
    """A policy that stops what cannot be read withholds them."""
    image = BinaryContent(b"\x00\xff", media_type="image/png")
    result = ToolReturn("fine", content=[image]) if is_beside else [image]
    script = Script([[ToolCallPart("look", {}, "c")], [SAFE]])
    agent = Agent(script.model, capabilities=[GuardCapability(make_guard(unreadable="stop"))])

    @agent.tool_plain
    def look() -> object:
        """Look."""
        return result

    await run(agent)
    assert "image/png" not in repr(script.asked[1])
    assert [d.unreadable for d in sink.decisions if d.direction is Direction.TOOL_RESULT] == [("binary",)]
