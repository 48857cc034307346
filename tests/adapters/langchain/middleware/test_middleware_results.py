"""Tool results of an agent: screened before state, callbacks and model see them, whatever form they have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain.agents.middleware import AgentMiddleware, ToolErrorMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, ToolException, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command

from guardrail import Action
from guardrail.records import MemorySink
from guardrail.tool_rules import OnResult, ToolRule, ToolRules, Trust

RISKY = "☠☠ ♜♞♝"


@tool("text")
def plain() -> str:
    """Return text."""
    return f"found {RISKY}"


@tool("blocks")
def blocks() -> list[Any]:
    """Return content blocks."""
    return [{"type": "text", "text": "found"}, {"type": "text", "text": RISKY}]


@tool("nested")
def nested() -> list[Any]:
    """Return a document with its text inside a source."""
    return [{"type": "document", "source": {"type": "text", "data": RISKY}, "title": "A page"}]


@tool("caption")
def caption() -> list[Any]:
    """Return an image with a text beside it."""
    return [{"type": "image", "base64": "AAAA", "mime_type": "image/png", "extras": {"caption": RISKY}}]


@tool("artifact", response_format="content_and_artifact")
def artifact() -> tuple[str, Any]:
    """Return text with an artifact."""
    return f"found {RISKY}", {"raw": RISKY}


@tool("message")
def message(call_id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
    """Return a message."""
    return ToolMessage(f"found {RISKY}", tool_call_id=call_id, artifact=RISKY, additional_kwargs={"raw": RISKY})


@tool("command")
def command(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Return a command with several messages."""
    said = [ToolMessage(f"found {RISKY}", tool_call_id=call_id), AIMessage(f"I say {RISKY}"), HumanMessage(RISKY)]
    return Command(update={"messages": said})


@dataclass
class Said:
    """An update in the form of a state."""

    messages: list[Any]


@tool("typed")
def typed(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Return a command whose update is no dict."""
    return Command(update=Said([ToolMessage(f"found {RISKY}", name="typed", tool_call_id=call_id)]))


@tool("several")
def several(call_id: Annotated[str, InjectedToolCallId]) -> list[Any]:
    """Return a list of a command and a message."""
    return [Command(update={"messages": [HumanMessage(RISKY)]}), ToolMessage(RISKY, tool_call_id=call_id)]


@tool("keyed")
def keyed() -> list[Any]:
    """Return JSON in a block, with the text below a key that blocks have too."""
    return [{"type": "json", "json": {"type": "x", "detail": f"found {RISKY}"}}]


@tool("key")
def key() -> list[Any]:
    """Return JSON in a block whose key is the text."""
    return [{"type": "json", "json": {f"found {RISKY}": 1}}]


@tool("arguments")
def arguments(number: int) -> str:
    """Be called with the wrong type: the message of the failed validation is a result too."""
    return str(number)


@tool("failing")
def failing() -> str:
    """Fail in a way that the tool itself turns into a message."""
    raise ToolException(f"page says {RISKY}")


@tool("failing_too", response_format="content_and_artifact")
def failing_too() -> tuple[str, Any]:
    """Fail likewise, as tools of MCP servers do."""
    raise ToolException(f"page says {RISKY}")


failing.handle_tool_error = failing_too.handle_tool_error = True

FORMS: list[BaseTool] = [
    plain,
    blocks,
    nested,
    caption,
    artifact,
    message,
    command,
    typed,
    several,
    keyed,
    key,
    failing,
    failing_too,
]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_no_form_of_a_result_carries_risky_text(
    acts: Any, agent_of: Any, go: Any, guard: Any, form: BaseTool, way: str
) -> None:
    """Text, blocks, artifacts, messages, commands and handled errors are withheld; model and callbacks are told."""
    ear = acts.ear()
    agent = agent_of(acts.call(form.name), acts.say("Done."), tools=[form])
    config: Any = {"callbacks": [ear]}
    state = agent.graph.invoke(go, config) if way == "invoke" else await agent.graph.ainvoke(go, config)
    assert not acts.shows(state)
    assert not acts.shows(agent.model.asked)
    assert not acts.shows(ear.heard)
    told = next(m for m in state["messages"] if isinstance(m, ToolMessage))
    assert told.text == guard.policy.result_message("Violent")
    assert told.response_metadata["guardrail"]["direction"] == "tool_result"
    assert isinstance(told.content, list) is (form.name in {"blocks", "nested", "caption", "keyed", "key"})
    assert told.artifact is None


def test_a_harmless_result_is_unchanged(acts: Any, agent_of: Any, go: Any) -> None:
    """Content, artifact and name arrive as the tool gave them; the decision stands in the metadata."""

    @tool("both", response_format="content_and_artifact")
    def both() -> tuple[list[Any], Any]:
        """Return blocks and an artifact."""
        return [{"type": "text", "text": "bread"}, {"type": "image", "base64": "AAAA", "mime_type": "image/png"}], {
            "a": 1
        }

    state = agent_of(acts.call("both"), acts.say("Done."), tools=[both]).graph.invoke(go)
    told = state["messages"][2]
    assert told.content == [
        {"type": "text", "text": "bread"}, {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
    ]  # fmt: skip
    assert (told.artifact, told.name, told.status) == ({"a": 1}, "both", "success")
    assert told.response_metadata["guardrail"]["action"] == "flag"  # because of the image
    assert told.response_metadata["guardrail"]["unreadable"] == ["image"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_an_exception_passes_unchanged(acts: Any, agent_of: Any, go: Any, way: str) -> None:
    """A tool's exception reaches the caller as it is: it is the application's, not the model's."""

    @tool("broken")
    def broken_tool() -> str:
        """Break."""
        raise ConnectionError("no route")

    agent = agent_of(acts.call("broken"), tools=[broken_tool])
    with pytest.raises(ConnectionError, match="no route"):
        agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_message_made_of_an_exception_is_screened(acts: Any, agent_of: Any, go: Any, way: str) -> None:
    """Middleware outside of the guard that answers for a tool does not reach the model unread, now or later."""

    @tool("broken")
    def broken_tool() -> str:
        """Break with what a page said."""
        raise ConnectionError(f"page says {RISKY}")

    errors = ToolErrorMiddleware(lambda _request, error: str(error))
    script = [acts.call("broken", id="1"), acts.call("broken", id="2"), acts.say("Done.")]
    agent = agent_of(*script, tools=[broken_tool], middleware=[errors])
    state = agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)
    assert not acts.shows(agent.model.asked)
    assert not acts.shows(state)


def test_failed_validation_is_screened(acts: Any, agent_of: Any, go: Any, sink: MemorySink) -> None:
    """The message that a wrong argument gives goes the way of results."""
    agent_of(acts.call("arguments", number="x"), acts.say("Done."), tools=[arguments]).graph.invoke(go)
    assert [d.tool for d in sink.decisions if d.direction == "tool_result"] == ["arguments"]


def test_an_extract_keeps_the_harmless_passages(acts: Any, agent_of: Any, go: Any, make_guard: Any) -> None:
    """With `on_result = "extract"` the model reads what is left, with the withheld passages marked."""

    @tool("page")
    def page() -> str:
        """Return three lines."""
        return f"Flour is cheap.\nNow do {RISKY}.\nYeast is alive."

    guard = make_guard(tools=ToolRules(on_result=OnResult.EXTRACT))
    state = agent_of(acts.call("page"), acts.say("Done."), tools=[page], by=guard).graph.invoke(go)
    told = state["messages"][2]
    assert "Flour is cheap." in told.text
    assert "Yeast is alive." in told.text
    assert not acts.shows(state)


def test_a_trusted_result_passes_unread(acts: Any, agent_of: Any, go: Any, make_guard: Any) -> None:
    """The policy's rule for a tool's results counts."""
    guard = make_guard(tools=ToolRules(names={"text": ToolRule(result=Trust.TRUSTED)}))
    state = agent_of(acts.call("text"), acts.say("Done."), tools=[plain], by=guard).graph.invoke(go)
    assert state["messages"][2].text == f"found {RISKY}"


@pytest.mark.parametrize("action", [Action.FLAG, Action.STOP])
def test_what_cannot_be_read_follows_the_policy(
    acts: Any, agent_of: Any, go: Any, make_guard: Any, sink: MemorySink, action: Action
) -> None:
    """An image in a result is passed and recorded as unread, or withheld."""

    @tool("photo")
    def photo() -> list[Any]:
        """Return an image."""
        return [{"type": "image", "base64": "AAAA", "mime_type": "image/png"}]

    guard = make_guard(unreadable=action)
    state = agent_of(acts.call("photo"), acts.say("Done."), tools=[photo], by=guard).graph.invoke(go)
    assert ("AAAA" in repr(state["messages"][2].content)) is (action is Action.FLAG)
    assert [d.action for d in sink.decisions if d.unreadable] == [action]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_tools_keep_what_is_injected(acts: Any, agent_of: Any, go: Any, way: str) -> None:
    """State, runtime, configuration and the call's id still reach a tool, of either kind."""
    seen: dict[str, Any] = {}

    class Injected(BaseTool):
        name: str = "own"
        description: str = "A tool with code of its own."

        def _run(self, state: Annotated[dict[str, Any], InjectedState], runtime: ToolRuntime) -> str:
            seen["state"], seen["id"] = len(state["messages"]), runtime.tool_call_id
            return "ok"

    @tool("mine")
    async def mine(runtime: ToolRuntime) -> str:
        """Say the thread's id."""
        return str(runtime.config["configurable"]["thread_id"])

    @tool("theirs")
    def theirs(runtime: ToolRuntime) -> str:
        """Say the thread's id."""
        return str(runtime.config["configurable"]["thread_id"])

    last = "mine" if way == "ainvoke" else "theirs"
    agent = agent_of(acts.call("own", id="c7"), acts.call(last), acts.say("Done."), tools=[Injected(), mine, theirs])
    config: Any = {"configurable": {"thread_id": "t-9"}}
    state = agent.graph.invoke(go, config) if way == "invoke" else await agent.graph.ainvoke(go, config)
    assert seen == {"state": 2, "id": "c7"}
    assert [m.text for m in state["messages"] if isinstance(m, ToolMessage)] == ["ok", "t-9"]


def test_a_tool_that_other_middleware_adds_is_guarded(acts: Any, agent_of: Any, go: Any) -> None:
    """A tool registered at run time is judged and screened as any other."""

    class Adding(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            return handler(request.override(tools=[*request.tools, plain]))

        def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            return handler(request.override(tool=plain) if request.tool_call["name"] == "text" else request)

    agent = agent_of(acts.call("text"), acts.say("Done."), tools=[blocks], middleware=[Adding()])
    assert not acts.shows(agent.graph.invoke(go))
