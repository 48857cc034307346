# ruff: noqa: ARG002 - names and parameters are the frameworks'
"""Every way into a guarded LLM, behind one signature: play a text through it and hear all that comes out.

A door needs its framework, which is imported inside it, so that the doors of others work without it.
"""

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from guardrail import Guard
from tests.adapters.playing import Died, Door, Played, Script


async def plain_stream(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """The facade itself: what every adapter must agree with."""
    with await guard.aopen_stream("How?", conversation_id=conversation) as stream:
        async with aclosing(script.pieces()) as pieces:
            async for piece in pieces:
                played.released += (out := await stream.afeed(piece))
                played.hear("feed", out)
                if stream.is_stopped:
                    return
        played.released += (out := await stream.afinish())
        played.hear("finish", out)


# long: a class of the framework's own kind, which is imported here only
def _chat_model(script: Script) -> Any:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Scripted(BaseChatModel):
        """Streams the script."""

        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind(**kwargs)

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(script.text))])

        def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
            try:
                for piece in script.cut():
                    yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
                if script.ending == "dies":
                    raise Died
            finally:
                script.n_closed += 1

        async def _astream(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> AsyncGenerator[Any]:
            async with aclosing(script.pieces()) as pieces:
                async for piece in pieces:
                    yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    return Scripted()


def _config(played: Played, conversation: str) -> Any:
    """Return settings of a LangChain call with a callback handler that hears everything."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Ear(BaseCallbackHandler):
        """Hears all callbacks."""

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                return lambda *args, **kwargs: played.hear(f"callback {name}", (args[1:], kwargs))
            return super().__getattribute__(name)

    return {"callbacks": [Ear()], "configurable": {"thread_id": conversation}}


async def guarded_chat_model(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """LangChain: a guarded chat model, streamed from a task."""
    from guardrail.adapters.langchain import GuardedChatModel

    model = GuardedChatModel(_chat_model(script), guard)
    chunks: Any = model.astream("How?", _config(played, conversation))
    async with aclosing(chunks):
        async for chunk in chunks:
            played.released += chunk.text
            played.hear("astream", chunk)


async def guarded_chat_model_sync(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """LangChain: a guarded chat model, streamed from a thread."""
    from guardrail.adapters.langchain import GuardedChatModel

    def play() -> None:
        for chunk in GuardedChatModel(_chat_model(script), guard).stream("How?", _config(played, conversation)):
            played.released += str(chunk.text)
            played.hear("stream", chunk)

    await asyncio.to_thread(play)


async def chain(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """LangChain: `guard | llm | guard`, its events."""
    from guardrail.adapters.langchain import GuardRunnable

    step = GuardRunnable(guard)
    events: Any = (step | _chat_model(script) | step).astream_events(
        "How?", _config(played, conversation), version="v2"
    )
    async with aclosing(events):
        async for event in events:
            played.hear("astream_events v2", event)
            if event["event"] == "on_chat_model_stream":
                played.released += event["data"]["chunk"].text


async def agent(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """LangGraph: an agent with the middleware, every stream mode, its checkpoints."""
    from langchain.agents import create_agent
    from langgraph.checkpoint.memory import InMemorySaver

    from guardrail.adapters.langchain import GuardMiddleware

    saver = InMemorySaver()
    graph: Any = create_agent(_chat_model(script), middleware=[GuardMiddleware(guard)], checkpointer=saver)
    config = _config(played, conversation)
    modes = ["messages", "values", "updates"]
    parts: Any = graph.astream({"messages": "How?"}, config, stream_mode=modes)
    async with aclosing(parts):
        async for mode, part in parts:
            played.hear(f"stream_mode {mode}", part)
            if mode == "messages" and part[0].type in ("ai", "AIMessageChunk"):
                played.released += part[0].text
    played.hear("final state", (await graph.aget_state(config)).values)
    played.hear("checkpoints", [tuple(one) async for one in saver.alist(config)])


# long: one run as its users write it, with the class that the framework wants
async def openai_agents(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """OpenAI Agents SDK: a streamed run."""
    from agents import Agent, RunConfig, Runner
    from agents.tracing import set_trace_processors

    from guardrail.adapters.openai_agents import GuardedModel
    from tests.adapters.openai_agents.scripted import Script as Events
    from tests.adapters.openai_agents.scripted import Traces

    class Scripted(Events):
        async def stream_response(self, *args: Any, **options: Any) -> AsyncGenerator[Any]:
            deltas = 0
            async with aclosing(super().stream_response(*args, **options)) as events:  # type: ignore[type-var]  # a generator
                async for event in events:
                    deltas += event.type == "response.output_text.delta"
                    if event.type == "response.output_text.done" and script.ending != "well":
                        break
                    yield event
            async with aclosing(Script("", ending=script.ending, is_waiting=script.is_waiting).pieces()) as end:
                async for _ in end:
                    pass

    traces = Traces()
    set_trace_processors([traces])
    model = Scripted([script.text], size=script.size, is_slow=script.is_slow)
    result = Runner.run_streamed(
        Agent(name="a", model=GuardedModel(model, guard)), "How?",
        run_config=RunConfig(group_id=conversation),
    )  # fmt: skip
    try:
        async for event in result.stream_events():
            data = getattr(event, "data", None)
            played.hear("stream_events", data or getattr(event, "item", event.type))
            if data and data.type == "response.output_text.delta":
                played.released += data.delta
    finally:
        script.n_closed += model.n_closed
        script.n_pieces += model.n_events
        played.hear("final_output", result.final_output)
        played.hear("traces", [one for one in traces.exported if conversation in ("c", *(one or {}).values())])
        played.hear("items", result.to_input_list())


async def pydantic_ai(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """pydantic-ai: a streamed run."""
    from pydantic_ai import Agent
    from pydantic_ai.models.function import FunctionModel

    from guardrail.adapters.pydantic_ai import GuardedModel

    async def stream(_messages: Any, _info: Any) -> AsyncGenerator[str]:
        async with aclosing(script.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    model = GuardedModel(FunctionModel(stream_function=stream), guard)
    async with Agent(model).run_stream_events("How?", conversation_id=conversation) as events:
        async for event in events:
            played.hear("events", event)
            if event.event_kind == "agent_run_result":
                played.hear("messages", event.result.all_messages())
            elif event.event_kind == "part_start" and event.part.part_kind == "text":
                played.released += event.part.content
            elif event.event_kind == "part_delta" and event.delta.part_delta_kind == "text":
                played.released += event.delta.content_delta


# long: a class of the framework's own kind, which is imported here only
def _scripted_provider() -> dict[str, Script]:
    """Return the scripts of a LiteLLM provider of our own, by the name of the model that plays them."""
    import litellm
    from litellm.llms.custom_llm import CustomLLM

    scripts: dict[str, Script] = getattr(litellm, "_door_scripts", {})
    if scripts:
        return scripts

    class Provider(CustomLLM):
        async def astreaming(self, model: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:  # type: ignore[override]  # typed there as a coroutine
            async with aclosing(scripts[model].pieces()) as pieces:
                async for piece in pieces:
                    yield {
                        "text": piece,
                        "is_finished": False,
                        "finish_reason": "",
                        "index": 0,
                        "usage": None,
                        "tool_use": None,
                    }
            yield {
                "text": "",
                "is_finished": True,
                "finish_reason": "stop",
                "index": 0,
                "usage": None,
                "tool_use": None,
            }

    litellm._door_scripts = scripts  # the provider is registered once
    litellm.custom_provider_map = [{"provider": "door", "custom_handler": Provider()}]
    return scripts


async def litellm_sdk(guard: Guard, script: Script, played: Played, conversation: str) -> None:
    """LiteLLM's SDK: a streamed completion of a provider of our own."""
    from guardrail.adapters.litellm import guarded_acompletion

    name = f"m{id(script)}"
    _scripted_provider()[name] = script
    chunks = await guarded_acompletion(
        model=f"door/{name}", messages=[{"role": "user", "content": "How?"}], stream=True, guard=guard,
        litellm_session_id=conversation,
    )  # fmt: skip
    async with aclosing(chunks):
        async for chunk in chunks:
            played.hear("chunks", chunk)
            for choice in chunk.choices:
                played.released += choice.delta.content or ""


DOORS: dict[str, tuple[Door, str]] = {
    "facade": (plain_stream, "guardrail"),
    "langchain": (guarded_chat_model, "langchain_core"),
    "langchain-sync": (guarded_chat_model_sync, "langchain_core"),
    "langchain-chain": (chain, "langchain_core"),
    "langgraph-agent": (agent, "langgraph"),
    "litellm-sdk": (litellm_sdk, "litellm"),
    "openai-agents": (openai_agents, "agents"),
    "pydantic-ai": (pydantic_ai, "pydantic_ai"),
}
"""Name to the door and the package that it needs."""


def is_there(name: str) -> bool:
    """Whether a door's framework is installed."""
    return importlib.util.find_spec(DOORS[name][1]) is not None
