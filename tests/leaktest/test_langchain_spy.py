# ruff: noqa: ARG002 - signatures are the framework's
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, RemoveMessage
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph

from guardrail import Guard
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.adapters.langchain.spy import CanaryModel, making, runnable_drives
from guardrail.errors import ConfigurationError
from guardrail.leaktest import CANARIES, Canary, Drive, Report, Spy

Reporting = Callable[[Iterable[Drive]], Report]
RAW = CANARIES["word"].text


class State(MessagesState):
    """A conversation, and a field beside it."""

    draft: str


def leaking(report: Report) -> set[str]:
    """Names of the outlets that leak."""
    return {outlet.name for outlet in report.outlets if outlet.leaks}


def blocked(_value: object) -> AIMessage:
    """The answer of every target here that leaks beside its answer."""
    return AIMessage("blocked")


@tool
def note(text: str) -> str:
    """Take a note."""
    return "noted"


def gate(chunks: Iterator[Any]) -> Iterator[Any]:
    """Pass chunks on until the marker begins."""
    for chunk in chunks:
        if "murder" in chunk.text:
            return
        yield chunk


async def agate(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """As `gate`."""
    async for chunk in chunks:
        if "murder" in chunk.text:
            return
        yield chunk


GATE: Runnable[Any, Any] = RunnableGenerator(gate, agate)


def chain(act: Callable[[], object]) -> Callable[[BaseChatModel], Runnable[Any, Any]]:
    """A chain that asks the LLM behind everybody's back, leaks in one way and answers "blocked"."""

    def make(llm: BaseChatModel) -> Runnable[Any, Any]:
        def step(question: str) -> AIMessage:
            list(llm.stream(question, {"callbacks": []}))
            act()
            return blocked(question)

        return RunnableLambda(step)

    return make


def log() -> None:
    """Log the answer."""
    logging.getLogger("app").warning("stopped: %s", RAW)


def fail() -> None:
    """Raise the answer."""
    raise ValueError(RAW)


CHAINS: dict[str, tuple[Callable[[BaseChatModel], Runnable[Any, Any]], set[str]]] = {
    "bare": (
        lambda llm: llm,
        {"invoke", "stream", "astream_events v2", "stream_events v3", "tracer"}
        | {f"callback on_{name}" for name in ("llm_new_token", "llm_end", "stream_event")},
    ),
    "gated behind the LLM": (
        lambda llm: llm | GATE,
        {"astream_events v2", "tracer", "callback on_llm_new_token", "callback on_llm_end", "callback on_chain_end"},
    ),
    "logs": (chain(log), {"log records"}),
    "raises": (chain(fail), {"exceptions", "callback on_chain_error", "tracer"}),
    "custom event": (
        chain(lambda: dispatch_custom_event("draft", {"text": RAW})),
        {"callback on_custom_event", "astream_events v2"},
    ),
    "tool": (
        chain(lambda: note.invoke({"text": RAW})),
        {"callback on_tool_start", "astream_events v2", "tracer"},
    ),
    "nested chain": (
        chain(lambda: RunnableLambda(blocked).invoke(RAW)),
        {"callback on_chain_start", "astream_events v2", "tracer"},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_leak_of_a_chain_is_found_where_it_is_and_nowhere_else(
    name: str, canary: Canary, spy: Spy, report: Reporting
) -> None:
    """Exactly the outlets through which the target lets the canary out are reported."""
    make, outlets = CHAINS[name]
    assert leaking(report(runnable_drives(make, canary, spy))) == outlets


def graph(*nodes: Callable[[BaseChatModel, Any], dict[str, Any]]) -> Callable[[BaseChatModel], Runnable[Any, Any]]:
    """A graph of nodes that follow each other; the LLM is asked out of sight."""

    def make(llm: BaseChatModel) -> Runnable[Any, Any]:
        builder = StateGraph(State)
        names = [f"node{number}" for number in range(len(nodes))]
        for name, node in zip(names, nodes, strict=True):
            builder.add_node(name, lambda state, node=node: node(llm, state))
        for start, end in zip([START, *names], [*names, END], strict=True):
            builder.add_edge(start, end)
        return builder.compile()

    return make


def ask(llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Ask the LLM unheard, and say nothing."""
    list(llm.stream("?", {"callbacks": []}))
    return {"messages": [blocked(None)]}


def write(_llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Write to the custom stream."""
    get_stream_writer()({"draft": RAW})
    return {}


def draft(_llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Put the answer into a field beside the messages."""
    return {"draft": RAW}


def erase(_llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Clear that field."""
    return {"draft": ""}


def say(_llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Answer with the canary."""
    return {"messages": [AIMessage(RAW, id="answer")]}


def unsay(_llm: BaseChatModel, _state: Any) -> dict[str, Any]:
    """Take it back."""
    return {"messages": [RemoveMessage(id="answer")]}


NODES = {"callback on_chain_end", "tracer", "astream_events v2", "stream_events v3"}
"""Every node's output is seen there."""
STREAMS = {"stream_mode=values", "stream_mode=updates", "checkpointer"}

GRAPHS: dict[str, tuple[Callable[[BaseChatModel], Runnable[Any, Any]], set[str], set[str]]] = {
    "custom stream": (graph(ask, write), {"stream_mode=custom"}, {"stream_mode=values", "checkpointer", "final state"}),
    "field": (graph(ask, draft), {*NODES, *STREAMS, "final state", "invoke"}, {"stream_mode=custom"}),
    "field, cleared": (graph(ask, draft, erase), {*NODES, *STREAMS}, {"final state", "invoke", "v3 run.output"}),
    "message, taken back": (
        graph(ask, say, unsay),
        {*NODES, *STREAMS, "stream_mode=messages"},
        {"final state", "invoke", "v3 run.output"},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_leak_of_a_graph_is_found_in_its_streams_states_and_checkpoints(
    name: str, canary: Canary, spy: Spy, report: Reporting
) -> None:
    """Outlets that let the canary out are reported, those that are clean are not."""
    make, leaky, clean = GRAPHS[name]
    found = report(runnable_drives(make, canary, spy))
    assert leaky <= leaking(found)
    assert not clean & leaking(found)


class After(AgentMiddleware):
    """The usual output guard of an agent: it looks when the model has finished."""

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        return {"messages": [AIMessage("[blocked]", id=state["messages"][-1].id)]}


def test_an_agent_guarded_after_the_model_leaks_while_it_streams(canary: Canary, spy: Spy, report: Reporting) -> None:
    """Tokens have left through streams, events, callbacks and checkpoints before the hook runs; the end is clean."""
    found = report(runnable_drives(lambda llm: create_agent(llm, [], middleware=[After()]), canary, spy))
    assert {"stream_mode=messages", "v3 run.messages", "callback on_llm_new_token", "checkpointer"} <= leaking(found)
    assert not {"final state", "invoke"} & leaking(found)
    assert all(run.n_saved(canary) == 0 for run in found.runs)


@pytest.mark.parametrize("kind", ["agent", "chain"])
def test_a_gated_model_leaks_nowhere_and_stops_the_llm(
    kind: str, guard: Guard, canary: Canary, spy: Spy, report: Reporting, shown: int
) -> None:
    """No outlet lets a withheld character out, all the clean text comes, and streams close the LLM behind the stop."""
    step = GuardRunnable(guard)
    targets = {
        "agent": lambda llm: create_agent(GuardedChatModel(llm, guard), []),
        "chain": lambda llm: step | llm | step,
    }
    found = report(runnable_drives(targets[kind], canary, spy))
    assert leaking(found) == set()
    assert {outlet.clean_chars for outlet in found.outlets if outlet.name in ("invoke", "tracer")} == {shown}
    for run in found.runs:
        assert run.error is None
        assert run.was_tried
        assert "invoke" in run.name or run.n_after_marker(canary) <= 4


def test_a_checkpointer_of_the_targets_own_is_kept(canary: Canary, spy: Spy, report: Reporting) -> None:
    """What it holds is looked at; it is not replaced by ours."""
    saver = InMemorySaver()
    report(runnable_drives(lambda llm: create_agent(llm, [], checkpointer=saver), canary, spy))
    assert list(saver.list(None))


def test_a_runnable_is_put_behind_the_llm(canary: Canary, spy: Spy, report: Reporting) -> None:
    """A target that is no function is a step of a chain."""
    found = report(runnable_drives(making(GATE), canary, spy))
    assert "stream" not in leaking(found)
    assert found.proves


@pytest.mark.parametrize("target", ["text", str], ids=["no function", "makes text"])
def test_a_target_that_makes_no_runnable_is_refused(target: object, canary: Canary, spy: Spy) -> None:
    """The message says what a target is."""
    with pytest.raises(ConfigurationError, match="Runnable"):
        runnable_drives(making(target), canary, spy)


def test_the_scripted_llm_shows_its_canary_only_in_its_answer(canary: Canary) -> None:
    """Its repr, which traces keep, is empty; all its answers are the whole text."""
    llm = CanaryModel(canary)
    assert canary.text[:20] not in repr(llm)
    assert llm.invoke("?").text == "".join(chunk.text for chunk in llm.stream("?")) == canary.text
    assert llm.meter.produced == (len(canary.tokens),) * 2
