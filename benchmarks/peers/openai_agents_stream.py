"""The OpenAI Agents SDK: an output guardrail on a streamed run."""

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, GuardrailFunctionOutput, OutputGuardrail, RunConfig, Runner
from agents.testing import ModelStep, ScriptedModel, assistant_message
from openai.types.responses import Response, ResponseCompletedEvent, ResponseTextDeltaEvent


async def output_guardrail(llm: Any, rule: Any) -> AsyncIterator[str]:
    """The reader is shown every text delta as it comes."""

    async def events(_call: Any) -> AsyncIterator[Any]:
        number = 0
        async for piece in llm.stream():
            number += 1
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta", content_index=0, output_index=0, item_id="message", logprobs=[],
                delta=piece, sequence_number=number,
            )  # fmt: skip
        yield ResponseCompletedEvent(type="response.completed", sequence_number=number + 1, response=_response(llm))

    async def check(_context: Any, _agent: Any, output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=rule.forbids(str(output)))

    model = ScriptedModel([ModelStep(stream_events=events)])
    agent = Agent("baker", model=model, output_guardrails=[OutputGuardrail(check)])
    run = Runner.run_streamed(agent, "How do I bake bread?", run_config=RunConfig(tracing_disabled=True))
    async for event in run.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            yield event.data.delta


def _response(llm: Any) -> Response:
    return Response(
        id="response", created_at=0, model="scripted", object="response", parallel_tool_calls=False,
        output=[assistant_message("".join(llm.pieces))], tool_choice="auto", tools=[],
    )  # fmt: skip
