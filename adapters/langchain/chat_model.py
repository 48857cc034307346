# ruff: noqa: A002, ARG002 - names and parameters are the core's; the inner model gets no run_manager, so it tells nobody
"""A chat model around a chat model: it checks the prompt, and gates the answer before anything else can see it."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tools import BaseTool

from guardrail.adapters.langchain.absorbing import Absorbing
from guardrail.adapters.langchain.gating import (
    Exchange,
    aeach_within,
    agate_chunks,
    agate_generation,
    as_generation,
    called_with,
    each_within,
    gate_chunks,
    gate_generation,
    llm_output,
    stopped_prompt,
)
from guardrail.adapters.langchain.sources import open_async_chunks, open_chunks, silence
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard

_ADOPTED = (
    "cache",
    "callbacks",
    "disable_streaming",
    "metadata",
    "output_version",
    "profile",
    "rate_limiter",
    "tags",
    "verbose",
)
"""Settings taken over from the inner model, since its own outer methods are never called."""


class GuardedChatModel(Absorbing, BaseChatModel):
    """A chat model whose prompts and answers pass a guard. Safe for many threads and tasks, as the inner model is.

    The prompt is checked first; if it is stopped, the LLM is not asked. Then every piece of text and reasoning goes
    through one stream of the guard: callbacks, tracers, events and caches see only what was released. A stop closes
    the LLM's stream; the last chunk has finish_reason "content_filter" and the decision under "guardrail" in its
    `response_metadata`. The policy's `on_stop` says what the caller gets.

    What is not read: names and arguments of tool calls (they wait for the text before them, and never follow a stop,
    but are passed on unjudged), and blocks that hold no text of the answer, such as images or results of the
    provider's own tools. A message that replaces a stopped answer follows the released text if that was streamed.

    Attributes:
        inner: the LLM.
        guard: judges.
        checks_prompt: whether the prompt is judged too.
    """

    inner: BaseChatModel
    guard: Guard
    checks_prompt: bool = True

    def __init__(self, inner: BaseChatModel, guard: Guard, **fields: Any) -> None:
        adopted = {name: getattr(inner, name) for name in _ADOPTED if hasattr(inner, name)}
        super().__init__(**{**adopted, **fields, "inner": inner, "guard": guard})

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Answer, as every chat model does; the conversation's id in `config` stands in the records."""
        with called_with(config):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """As `invoke`, without blocking the event loop."""
        with called_with(config):
            return await super().ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessageChunk]:
        """Answer piece by piece."""
        return each_within(lambda: called_with(config), super().stream(input, config, **kwargs))

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """As `stream`, without blocking the event loop."""
        return aeach_within(lambda: called_with(config), super().astream(input, config, **kwargs))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Bind tools as the inner model does, and guard the result.

        Raises:
            ConfigurationError: the inner model's binding is of an unknown kind.
        """
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        bound = guarded(self.inner.bind_tools(tools, **choice, **kwargs), self.guard, checks_prompt=self.checks_prompt)
        if bound is None:
            raise ConfigurationError(f"{type(self.inner).__name__}.bind_tools gave something that cannot be guarded")
        return bound

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type

    @property
    def _identifying_params(self) -> dict[str, Any]:
        identity = {
            "model_sha256": self.guard.engine.info.sha256,
            "policy_sha256": self.guard.policy.sha256,
            "checks_prompt": self.checks_prompt,
        }
        return {**self.inner._identifying_params, "guardrail": identity}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return {**self.inner._get_invocation_params(stop=stop, **kwargs), **self._identifying_params}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        exchange = Exchange.of(self.guard, messages)
        decision = exchange.check_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            yield stopped_prompt(exchange, decision)
            return
        yield from gate_chunks(exchange, open_chunks(self.inner, messages, stop, kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        exchange = Exchange.of(self.guard, messages)
        decision = await exchange.acheck_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            yield stopped_prompt(exchange, decision)
            return
        chunks = agate_chunks(exchange, open_async_chunks(self.inner, messages, stop, kwargs))
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        exchange = Exchange.of(self.guard, messages)
        decision = exchange.check_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            return ChatResult(generations=[as_generation(stopped_prompt(exchange, decision))])
        with silence():
            result = self.inner._generate(messages, stop=stop, **kwargs)
        generations = [gate_generation(exchange, one) for one in result.generations]
        return ChatResult(generations=generations, llm_output=llm_output(result.llm_output, generations))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        exchange = Exchange.of(self.guard, messages)
        decision = await exchange.acheck_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            return ChatResult(generations=[as_generation(stopped_prompt(exchange, decision))])
        with silence():
            result = await self.inner._agenerate(messages, stop=stop, **kwargs)
        generations = [await agate_generation(exchange, one) for one in result.generations]
        return ChatResult(generations=generations, llm_output=llm_output(result.llm_output, generations))


class GuardedBinding(Absorbing, RunnableBinding[Any, Any]):
    """A guarded chat model with bound arguments, settings, retries or fallbacks."""

    @property
    def guard(self) -> Guard:
        """The guard of the model that is bound: the core copies bindings without fields of our own."""
        bound: Any = self.bound
        while not isinstance(bound, GuardedChatModel):
            bound = bound.runnable if isinstance(bound, RunnableWithFallbacks) else bound.bound
        return bound.guard


Guarded = GuardedChatModel | GuardedBinding


def guarded(llm: object, guard: Guard, *, checks_prompt: bool = True) -> Guarded | None:
    """Return `llm` with every chat model in it guarded; None when it is no chat model, bound or bare.

    A model that this guard guards already is returned unchanged.
    """
    if isinstance(llm, Guarded) and llm.guard is guard:
        return llm
    if isinstance(llm, BaseChatModel):
        return GuardedChatModel(llm, guard, checks_prompt=checks_prompt)
    if isinstance(llm, RunnableBindingBase):
        bound = guarded(llm.bound, guard, checks_prompt=checks_prompt)
        return bound and GuardedBinding(bound=llm.model_copy(update={"bound": bound}))
    if isinstance(llm, RunnableWithFallbacks):
        models = [guarded(one, guard, checks_prompt=checks_prompt) for one in llm.runnables]
        if any(model is None for model in models):
            return None
        both = llm.model_copy(update={"runnable": models[0], "fallbacks": models[1:]})
        return GuardedBinding(bound=both)
    return None
