"""The SDK's guardrails of an agent: its input before the first request, its final output after the last."""

import json
from collections.abc import Sequence
from typing import Any

from agents import Agent, GuardrailFunctionOutput, InputGuardrail, OutputGuardrail, RunContextWrapper

from guardrail.adapters.openai_agents.messages import read_history
from guardrail.adapters.openai_agents.records import run_id
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.records import record_values


def input_guardrail(guard: Guard) -> InputGuardrail[Any]:
    """Return a guardrail that reads the input before the model is asked: `Agent(input_guardrails=[...])`.

    A stopped prompt raises the SDK's `InputGuardrailTripwireTriggered`. The SDK runs it for the first agent of a run
    only; a `GuardedModel` reads every new turn, and needs no input guardrail beside it.
    """

    async def judge(
        _context: RunContextWrapper[Any], _agent: Agent[Any], items: str | Sequence[Any]
    ) -> GuardrailFunctionOutput:
        history = read_history(None, items)
        return _output(await guard.acheck_prompt(history.messages, conversation_id=run_id()))

    return InputGuardrail(judge, name="guardrail", run_in_parallel=False)


def output_guardrail(guard: Guard) -> OutputGuardrail[Any]:
    """Return a guardrail that reads the final output: `Agent(output_guardrails=[...])`.

    A stopped output raises the SDK's `OutputGuardrailTripwireTriggered`. It sees finished outputs only:
    streamed tokens, run items and traces have left by then. Only a `GuardedModel` holds text back, and it needs no
    output guardrail beside it.
    """

    async def judge(context: RunContextWrapper[Any], _agent: Agent[Any], output: Any) -> GuardrailFunctionOutput:
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, default=str)
        history = read_history(None, context.turn_input)
        return _output(await guard.acheck_response(history.messages, text, conversation_id=run_id()))

    return OutputGuardrail(judge, name="guardrail")


def _output(decision: Decision) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(record_values(decision), tripwire_triggered=decision.stopped)
