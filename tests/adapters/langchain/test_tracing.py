"""trace_inner: the LLM's own call is a child run with everything but its text."""

from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langgraph.graph import END, START, MessagesState, StateGraph

from guardrail import OnStop
from guardrail.adapters.langchain import GuardedChatModel

WAYS = ["stream", "astream", "invoke", "ainvoke", "astream_events"]
USAGE: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


class Trace(BaseTracer):
    """Keeps every finished run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        """Nothing to do at the root's end."""

    def _end_trace(self, run: Run) -> None:
        self.runs.append(run)
        super()._end_trace(run)


async def ask(model: Any, way: str, config: Any) -> None:
    """Ask in one of the ways, and read to the end."""
    if way == "stream":
        list(model.stream("How?", config))
    elif way == "invoke":
        model.invoke("How?", config)
    elif way == "ainvoke":
        await model.ainvoke("How?", config)
    elif way == "astream":
        _ = [chunk async for chunk in model.astream("How?", config)]
    else:
        _ = [event async for event in model.astream_events("How?", config, version="v2")]


def told(samples: Any, text: str) -> list[AIMessageChunk]:
    """Return an answer that ends with usage and a finish reason."""
    last = AIMessageChunk(content="", usage_metadata=USAGE, response_metadata={"finish_reason": "stop"})
    return [*samples.cut(text, 3), last]


@pytest.mark.parametrize("kind", ["both", "sync", "whole"])
@pytest.mark.parametrize("way", WAYS)
async def test_the_inner_call_is_a_child_run_without_text(
    guard: Any, script: Any, samples: Any, way: str, kind: str
) -> None:
    """It has the model's name, parameters, usage, finish reason and times; the guarded run is its parent."""
    trace = Trace()
    inner = script(chunks=told(samples, samples.safe), kind=samples.kinds[kind])
    await ask(GuardedChatModel(inner, guard, trace_inner=True), way, {"callbacks": [trace], "metadata": {"who": "me"}})
    child, parent = trace.runs
    assert child.parent_run_id == parent.id
    assert child.name == type(inner).__name__
    assert child.extra["invocation_params"]["model_name"] == "scripted-1"
    assert child.metadata["who"] == "me"
    assert "nostream" in (child.tags or ())
    assert "How?" in repr(child.inputs)
    assert child.end_time
    assert child.end_time >= child.start_time
    assert child.outputs
    message = child.outputs["generations"][0][0]["message"]["kwargs"]
    assert message["content"] == ""
    assert message["usage_metadata"] == USAGE
    assert message["response_metadata"]["finish_reason"] == "stop"
    assert "flour" not in repr(child.outputs)
    assert "flour" in repr(parent.outputs)


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_ends_the_inner_run_well(guard: Any, script: Any, samples: Any, way: str) -> None:
    """A stopped LLM is no error; no outlet of either run shows what was withheld."""
    trace = Trace()
    model = GuardedChatModel(script(chunks=told(samples, samples.answer)), guard, trace_inner=True)
    await ask(model, way, {"callbacks": [trace]})
    assert [run.error for run in trace.runs] == [None, None]
    seen = "".join(run.model_dump_json() for run in trace.runs)
    assert samples.secret not in seen
    assert "\\u2620" not in seen


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
async def test_each_attempt_has_a_run(make_guard: Any, script: Any, samples: Any, way: str) -> None:
    """A repaired answer shows how often the LLM was asked."""
    trace = Trace()
    inner = script(samples.answer, later=[samples.cut(samples.safe, 3)])
    model = GuardedChatModel(inner, make_guard(on_stop=OnStop.REPAIR), trace_inner=True)
    await ask(model, way, {"callbacks": [trace]})
    parent = trace.runs[-1]
    assert [run.parent_run_id for run in trace.runs] == [parent.id, parent.id, None]


@pytest.mark.parametrize("way", ["stream", "astream", "invoke", "ainvoke"])
async def test_an_llm_that_dies_is_an_error_in_the_trace(guard: Any, script: Any, way: str) -> None:
    """Both runs end with the LLM's exception."""
    trace = Trace()
    model = GuardedChatModel(script("Well", error=ConnectionError("upstream")), guard, trace_inner=True)
    with pytest.raises(ConnectionError):
        await ask(model, way, {"callbacks": [trace]})
    assert [str(run.error).startswith("ConnectionError") for run in trace.runs] == [True, True]


async def test_the_run_stands_inside_a_chain_and_a_batch(guard: Any, script: Any, samples: Any) -> None:
    """Each call of a batch inside a chain has its own child."""
    trace = Trace()
    chain: Any = RunnableLambda(lambda text: text) | GuardedChatModel(script(samples.safe), guard, trace_inner=True)
    await chain.abatch(["a", "b", "c"], {"callbacks": [trace]})
    children = [run for run in trace.runs if "nostream" in (run.tags or ())]
    parents = {run.id: run for run in trace.runs}
    assert len({run.parent_run_id for run in children}) == 3
    assert {parents[run.parent_run_id].name for run in children if run.parent_run_id} == {"GuardedChatModel"}


async def test_langgraph_streams_nothing_of_it(guard: Any, script: Any, samples: Any) -> None:
    """stream_mode "messages" shows the guarded answer once and no empty message of the inner run."""
    model = GuardedChatModel(script(samples.safe), guard, trace_inner=True)
    graph = StateGraph(MessagesState)
    graph.add_node("llm", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "llm")
    graph.add_edge("llm", END)
    trace = Trace()
    pieces: list[Any] = list(
        graph.compile().stream({"messages": [HumanMessage("Q")]}, {"callbacks": [trace]}, stream_mode="messages")
    )
    assert "".join(message.text for message, _ in pieces) == samples.safe
    assert len({message.id for message, _ in pieces}) == 1
    assert [run.name for run in trace.runs if "nostream" in (run.tags or ())] == ["Streaming"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_event_streams_v3_of_the_bare_model(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """They are traced too, and belong to the conversation that their metadata names."""
    trace = Trace()
    model = GuardedChatModel(script(samples.safe), guard, trace_inner=True)
    config: Any = {"callbacks": [trace], "metadata": {"thread_id": "t"}}
    assert list(model.stream_events("Q", config, version="v3"))
    stream = await model.astream_events("Q", config, version="v3")
    assert (await stream.output).text == samples.safe
    assert [run.name for run in trace.runs if "nostream" in (run.tags or ())] == ["Streaming"] * 2
    assert {d.conversation_id for d in sink.decisions} == {"t"}


def test_without_listeners_nothing_is_traced(guard: Any, script: Any, samples: Any) -> None:
    """It costs nothing, and answers as ever."""
    assert GuardedChatModel(script(samples.safe), guard, trace_inner=True).invoke("Q").text == samples.safe
