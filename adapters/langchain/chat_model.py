"""A chat model around a chat model: it checks the prompt, and gates the answer before anything else can see it."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tools import BaseTool

from guardrail.adapters.langchain.absorbing import Absorbing, holds_model
from guardrail.adapters.langchain.calling import CalledChatModel
from guardrail.adapters.langchain.chunks import as_generation
from guardrail.adapters.langchain.exchange import Exchange, OnCall, called_with
from guardrail.adapters.langchain.gating import (
    agate_chunks,
    agate_generation,
    gate_chunks,
    gate_generation,
    llm_output,
    stopped_prompt,
)
from guardrail.adapters.langchain.sources import Asking
from guardrail.adapters.langchain.tracing import current_spotter
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


class GuardedChatModel(Absorbing, CalledChatModel):
    """A chat model whose prompts and answers pass a guard. Safe for many threads and tasks, as the inner model is.

    The prompt is checked first; if it is stopped, the LLM is not asked. Then every piece of text and reasoning goes
    through one stream of the guard: callbacks, tracers, events and caches see only what was released. A stop closes
    the LLM's stream; the last chunk has finish_reason "content_filter" and the decision under "guardrail" in its
    `response_metadata`. The policy's `on_stop` says what the caller gets.

    Tool calls are read while they stream, each through a stream of its own, and leave at the end, judged whole, in
    every form in which the provider sent them. Text that replaces a stopped answer follows the released text if that
    was streamed. With `on_stop = "repair"` the LLM is asked again behind the released text.

    What is not read: images and other media, results and sources of the provider's own tools, and plain text in extra
    arguments of the provider's own that are neither reasoning nor a refusal.

    Attributes:
        inner: the LLM.
        guard: judges.
        checks_prompt: whether the prompt is judged too.
        on_call: what a tool call does that is stopped, or waits for a person: "stop" ends the whole answer like risky
            text; "mark" lets a stopped call go without its arguments and one that waits whole, for whoever runs them.
        holds_answer: whether nothing leaves before the whole answer is judged, as with `release = "answer"`.
        trace_inner: whether the LLM's own call shows in callbacks and traces, below the guarded one, without its text.
    """

    inner: BaseChatModel
    guard: Guard
    checks_prompt: bool = True
    on_call: OnCall = "stop"
    holds_answer: bool = False

    def __init__(self, inner: BaseChatModel, guard: Guard, **fields: Any) -> None:
        adopted = {name: getattr(inner, name) for name in _ADOPTED if hasattr(inner, name)}
        super().__init__(**{**adopted, **fields, "inner": inner, "guard": guard})

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
        bound = guarded(self.inner.bind_tools(tools, **choice, **kwargs), self.guard, **self._fields)
        return self._found(bound, "bind_tools")

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[Any, Any]:
        """Give answers in a form, as the inner model does it, and guard them.

        A stopped answer is empty for the parser: half a form could look whole.

        Raises:
            ConfigurationError: the inner model makes a chain of an unknown kind.
        """
        chain = self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs)
        fields = {**self._fields, "holds_answer": True}
        return self._found(guarded_inside(chain, self.guard, **fields), "with_structured_output")

    def get_token_ids(self, text: str) -> list[int]:
        return self.inner.get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        return self.inner.get_num_tokens(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        return self.inner.get_num_tokens_from_messages(messages, tools)

    @property
    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("checks_prompt", "on_call", "holds_answer", "trace_inner")}

    def _found(self, bound: Runnable[Any, Any] | None, method: str) -> Runnable[Any, Any]:
        if bound is None or holds_model(bound):
            raise ConfigurationError(f"{type(self.inner).__name__}.{method} gave something that cannot be guarded")
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
            "on_call": self.on_call,
            "holds_answer": self.holds_answer,
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
        exchange, asking = self._exchange(messages, stop, run_manager, kwargs)
        decision = exchange.check_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            yield stopped_prompt(exchange, decision)
            return
        yield from gate_chunks(exchange, asking.stream(), asking.stream_again)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        exchange, asking = self._exchange(messages, stop, run_manager, kwargs)
        decision = await exchange.acheck_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            yield stopped_prompt(exchange, decision)
            return
        chunks = agate_chunks(exchange, asking.astream(), asking.astream_again)
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
        exchange, asking = self._exchange(messages, stop, run_manager, kwargs)
        decision = exchange.check_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            return ChatResult(generations=[as_generation(stopped_prompt(exchange, decision))])
        result = asking.generate()
        generations = [gate_generation(exchange, one, asking.generate_again) for one in result.generations]
        return ChatResult(generations=generations, llm_output=llm_output(result.llm_output, generations))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        exchange, asking = self._exchange(messages, stop, run_manager, kwargs)
        decision = await exchange.acheck_prompt() if self.checks_prompt else None
        if decision and decision.stopped:
            return ChatResult(generations=[as_generation(stopped_prompt(exchange, decision))])
        result = await asking.agenerate()
        generations = [await agate_generation(exchange, one, asking.agenerate_again) for one in result.generations]
        return ChatResult(generations=generations, llm_output=llm_output(result.llm_output, generations))

    def _exchange(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: BaseRunManager | None,
        kwargs: dict[str, Any],
    ) -> tuple[Exchange, Asking]:
        """Return a call as the guard sees it, and as the LLM does."""
        most = self.inner._get_ls_params(stop=stop, **kwargs).get("ls_max_tokens")
        with called_with({"metadata": run_manager.metadata} if run_manager else None):
            exchange = Exchange.of(
                self.guard, messages, on_call=self.on_call, max_tokens=most, holds_answer=self.holds_answer
            )
        spotter = current_spotter(run_manager) if self.trace_inner else None
        return exchange, Asking(self.inner, messages, stop, kwargs, spotter)


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


def guarded(llm: object, guard: Guard, **fields: Any) -> Guarded | None:
    """Return `llm` with every chat model in it guarded; None when it is no chat model, bound or bare.

    A model that this guard guards already is returned unchanged.

    Args:
        llm: anything.
        guard: judges.
        fields: settings of the `GuardedChatModel`.
    """
    if isinstance(llm, Guarded) and llm.guard is guard:
        return llm
    if isinstance(llm, BaseChatModel):
        return GuardedChatModel(llm, guard, **fields)
    if isinstance(llm, RunnableBindingBase):
        bound = guarded(llm.bound, guard, **fields)
        return bound and GuardedBinding(bound=llm.model_copy(update={"bound": bound}))
    if isinstance(llm, RunnableWithFallbacks):
        models = [guarded(one, guard, **fields) for one in llm.runnables]
        if any(model is None for model in models):
            return None
        both = llm.model_copy(update={"runnable": models[0], "fallbacks": models[1:]})
        return GuardedBinding(bound=both)
    return None


def guarded_inside(step: Runnable[Any, Any], guard: Guard, **fields: Any) -> Runnable[Any, Any] | None:
    """Return a chain with the chat model guarded that it begins with, by itself or in a parallel step; None without."""
    if model := guarded(step, guard, **fields):
        return model
    if isinstance(step, RunnableSequence):
        first = guarded_inside(step.first, guard, **fields)
        return first and RunnableSequence(first, *step.middle, step.last, name=step.name)
    if isinstance(step, RunnableParallel):
        found = {name: guarded_inside(one, guard, **fields) for name, one in step.steps__.items()}
        kept: dict[str, Any] = {name: one or step.steps__[name] for name, one in found.items()}
        return RunnableParallel(kept) if any(found.values()) else None
    return None
