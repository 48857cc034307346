# ruff: noqa: A002 - names and parameters are the core's
"""What stands around a call of the guarded model: the id of its conversation, and its run in the traces."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig

from guardrail.adapters.langchain.chunks import aeach_within, each_within
from guardrail.adapters.langchain.exchange import called_with
from guardrail.adapters.langchain.tracing import seen_by, spotted


class CalledChatModel(BaseChatModel):
    """A chat model whose inner parts find the settings of the call that they are part of.

    Attributes:
        trace_inner: whether the LLM's own call shows in callbacks and traces, below the guarded one and without its
            text.
    """

    trace_inner: bool = False

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """Answer, as every chat model does; the conversation's id in `config` stands in the records."""
        config, calling = self._calling(config)
        with calling():
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """As `invoke`, without blocking the event loop."""
        config, calling = self._calling(config)
        with calling():
            return await super().ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessageChunk]:
        """Answer piece by piece."""
        config, calling = self._calling(config)
        return each_within(calling, super().stream(input, config, **kwargs))

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """As `stream`, without blocking the event loop."""
        config, calling = self._calling(config)
        return aeach_within(calling, super().astream(input, config, **kwargs))

    def _calling(
        self, config: RunnableConfig | None
    ) -> tuple[RunnableConfig | None, Callable[[], AbstractContextManager[None]]]:
        """Return settings for the core's own methods, and what must be around them."""
        spotter = None
        if self.trace_inner:
            config, spotter = spotted(self, config)

        @contextmanager
        def calling() -> Iterator[None]:
            with called_with(config), seen_by(spotter):
                yield

        return config, calling
