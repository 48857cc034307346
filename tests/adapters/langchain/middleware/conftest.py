# ruff: noqa: ARG002 - scripted models have the signatures of the core
"""A scripted agent model, calls that stream in pieces, and every way of running an agent with ears at all outlets."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import Field

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.langchain.middleware import GuardMiddleware
from guardrail.errors import EngineError
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.counting import CountingEngine

RISKY = "☠☠ ♜♞♝"
"""The marker and what stands behind it: none of these characters occurs anywhere else."""

Turn = list[AIMessageChunk]
MODES = ["messages", "values", "updates", "custom", "tasks", "checkpoints", "debug", "tools"]


class AgentModel(BaseChatModel):
    """Answers with one turn of its script after the other; remembers what it was asked.

    Attributes:
        turns: its answers, in pieces.
        asked: conversations it was asked to continue.
    """

    turns: list[Turn] = Field(repr=False)  # traces show a model's repr
    asked: list[list[BaseMessage]] = Field(default_factory=list, repr=False)

    @property
    def _llm_type(self) -> str:
        return "agent-script"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(**{key: value for key, value in kwargs.items() if key == "stop"})

    def _next(self, messages: list[BaseMessage]) -> Turn:
        self.asked.append(messages)
        return self.turns[len(self.asked) - 1]

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._next(messages):
            yield ChatGenerationChunk(message=chunk.model_copy())

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._next(messages):
            yield ChatGenerationChunk(message=chunk.model_copy())

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        first, *rest = self._next(messages)
        whole = sum(rest, first)
        message = AIMessage(whole.content, tool_calls=whole.tool_calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Ear(BaseCallbackHandler):
    """Remembers all that callbacks are told."""

    run_inline = True

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: self.heard.append((name, args, kwargs))
        return super().__getattribute__(name)


def say(text: str, size: int = 3) -> Turn:
    """Return a turn that says a text in pieces."""
    return [AIMessageChunk(content=text[i : i + size]) for i in range(0, len(text), size)]


def call(name: str, /, *, size: int = 4, id: str = "", index: int = 0, **args: Any) -> Turn:  # noqa: A002
    """Return a turn that calls a tool, its arguments in pieces."""
    text = json.dumps(args, ensure_ascii=False)
    first = {"name": name, "args": "", "id": id or f"call-{name}-{index}", "index": index}
    rest = [{"name": None, "args": text[i : i + size], "id": None, "index": index} for i in range(0, len(text), size)]
    chunks: list[Any] = [first, *rest]
    return [AIMessageChunk(content="", tool_call_chunks=[chunk]) for chunk in chunks]


async def _invoke(agent: Any, given: Any, config: Any) -> Any:
    return agent.invoke(given, config)


async def _ainvoke(agent: Any, given: Any, config: Any) -> Any:
    return await agent.ainvoke(given, config)


async def _stream(agent: Any, given: Any, config: Any) -> Any:
    return list(agent.stream(given, config, stream_mode=MODES, subgraphs=True))


async def _astream(agent: Any, given: Any, config: Any) -> Any:
    return [item async for item in agent.astream(given, config, stream_mode=MODES, subgraphs=True)]


async def _events_v2(agent: Any, given: Any, config: Any) -> Any:
    return [event async for event in agent.astream_events(given, config, version="v2")]


async def _events_v3(agent: Any, given: Any, config: Any) -> Any:
    return list(agent.stream_events(given, config, version="v3"))


async def _aevents_v3(agent: Any, given: Any, config: Any) -> Any:
    return [event async for event in await agent.astream_events(given, config, version="v3")]


WAYS: dict[str, Callable[[Any, Any, Any], Awaitable[Any]]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
    "events v2": _events_v2,
    "events v3": _events_v3,
    "async events v3": _aevents_v3,
}


def shows(value: object, characters: str = RISKY) -> set[str]:
    """Return which characters stand in a value's text, plain, as bytes, or escaped as JSON does."""
    text = str(value) if isinstance(value, BaseException) else repr(value)
    forms = {char: (char, repr(char.encode())[2:-1], json.dumps(char)[1:-1]) for char in characters.strip()}
    return {char for char, found in forms.items() if char != " " and any(form in text for form in found)}


async def overheard(way: str, agent: Any, given: Any, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Run an agent one way; return what came out, by outlet."""
    ear, saver = Ear(), InMemorySaver()
    agent = agent.copy({"checkpointer": saver})
    config: Any = {"configurable": {"thread_id": "t"}, "callbacks": [ear]}
    with caplog.at_level(logging.DEBUG):
        result = await WAYS[way](agent, given, config)
    bare: Any = {"configurable": config["configurable"]}
    return {
        "result": result,
        "callbacks": ear.heard,
        "state": agent.get_state(bare),
        "checkpoints": list(saver.list(bare)),
        "raw checkpoints": (dict(saver.storage), dict(saver.writes), dict(saver.blobs)),
        "logs": caplog.text,
    }


@pytest.fixture
def acts() -> SimpleNamespace:
    """What tests are written with."""
    return SimpleNamespace(
        risky=RISKY, say=say, call=call, shows=shows, overheard=overheard, ways=list(WAYS), model=AgentModel, ear=Ear
    )


MakeAgent = Callable[..., Any]


@pytest.fixture
def agent_of(guard: Guard) -> MakeAgent:
    """Make an agent from a script; keywords go to `create_agent`, `guarded=False` leaves the guard away."""

    def make(*turns: Turn, tools: Any = (), by: Guard | None = None, guarded: bool = True, **options: Any) -> Any:
        model = options.pop("model", None) or AgentModel(turns=list(turns))
        others = options.pop("middleware", [])
        middleware = [*others, GuardMiddleware(by or guard)] if guarded else others
        agent = create_agent(model, list(tools), middleware=middleware, **options)
        return SimpleNamespace(graph=agent, model=model)

    return make


@pytest.fixture
def go() -> dict[str, Any]:
    """A harmless first turn."""
    return {"messages": [HumanMessage("go")]}


@tool
def echo(text: str) -> str:
    """Say it back."""
    return f"echo: {text}"


@pytest.fixture
def tools_of() -> Callable[..., list[BaseTool]]:
    """Return tools by name."""
    return lambda *names: [{"echo": echo}[name] for name in names]


@pytest.fixture
def counting(tokenizer: GuardTokenizer) -> SimpleNamespace:
    """A guard, the tokens its engine was fed, and the longest session it had."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard = Guard(engine, tokenizer)
    return SimpleNamespace(guard=guard, n_fed=lambda: engine.n_read, longest=lambda: engine.longest)


@pytest.fixture
def broken(tokenizer: GuardTokenizer) -> Callable[..., Guard]:
    """Make a guard whose engine fails from a step on."""

    def make(at_step: int) -> Guard:
        inner = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
        return Guard(FailingEngine(inner, at_step=at_step, breakage=raising(EngineError("broken"))), tokenizer)

    return make
