"""A guarded model inside a LangGraph graph: whatever comes out anywhere is searched for what was withheld."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from guardrail import OnStop
from guardrail.adapters.langchain import GuardedChatModel

SECRET = "forbidden"
RISKY = f"☠☠ First the {SECRET} part, then more of the {SECRET} part."
SHOWN = "Take flour and water."
MODES = ["messages", "values", "updates", "debug", "custom"]
WAYS = [(way, True) for way in ("invoke", *(f"stream {mode}" for mode in (*MODES, "all")), "events v2", "events v3")]
WAYS += [(way, False) for way, _ in WAYS if way != "events v2"]  # these exist only for async


def text() -> list[AIMessageChunk]:
    return [AIMessageChunk(content=SHOWN), *(AIMessageChunk(content=char) for char in RISKY)]


def reasoning() -> list[AIMessageChunk]:
    blocks = [{"type": "thinking", "thinking": one, "index": 0} for one in (SHOWN, *RISKY)]
    provider = {"model_provider": "anthropic"}
    return [AIMessageChunk(content=[one], response_metadata=provider) for one in blocks]


def blocks() -> list[AIMessageChunk]:
    pieces = [SHOWN, *RISKY]
    return [AIMessageChunk(content=[{"type": "text", "text": one, "index": 0}]) for one in pieces]


def calls() -> list[AIMessageChunk]:
    """Text, then a call whose arguments are risky, in two forms, with escapes."""
    escaped = RISKY.replace("☠", "\\u2620")
    found = [AIMessageChunk(content=SHOWN)]
    for i, args in enumerate(["", '{"text": "', *(escaped[i : i + 3] for i in range(0, len(escaped), 3)), '"}']):
        name, call_id = ("write", "c") if not i else (None, None)
        piece: Any = {"name": name, "args": args, "id": call_id, "index": 0, "type": "tool_call_chunk"}
        raw = {"index": 0, "id": call_id, "type": call_id and "function", "function": {"name": name, "arguments": args}}
        kwargs = {"tool_calls": [raw]}
        found.append(AIMessageChunk(content="", tool_call_chunks=[piece], additional_kwargs=kwargs))
    return found


def model_of(guard: Any, script: Any, make_guard: Any, what: str, kind: Any) -> GuardedChatModel:
    """Return the model under test: its LLM writes text, reasoning or a call, or is asked to repair."""
    if what == "repaired":
        inner = script(chunks=text(), later=[text(), [AIMessageChunk(content=" Bake it.")]], kind=kind)
        return GuardedChatModel(inner, make_guard(on_stop=OnStop.REPAIR), trace_inner=True)
    scripts = {"text": text, "reasoning": reasoning, "blocks": blocks, "calls": calls, "marked": calls}
    on_call: Any = "mark" if what == "marked" else "stop"
    return GuardedChatModel(script(chunks=scripts[what](), kind=kind), guard, on_call=on_call, trace_inner=True)


def graph_of(model: GuardedChatModel, saver: InMemorySaver, *, is_async: bool) -> Any:
    """Return a graph of one node that asks the model."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def aask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("llm", aask if is_async else ask)
    graph.add_edge(START, "llm")
    graph.add_edge("llm", END)
    return graph.compile(checkpointer=saver)


def out(graph: Any, given: Any, config: RunnableConfig, way: str) -> Iterator[Any]:
    """Yield what a graph gives out when it is asked in one of the ways."""
    if way == "invoke":
        yield graph.invoke(given, config)
    elif way.startswith("stream"):
        mode = MODES if way == "stream all" else way.split()[1]
        yield from graph.stream(given, config, stream_mode=mode, subgraphs=True)
    else:
        yield from graph.stream_events(given, config, version="v3")


async def aout(graph: Any, given: Any, config: RunnableConfig, way: str) -> Any:
    """As `out`."""
    if way == "invoke":
        yield await graph.ainvoke(given, config)
        return
    if way.startswith("stream"):
        mode = MODES if way == "stream all" else way.split()[1]
        pieces = graph.astream(given, config, stream_mode=mode, subgraphs=True)
    elif way == "events v2":
        pieces = graph.astream_events(given, config, version="v2")
    else:
        pieces = await graph.astream_events(given, config, version="v3")
    async for piece in pieces:
        yield piece


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize(("way", "is_async"), WAYS)
@pytest.mark.parametrize("what", ["text", "reasoning", "blocks", "calls", "marked", "repaired"])
async def test_no_outlet_of_a_graph_lets_withheld_text_out(
    guard: Any, make_guard: Any, script: Any, samples: Any, ear: Any, caplog: Any, what: str, way: str, is_async: bool
) -> None:
    """Output, callbacks, traces, logs, final state, history and checkpoints hold the shown text and nothing more."""
    caplog.set_level(logging.DEBUG)
    saver, tracer = InMemorySaver(), RunCollectorCallbackHandler()
    model = model_of(guard, script, make_guard, what, samples.kinds["both" if is_async else "sync"])
    graph = graph_of(model, saver, is_async=is_async)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}, "callbacks": [ear, tracer]}
    given = {"messages": [HumanMessage("How?")]}
    if is_async:
        seen = [repr(piece) async for piece in aout(graph, given, config, way)]
    else:
        seen = [repr(piece) for piece in out(graph, given, config, way)]
    kept: RunnableConfig = {"configurable": {"thread_id": "t"}}
    state = graph.get_state(kept)
    seen += [repr(state), repr(list(graph.get_state_history(kept))), repr(list(saver.list(kept))), caplog.text]
    seen += [*ear.heard, *(run.model_dump_json() for run in tracer.traced_runs)]
    assert not [one for one in seen if SECRET in one or "☠" in one or "u2620" in one]
    final = state.values["messages"][-1]
    assert SHOWN in repr(final)
    assert final.response_metadata["guardrail"]["action"] == ("allow" if what in ("marked", "repaired") else "stop")
    assert bool(final.tool_calls) == (what == "marked")
    assert ear.heard
    assert tracer.traced_runs


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_the_unguarded_model_would_be_seen(script: Any, ear: Any, is_async: bool) -> None:
    """The search finds what it looks for: the same graph around the bare model leaks everywhere."""
    saver = InMemorySaver()
    graph = graph_of(script(chunks=text()), saver, is_async=is_async)
    config: RunnableConfig = {"configurable": {"thread_id": "t"}, "callbacks": [ear]}
    given = {"messages": [HumanMessage("How?")]}
    if is_async:
        seen = [piece async for piece in aout(graph, given, config, "stream messages")]
    else:
        seen = list(out(graph, given, config, "stream messages"))
    assert "☠" in repr(seen)
    assert SECRET in repr(list(saver.list({"configurable": {"thread_id": "t"}})))
    assert any("☠" in one for one in ear.heard)
