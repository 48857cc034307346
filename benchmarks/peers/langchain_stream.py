# ruff: noqa: ARG002 - signatures are the framework's
"""LangChain's own middleware in an agent, on a chat model that streams the script."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, PIIMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from rule import WORD

ASKED = {"messages": [{"role": "user", "content": "How do I bake bread?"}]}


class Scripted(BaseChatModel):
    """Streams what the scripted LLM writes."""

    llm: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.llm)))])

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self.llm.stream():
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


def pii(rule: Any) -> AgentMiddleware[Any, Any]:
    """Return the PII middleware with the rule as its detector."""

    def detect(text: str) -> list[Any]:
        if not rule.forbids(text):
            return []
        start = text.lower().index(WORD)
        end = start + len(WORD)
        return [{"type": "word", "value": text[start:end], "start": start, "end": end}]

    return PIIMiddleware("word", detector=detect, strategy="redact", apply_to_input=False, apply_to_output=True)


async def pii_messages(llm: Any, rule: Any) -> AsyncIterator[str]:
    """Redaction, read by `stream_mode="messages"`."""
    async for piece in _messages(llm, pii(rule)):
        yield piece


async def pii_events(llm: Any, rule: Any) -> AsyncIterator[str]:
    """Redaction, read by the events of version 3, where it holds the last 128 characters."""
    agent: Any = create_agent(Scripted(llm=llm), [], middleware=[pii(rule)])
    run = await agent.astream_events(ASKED, version="v3")
    async for message in run.messages:
        async for piece in message.text:
            yield piece


async def moderation(llm: Any, rule: Any) -> AsyncIterator[str]:
    """The moderation middleware, with the rule in place of OpenAI."""
    from langchain_openai.middleware import OpenAIModerationMiddleware

    async def create(*, input: str, **_: Any) -> Any:  # noqa: A002 - OpenAI's name
        flagged = rule.forbids(input)
        kinds = SimpleNamespace(model_dump=lambda: {"violence": flagged})
        result = SimpleNamespace(flagged=flagged, categories=kinds, category_scores=kinds)
        return SimpleNamespace(results=[result])

    client: Any = SimpleNamespace(moderations=SimpleNamespace(create=create))
    middleware = OpenAIModerationMiddleware(async_client=client, check_input=False, exit_behavior="error")
    async for piece in _messages(llm, middleware):
        yield piece


async def _messages(llm: Any, middleware: AgentMiddleware[Any, Any]) -> AsyncIterator[str]:
    agent: Any = create_agent(Scripted(llm=llm), [], middleware=[middleware])
    async for message, _ in agent.astream(ASKED, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            yield str(message.content)
