# ruff: noqa: ARG002 - signatures of the core
"""The inner LLM's call as a run of its own below the guarded one: what it was, how long it took, and none of its text.

The core hands a model's `_stream` no run manager, so the guarded model's run is found by a handler among its callbacks.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.callbacks.manager import BaseRunManager
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import merge_configs

from guardrail.adapters.langchain.chunks import aclosed_at_end, closed_at_end
from guardrail.adapters.langchain.metadata import kept_at_stop
from guardrail.waiting import Steps, arun, run, wait

NO_STREAM = "nostream"
"""The tag by which LangGraph leaves a run's messages out of its streams."""


class Spotter(BaseCallbackHandler):
    """Finds the run of the guarded model, and knows who listens to it.

    Attributes:
        handlers: who listens, without this one.
        metadata: of the run, for those who sort by it.
        run_id: of the run; None until it starts.
    """

    run_inline = True

    def __init__(
        self, handlers: list[BaseCallbackHandler], metadata: dict[str, Any], run_id: UUID | None = None
    ) -> None:
        self.handlers, self.metadata, self.run_id = handlers, metadata, run_id

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.run_id = run_id


_spotter: ContextVar[Spotter | None] = ContextVar("guardrail_run", default=None)


def spotted(model: BaseChatModel, config: RunnableConfig | None) -> tuple[RunnableConfig, Spotter]:
    """Return settings with which the run of this call is found, and who finds it."""
    config = ensure_config(config)
    manager = CallbackManager.configure(
        config.get("callbacks"), model.callbacks, model.verbose,
        inheritable_metadata=config.get("metadata"), local_metadata=model.metadata,
    )  # fmt: skip
    spotter = Spotter(manager.handlers, manager.metadata)
    return merge_configs(config, {"callbacks": [spotter]}), spotter


@contextmanager
def seen_by(spotter: Spotter | None) -> Iterator[None]:
    """Let inner calls find the run that they belong to."""
    token = _spotter.set(spotter)
    try:
        yield
    finally:
        _spotter.reset(token)


def current_spotter(run_manager: BaseRunManager | None) -> Spotter | None:
    """Return who knows the run of the call under way; None if nobody listens to it.

    Args:
        run_manager: of that run, where the core hands it on.
    """
    spotter = _spotter.get()
    if run_manager:
        spotter = Spotter(run_manager.handlers, run_manager.metadata, run_manager.run_id)
    return spotter if spotter and spotter.run_id and spotter.handlers else None


@dataclass
class InnerRun:
    """One call of the inner model in the traces.

    Attributes:
        inner: the model.
        spotter: knows the guarded model's run, and who listens to it.
        messages: what the model is asked.
        stop: as the model takes it.
        kwargs: likewise.
    """

    inner: BaseChatModel
    spotter: Spotter
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: dict[str, Any]
    _usage: UsageMetadata | None = None
    _metadata: dict[str, Any] = field(default_factory=dict)
    _run: Any = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell who listens that the LLM is asked, and how it ended."""
        run(self._starting())
        try:
            yield
        except BaseException as error:
            run(self._ending(error))
            raise
        run(self._ending())

    @asynccontextmanager
    async def atold(self) -> AsyncIterator[None]:
        """As `told`, without blocking the event loop."""
        await arun(self._starting())
        try:
            yield
        except BaseException as error:
            await arun(self._ending(error))
            raise
        await arun(self._ending())

    def take(self, *generations: ChatGeneration) -> None:
        """Note what the LLM says beside its text."""
        for generation in generations:
            message = generation.message
            told = {**(generation.generation_info or {}), **message.response_metadata}
            reason = {"finish_reason": told["finish_reason"]} if isinstance(told.get("finish_reason"), str) else {}
            self._metadata |= {**kept_at_stop(told), **reason}
            if isinstance(message, AIMessage) and message.usage_metadata:
                self._usage = add_usage(self._usage, message.usage_metadata)

    def _starting(self) -> Steps[None]:
        who: dict[str, Any] = {
            "handlers": self.spotter.handlers, "parent_run_id": self.spotter.run_id, "tags": [NO_STREAM],
            "metadata": {**self.spotter.metadata, **self.inner._get_ls_params(stop=self.stop, **self.kwargs)},
        }  # fmt: skip
        (self._run,) = yield wait(
            CallbackManager(**who).on_chat_model_start, AsyncCallbackManager(**who).on_chat_model_start,
            dumpd(self.inner), [self.messages], name=self.inner.get_name(), options={"stop": self.stop},
            invocation_params=self.inner._get_invocation_params(stop=self.stop, **self.kwargs),
        )  # fmt: skip

    def _ending(self, error: BaseException | None = None) -> Steps[None]:
        # a reader that leaves, as the gate does at a stop, is no error; it may leave while it waits for the next chunk
        if error is not None and not isinstance(error, GeneratorExit | asyncio.CancelledError):
            yield wait(self._run.on_llm_error, self._run.on_llm_error, error, response=LLMResult(generations=[]))
            return
        message = AIMessage("", usage_metadata=self._usage, response_metadata=self._metadata)
        result = LLMResult(generations=[[ChatGeneration(message=message)]])
        yield wait(self._run.on_llm_end, self._run.on_llm_end, result)


def traced_chunks(inner_run: InnerRun, chunks: Iterator[ChatGenerationChunk]) -> Iterator[ChatGenerationChunk]:
    """Yield the LLM's chunks in a run of its own."""
    with inner_run.told(), closed_at_end(chunks):
        for chunk in chunks:
            inner_run.take(chunk)
            yield chunk


async def atraced_chunks(
    inner_run: InnerRun, chunks: AsyncIterator[ChatGenerationChunk]
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """As `traced_chunks`."""
    async with inner_run.atold(), aclosed_at_end(chunks):
        async for chunk in chunks:
            inner_run.take(chunk)
            yield chunk
