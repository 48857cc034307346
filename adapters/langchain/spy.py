# ruff: noqa: ARG002 - names and parameters are the core's
"""The leak test's ears in LangChain and LangGraph: a scripted LLM, and a spy at every outlet of a chain or graph."""

import asyncio
import gc
import inspect
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from langchain_core._api import LangChainBetaWarning
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.schemas import Run as TracedRun

from guardrail.adapters.langchain.spy_calls import CHAIN_WAYS, GRAPH_WAYS, MODEL_WAYS, UNSEEN, Call, Way
from guardrail.ahead import TURNS
from guardrail.errors import ConfigurationError
from guardrail.leaktest import Canary, Drive, Run, Spy, eavesdrop, texts
from guardrail.leaktest.drive import Meter, Progress

Make = Callable[[BaseChatModel], Runnable[Any, Any]]
"""Puts the scripted LLM into the chain, agent or graph under test."""


class CanaryModel(BaseChatModel):
    """A chat model whose every answer is the canary, token by token. It accepts tools and calls none.

    Attributes:
        canary: what it answers.
        meter: counts the tokens of each answer.
    """

    canary: Canary
    meter: Meter

    def __init__(self, canary: Canary, **fields: Any) -> None:
        super().__init__(**{"meter": Meter(), **fields, "canary": canary})

    def __repr_args__(self) -> list[tuple[str, Any]]:
        """Show nothing: traces keep a model's repr, and its canary is no leak."""
        return []

    @property
    def _llm_type(self) -> str:
        return "canary"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Bind tools without effect."""
        return self.bind()

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for token in self.meter.tokens(self.canary):
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for token in self.meter.tokens(self.canary):
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))
            for _ in range(2 * TURNS):  # for a reader that takes all that is at hand, a token is not there at once
                await asyncio.sleep(0)

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        message = AIMessage("".join(self.meter.tokens(self.canary)))
        return ChatResult(generations=[ChatGeneration(message=message)])


class CallbackSpy(BaseCallbackHandler):
    """A callback handler that hears all it is told, each event as an outlet of its own."""

    run_inline = True

    def __init__(self, spy: Spy, part: str = "") -> None:
        self._spy, self._part = spy, part

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self._hear(f"callback {name}", (args, kwargs))
        return super().__getattribute__(name)

    def _hear(self, outlet: str, told: object) -> None:
        for path, text in texts(told, unseen=UNSEEN):
            self._spy.heard(outlet, text, self._part + path)


class TracerSpy(BaseTracer):
    """A tracer that hears every run it would store."""

    def __init__(self, spy: Spy, part: str = "") -> None:
        super().__init__()
        self._spy, self._part = spy, part
        spy.listen("tracer")

    def _persist_run(self, run: TracedRun) -> None:
        for path, text in texts(run, unseen=UNSEEN):
            self._spy.heard("tracer", text, self._part + path)


def making(target: Any) -> Make:
    """Return what puts the LLM into a target: a function does that itself, a Runnable is put behind the LLM.

    Raises:
        ConfigurationError: the target is neither.
    """
    if isinstance(target, Runnable):
        return lambda llm: llm | target
    if not callable(target):
        raise ConfigurationError(f"the target is a {type(target).__name__}", hint="it must be a function or a Runnable")
    make: Make = target
    return make


def runnable_drives(make: Make, canary: Canary, spy: Spy, *, given: Any = None) -> list[Drive]:
    """Return every way of calling a chain, agent or graph that the LLM's answer could come out of.

    A graph without a checkpointer gets one in memory: what a checkpointer would keep is an outlet too.

    Args:
        make: called once for each way with a fresh scripted LLM.
        canary: what this LLM answers.
        spy: hears results, streams, events, callbacks, traces, states, checkpoints, logs and exceptions.
        given: input of the target; by default the canary's prompt, for a graph as its first message.

    Raises:
        ConfigurationError: `make` returns something that is no Runnable.
    """
    probe = make(CanaryModel(canary))
    if not isinstance(probe, Runnable):
        raise ConfigurationError(
            f"the target made a {type(probe).__name__}",
            hint="a factory takes the LLM and returns a LangChain Runnable; a generator function takes and yields text",
        )
    if given is None:
        given = {"messages": [HumanMessage(canary.prompt)]} if _is_graph(probe) else canary.prompt
    return [Drive(name, partial(_run, make, canary, spy, given, name, way)) for name, way in _ways(probe).items()]


def _run(make: Make, canary: Canary, spy: Spy, given: Any, name: str, way: Way) -> Run:
    """Make a target and call it in one way."""
    llm = CanaryModel(canary)
    heard = Progress(spy, canary, llm.meter)
    with _collected_here(), eavesdrop(spy, name) as outcome, warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)  # v3 events are called on purpose
        call = Call(_with_checkpointer(make(llm)), given, _config(spy, name), name, heard)
        asyncio.run(_akept(way, call)) if inspect.iscoroutinefunction(way) else _kept(way, call)
    return Run(name, llm.meter.produced, heard.first_text_at, outcome.error)


@contextmanager
def _collected_here() -> Iterator[None]:
    """Collect garbage at the end, in this thread, and not before.

    LangGraph 1.2 forgets the generator of a sync v3 run that an event transformer has failed. A worker of that very run
    that happens to collect it waits for itself, for ever.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.enable()


def _ways(target: object) -> dict[str, Way]:
    return GRAPH_WAYS if _is_graph(target) else MODEL_WAYS if isinstance(target, BaseChatModel) else CHAIN_WAYS


def _is_graph(target: object) -> bool:
    """Whether a target is a LangGraph graph; what was made without LangGraph's being loaded is none."""
    pregel = sys.modules.get("langgraph.pregel")
    return pregel is not None and isinstance(target, pregel.Pregel)


def _with_checkpointer(target: Any) -> Any:
    if not _is_graph(target) or target.checkpointer:
        return target
    from langgraph.checkpoint.memory import InMemorySaver

    return target.copy({"checkpointer": InMemorySaver()})


def _config(spy: Spy, name: str) -> RunnableConfig:
    thread_id = f"leaktest-{uuid4()}"
    return {"callbacks": [CallbackSpy(spy, name), TracerSpy(spy, name)], "configurable": {"thread_id": thread_id}}


def _kept(way: Way, call: Call) -> None:
    """Call the target, then hear what a graph has kept, however the call ended."""
    try:
        way(call)
    finally:
        if _is_graph(call.target):
            call.hear("final state", call.target.get_state(call.config))
            call.hear("checkpointer", list(call.target.checkpointer.list(call.config)))


async def _akept(way: Way, call: Call) -> None:
    try:
        await way(call)
    finally:
        if _is_graph(call.target):
            call.hear("final state", await call.target.aget_state(call.config))
            call.hear("checkpointer", [kept async for kept in call.target.checkpointer.alist(call.config)])
