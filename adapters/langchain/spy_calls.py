"""The ways of calling a chain, a chat model or a graph that an answer could come out of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import RunnableConfig

from guardrail.leaktest import Canary, texts
from guardrail.leaktest.drive import Progress

MODES = ["messages", "values", "updates", "custom"]
"""Stream modes of a graph that are read."""

UNSEEN = (BaseLanguageModel, Canary)
"""Models know the canary because they write it; their repr, which traces keep, is heard as text."""


@dataclass
class Call:
    """One call of a fresh target.

    Attributes:
        target: chain, agent or graph, with the scripted LLM in it.
        given: its input.
        config: with the spying callbacks, and a thread of its own.
        name: of the way it is called.
        heard: notes what comes out.
    """

    target: Any
    given: Any
    config: RunnableConfig
    name: str
    heard: Progress

    def hear(self, outlet: str, value: object) -> None:
        """Hear a value that came out."""
        self.heard.hear(outlet, self.name, texts(value, unseen=UNSEEN))


Way = Callable[[Call], Any]
"""Calls a target in one way and hears what comes out; a coroutine function calls it asynchronously."""


def _invoke(call: Call) -> None:
    call.hear("invoke", call.target.invoke(call.given, call.config))


async def _ainvoke(call: Call) -> None:
    call.hear("invoke", await call.target.ainvoke(call.given, call.config))


def _stream(call: Call) -> None:
    for chunk in call.target.stream(call.given, call.config):
        call.hear("stream", chunk)


async def _astream(call: Call) -> None:
    async for chunk in call.target.astream(call.given, call.config):
        call.hear("stream", chunk)


def _stream_modes(call: Call) -> None:
    for _namespace, mode, chunk in call.target.stream(call.given, call.config, stream_mode=MODES, subgraphs=True):
        call.hear(f"stream_mode={mode}", chunk)


async def _astream_modes(call: Call) -> None:
    chunks = call.target.astream(call.given, call.config, stream_mode=MODES, subgraphs=True)
    async for _namespace, mode, chunk in chunks:
        call.hear(f"stream_mode={mode}", chunk)


async def _events(call: Call) -> None:
    async for event in call.target.astream_events(call.given, call.config, version="v2"):
        call.hear("astream_events v2", event)


def _model_v3(call: Call) -> None:
    for event in call.target.stream_events(call.given, call.config, version="v3"):
        call.hear("stream_events v3", event)


async def _amodel_v3(call: Call) -> None:
    async for event in await call.target.astream_events(call.given, call.config, version="v3"):
        call.hear("stream_events v3", event)


def _graph_v3(call: Call) -> None:
    with call.target.stream_events(call.given, call.config, version="v3") as run:
        for event in run:
            call.hear("stream_events v3", event)


async def _agraph_v3(call: Call) -> None:
    async with await call.target.astream_events(call.given, call.config, version="v3") as run:
        async for event in run:
            call.hear("stream_events v3", event)


def _messages_v3(call: Call) -> None:
    with call.target.stream_events(call.given, call.config, version="v3") as run:
        for message in run.messages:
            for delta in message.text:
                call.hear("v3 run.messages", delta)
            call.hear("v3 run.messages", message.output)
        call.hear("v3 run.output", run.output)


async def _amessages_v3(call: Call) -> None:
    async with await call.target.astream_events(call.given, call.config, version="v3") as run:
        async for message in run.messages:
            async for delta in message.text:
                call.hear("v3 run.messages", delta)
            call.hear("v3 run.messages", await message.output)
        call.hear("v3 run.output", await run.output())


CHAIN_WAYS: dict[str, Way] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
    "astream_events v2": _events,
}
MODEL_WAYS: dict[str, Way] = {**CHAIN_WAYS, "stream_events v3": _model_v3, "astream_events v3": _amodel_v3}
GRAPH_WAYS: dict[str, Way] = {
    **CHAIN_WAYS,
    "stream": _stream_modes,
    "astream": _astream_modes,
    "stream_events v3": _graph_v3,
    "astream_events v3": _agraph_v3,
    "v3 messages": _messages_v3,
    "async v3 messages": _amessages_v3,
}
