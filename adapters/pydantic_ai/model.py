# ruff: noqa: ARG002 - names and parameters are the framework's
"""A model around a model: it checks the prompt, and gates the answer before anything else can see it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.batch import BatchRequest, EncodedBatchRequest
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from guardrail.adapters.pydantic_ai.exchange import Exchange, Ledger, with_record
from guardrail.adapters.pydantic_ai.stream import Ask, GuardedStream
from guardrail.decision import Decision
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard


class GuardedModel(WrapperModel):
    """A model whose prompts and answers pass a guard. Safe for many tasks, as the wrapped model is.

    The newest turn is read first, tool results in it too; if it is stopped, the LLM is not asked. Text and reasoning
    then leave token by token, tool calls once they have been read whole. At a stop the LLM's stream is closed, and the
    response has `finish_reason="content_filter"` and the decision's record under `metadata["guardrail"]`; the policy's
    `on_stop` says what else. An agent raises `ContentFilterError` for such a response if it holds no text.

    Alone it cannot refuse a single tool call or ask a person: a stopped call ends the answer. `GuardCapability` can.
    Files and results of a provider's own tools are passed on unread behind the text; summaries made by
    `compact_messages` are unread too.
    """

    def __init__(self, wrapped: Model | str, guard: Guard, *, ledger: Ledger | None = None) -> None:
        """Wrap a model.

        Args:
            wrapped: the model, or its name.
            guard: judges.
            ledger: shared with the capability, which then screens tool results itself.
        """
        super().__init__(wrapped)
        self.guard = guard
        self._ledger = ledger

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        @asynccontextmanager
        async def ask(more: list[ModelMessage]) -> AsyncGenerator[StreamedResponse]:
            response = await self.wrapped.request([*messages, *more], model_settings, model_request_parameters)
            yield _replayed(response, model_request_parameters)

        async with self._answering(ask, messages, model_settings, model_request_parameters) as stream:
            async for _ in stream:
                pass
        response = stream.get()
        message = stream.stop_message if isinstance(stream, GuardedStream) else None
        return replace(response, parts=[message]) if message else response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        def ask(more: list[ModelMessage]) -> AbstractAsyncContextManager[StreamedResponse]:
            history = [*messages, *more]
            return self.wrapped.request_stream(history, model_settings, model_request_parameters, run_context)

        async with self._answering(ask, messages, model_settings, model_request_parameters) as stream:
            yield stream

    async def batch_encode(self, request: BatchRequest) -> EncodedBatchRequest:
        """Refuse: a batch does not come back through `request`.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("answers of a batch would pass the guard unread", hint="send single requests")

    @asynccontextmanager
    async def _answering(
        self,
        ask: Ask,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> AsyncGenerator[StreamedResponse]:
        """Read what is new; then give the LLM's answer behind the gate, or what stands for it."""
        exchange = Exchange.of(self.guard, messages, settings, parameters, self._ledger)
        if stopping := await exchange.astopping():
            yield _replayed(self._refusal(exchange, stopping), parameters)
            return
        with await exchange.aopen_stream() as gate:
            async with ask([]) as inner:
                stream = GuardedStream(ask, inner, exchange, gate, parameters)
                try:
                    yield stream
                finally:
                    await stream.leave()

    def _refusal(self, exchange: Exchange, decision: Decision) -> ModelResponse:
        text = exchange.closing_text(decision)
        return ModelResponse(
            [TextPart(text)] if text else [],
            model_name=self.model_name,
            finish_reason="content_filter",
            metadata=with_record(None, decision),
        )


def _replayed(response: ModelResponse, parameters: ModelRequestParameters) -> CompletedStreamedResponse:
    return CompletedStreamedResponse(response, model_request_parameters=parameters, replay_events=True)
