# ruff: noqa: ARG002 - signatures are the framework's
"""What people put into LangChain chains and agents to guard an answer, each as a target of `guardrail leaktest`."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, PIIMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableGenerator
from rule import WORD, is_forbidden

from guardrail import Guard
from guardrail.adapters.langchain import GuardedChatModel, GuardMiddleware, GuardRunnable
from guardrail.testing import MarkerEngine, default_tokenizer

Target = Runnable[Any, Any]
BLOCKED = "[blocked]"


def unguarded(llm: BaseChatModel) -> Target:
    """No guard: everything comes out."""
    return create_agent(llm, [])


def pii_redact(llm: BaseChatModel) -> Target:
    """LangChain's own PII middleware, redacting e-mail addresses in answers."""
    return create_agent(llm, [], middleware=[PIIMiddleware("email", strategy="redact", apply_to_output=True)])


def pii_block(llm: BaseChatModel) -> Target:
    """The same, stopping at one."""
    return create_agent(llm, [], middleware=[PIIMiddleware("email", strategy="block", apply_to_output=True)])


def openai_moderation(llm: BaseChatModel) -> Target:
    """langchain-openai's moderation middleware, asking a local endpoint that flags the word."""
    from langchain_openai.middleware import OpenAIModerationMiddleware
    from openai import AsyncOpenAI, OpenAI

    where = {"base_url": _moderation_url(), "api_key": "none"}
    middleware = OpenAIModerationMiddleware(client=OpenAI(**where), async_client=AsyncOpenAI(**where))
    return create_agent(llm, [], middleware=[middleware])


class AfterModel(AgentMiddleware):
    """The output guard of the documentation: it looks when the model has finished."""

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Replace a forbidden answer."""
        last = state["messages"][-1]
        return {"messages": [AIMessage(BLOCKED, id=last.id)]} if is_forbidden(last.text) else None


def after_model(llm: BaseChatModel) -> Target:
    """An after_model hook."""
    return create_agent(llm, [], middleware=[AfterModel()])


class PostCheck(AgentMiddleware):
    """Looks at what the wrapped model call brought back."""

    def wrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Any]) -> Any:
        """Replace a forbidden answer."""
        return self._checked(handler(request))

    async def awrap_model_call(self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[Any]]) -> Any:
        """As `wrap_model_call`."""
        return self._checked(await handler(request))

    def _checked(self, response: Any) -> Any:
        return AIMessage(BLOCKED) if is_forbidden(response.result[-1].text) else response


def wrap_model_call(llm: BaseChatModel) -> Target:
    """A check around the model call."""
    return create_agent(llm, [], middleware=[PostCheck()])


def lcel_gate(llm: BaseChatModel) -> Target:
    """A generator behind the LLM that ends at the word."""

    def gate(chunks: Iterator[Any]) -> Iterator[Any]:
        for chunk in chunks:
            if is_forbidden(chunk.text):
                return
            yield chunk

    async def agate(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for chunk in chunks:
            if is_forbidden(chunk.text):
                return
            yield chunk

    return llm | RunnableGenerator(gate, agate)


def ours_model(llm: BaseChatModel) -> Target:
    """`GuardedChatModel` in an agent."""
    return create_agent(GuardedChatModel(llm, _word_guard()), [])


def ours_chain(llm: BaseChatModel) -> Target:
    """`guard | llm | guard`."""
    guard = GuardRunnable(_word_guard())
    return guard | llm | guard


def ours_middleware(llm: BaseChatModel) -> Target:
    """`GuardMiddleware`."""
    return create_agent(llm, [], middleware=[GuardMiddleware(_word_guard())])


def ours_embedded(llm: BaseChatModel) -> Target:
    """`GuardMiddleware` with the embedded model instead of a rule."""
    return create_agent(llm, [], middleware=[GuardMiddleware(Guard.default())])


def _word_guard() -> Guard:
    """Our gate with a model that does nothing but see the word, as the peers do here."""
    tokenizer = default_tokenizer()
    return Guard(MarkerEngine(tokenizer, {WORD: ("Unsafe", "Violent")}), tokenizer)


class _Moderation(BaseHTTPRequestHandler):
    """`/v1/moderations` that flags the word."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer as OpenAI does."""
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        flagged = is_forbidden(json.dumps(given))
        names = {"categories": {"violence": flagged}, "category_scores": {"violence": float(flagged)}}
        body = {"id": "modr-1", "model": "local", "results": [{"flagged": flagged, **names}]}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def _moderation_url() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Moderation)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"
