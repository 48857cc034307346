# ruff: noqa: A002 - names of the SDK's interface
"""A model around a model: it checks the prompt, and gates the answer before anything else can see it."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from agents import Handoff, Model, ModelResponse, ModelSettings, ModelTracing, Tool, TResponseInputItem, Usage
from agents.agent_output import AgentOutputSchemaBase
from agents.items import TResponseStreamEvent
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from openai.types.responses import ResponsePromptParam

from guardrail.adapters.openai_agents.answer import StreamedAnswer, gate_whole
from guardrail.adapters.openai_agents.closing import Outgoing, message_item
from guardrail.adapters.openai_agents.exchange import Exchange
from guardrail.adapters.openai_agents.messages import read_history
from guardrail.adapters.openai_agents.records import trace
from guardrail.adapters.openai_agents.turns import Turns
from guardrail.guard import Guard


class GuardedModel(Model):
    """A model whose prompts and answers pass a guard: `Agent(model=GuardedModel(model, guard))`.

    The newest turn is read first; if it is stopped, the LLM is not asked. Text and reasoning then leave token by token,
    tool calls once they have been read whole, so that stream events, run items, final outputs, hooks and sessions hold
    released text only. At a stop the LLM's stream is closed, and the run goes on with what was released; the policy's
    `on_stop` says what else ("repair" acts as "replace"). Records stand in the trace (a span named "guardrail") and, of
    streamed answers, in `response.metadata["guardrail"]` of the last event. The inner model's own spans carry no text.

    A stopped call of a tool that has `tool_guardrails` of the same guard is refused, and the LLM reads why; any other
    stopped call ends the answer. Calls of a provider's own tools are read with all they say; images and citations are
    not.

    Attributes:
        inner: the model.
        guard: judges.
        turns: for the guardrails of tools.
    """

    def __init__(self, inner: Model, guard: Guard) -> None:
        self.inner = inner
        self.guard = guard
        self.turns: Turns = Turns(guard)

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> ModelResponse:
        exchange = self._exchange(system_instructions, input, model_settings, tools, conversation_id)
        if stopping := await exchange.astopping():
            trace(stopping)
            return ModelResponse([message_item(exchange.closing_text(stopping))], Usage(), None)
        with await exchange.aopen_stream() as gate:
            response = await self.inner.get_response(
                system_instructions, input, model_settings, tools, output_schema, handoffs, _without_text(tracing),
                previous_response_id=previous_response_id, conversation_id=conversation_id, prompt=prompt,
            )  # fmt: skip
            return await gate_whole(exchange, gate, response)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        exchange = self._exchange(system_instructions, input, model_settings, tools, conversation_id)
        if stopping := await exchange.astopping():
            trace(stopping)
            for event in Outgoing().closing(exchange.closing_text(stopping), stopping):
                yield event
            return
        with await exchange.aopen_stream() as gate:
            events = self.inner.stream_response(
                system_instructions, input, model_settings, tools, output_schema, handoffs, _without_text(tracing),
                previous_response_id=previous_response_id, conversation_id=conversation_id, prompt=prompt,
            )  # fmt: skip
            async with aclosing(StreamedAnswer(exchange, gate).gated(events)) as gated:
                async for event in gated:
                    yield event

    async def close(self) -> None:
        await self.inner.close()

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self.inner._cleanup_on_run_end(owner)

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        return self.inner.get_retry_advice(request)

    def _exchange(
        self,
        instructions: str | None,
        items: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[Tool],
        conversation_id: str | None,
    ) -> Exchange:
        history = read_history(instructions, items)
        return Exchange.of(self.turns, history, tools, conversation_id, settings.max_tokens)


def _without_text(tracing: ModelTracing) -> ModelTracing:
    """Return how the inner model may trace: its spans stay, without what it reads and writes."""
    return ModelTracing.DISABLED if tracing.is_disabled() else ModelTracing.ENABLED_WITHOUT_DATA
