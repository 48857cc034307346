"""Agents inside agents, and tools that live in another process (MCP)."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from guardrail.records import MemorySink
from guardrail.tool_rules import ToolRule, ToolRules, Trust

SERVER = Path(__file__).with_name("mcp_server.py")
WAYS = ["invoke", "ainvoke", "stream", "astream", "events v2", "events v3", "async events v3"]

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


def helper_of(inner: Any) -> list[Any]:
    """Return a tool that asks another agent."""

    @tool
    def ask_helper(question: str) -> str:
        """Ask the helper."""
        state = inner.invoke({"messages": [HumanMessage(question)]})
        return str(state["messages"][-1].text)

    @tool
    async def aask_helper(question: str) -> str:
        """Ask the helper."""
        state = await inner.ainvoke({"messages": [HumanMessage(question)]})
        return str(state["messages"][-1].text)

    return [ask_helper, aask_helper]


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_with_a_guard_of_its_own_is_gated_inside_another(
    acts: Any, agent_of: Any, go: Any, caplog: Any, way: str
) -> None:
    """What the inner agent's model says at risk comes out nowhere: not in its own stream, not as the tool's result."""
    inner = agent_of(acts.say(f"I tell you: {acts.risky}"))
    name = "aask_helper" if way in {"ainvoke", "astream", "events v2", "async events v3"} else "ask_helper"
    outer = agent_of(acts.call(name, question="well?"), acts.say("Done."), tools=helper_of(inner.graph))
    heard = await acts.overheard(way, outer.graph, go, caplog)
    assert {outlet: found for outlet, value in heard.items() if (found := acts.shows(value))} == {}
    assert "I tell you:" in repr(heard["state"])


def test_the_answer_of_an_unguarded_agent_is_screened(acts: Any, agent_of: Any, go: Any) -> None:
    """It reaches neither the outer model nor the outer state."""
    inner = agent_of(acts.say(f"I tell you: {acts.risky}"), guarded=False)
    outer = agent_of(acts.call("ask_helper", question="well?"), acts.say("Done."), tools=helper_of(inner.graph))
    assert not acts.shows(outer.graph.invoke(go))
    assert not acts.shows(outer.model.asked)


def test_a_question_of_an_inner_agent_reaches_the_person(acts: Any, agent_of: Any, go: Any, make_guard: Any) -> None:
    """It interrupts the outer run, and the outer run takes the answer."""
    done: list[str] = []

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        done.append(str(amount))
        return "paid"

    asking = make_guard(tools=ToolRules(names={"pay": ToolRule(call=Trust.ASK)}))
    inner = agent_of(acts.call("pay", amount=7), acts.say("Paid."), tools=[pay], by=asking)
    outer = agent_of(
        acts.call("ask_helper", question="well?"),
        acts.say("Done."),
        tools=helper_of(inner.graph),
        checkpointer=InMemorySaver(),
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    (question,) = outer.graph.invoke(go, config)["__interrupt__"]
    assert question.value["action_requests"][0]["name"] == "pay"
    state = outer.graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    assert done == ["7"]
    assert [m.text for m in state["messages"] if isinstance(m, ToolMessage)] == ["Paid."]


@asynccontextmanager
async def served() -> Any:
    """Start the real server; yield its tools in the form of langchain-mcp-adapters."""
    from mcp import ClientSession, StdioServerParameters, stdio_client

    parameters = StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        (found,) = (await session.list_tools()).tools

        async def page(**arguments: Any) -> tuple[list[Any], Any]:
            result = await session.call_tool("page", arguments)
            return [{"type": "text", "text": str(getattr(part, "text", ""))} for part in result.content], result

        yield [
            StructuredTool(
                name="page",
                description=found.description or "",
                args_schema=dict(getattr(found, "input_schema", None) or getattr(found, "inputSchema", {})),
                coroutine=page,
                response_format="content_and_artifact",
            )
        ]


@pytest.fixture
def mcp_client() -> Any:
    """The client of langchain-mcp-adapters, where it can be imported."""
    module = pytest.importorskip(
        "langchain_mcp_adapters.client",
        reason="langchain-mcp-adapters 0.3 cannot be imported beside mcp 2",
        exc_type=ImportError,
    )
    return module.MultiServerMCPClient(
        {"pages": {"command": sys.executable, "args": [str(SERVER)], "transport": "stdio"}}
    )


async def check_pages(acts: Any, agent_of: Any, tools: list[Any], sink: MemorySink) -> None:
    """Run an agent that reads a good page, a bad one, and makes a risky call."""
    calls = [acts.call("page", name=name, id=f"c{i}") for i, name in enumerate(("good", "bad", acts.risky))]
    agent = agent_of(*calls, acts.say("Done."), tools=tools)
    state = await agent.graph.ainvoke({"messages": [HumanMessage("go")]})
    good, bad, refused = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert good.text == "This is the page good."
    assert good.artifact is not None
    assert "withheld" in bad.text
    assert bad.artifact is None
    assert "not run" in refused.text
    assert not acts.shows(state)
    assert {d.tool for d in sink.decisions if d.direction == "tool_result"} == {"page"}


@pytest.mark.slow
async def test_tools_of_a_real_mcp_server_are_guarded(acts: Any, agent_of: Any, sink: MemorySink) -> None:
    """A server over stdio and the official client: calls are judged, results are screened."""
    async with served() as tools:
        await check_pages(acts, agent_of, tools, sink)


@pytest.mark.slow
async def test_tools_of_langchain_mcp_adapters_are_guarded(
    acts: Any, agent_of: Any, sink: MemorySink, mcp_client: Any
) -> None:
    """The same through LangChain's own client."""
    await check_pages(acts, agent_of, await mcp_client.get_tools(), sink)
