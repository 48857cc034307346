"""What happens at each hook of the gateway: read the request, ask the guard, tell LiteLLM."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import HTTPException
from litellm._logging import verbose_proxy_logger
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.proxy.common_utils.callback_utils import add_guardrail_to_applied_guardrails_header
from litellm.types.guardrails import GuardrailEventHooks

from guardrail.actions import Action
from guardrail.adapters.litellm.asking import ask_router
from guardrail.adapters.litellm.logged import count_usage, judging_logged, log_cut, shadow_of
from guardrail.adapters.litellm.records import PROVIDER, response_of, status_of, tracing_of
from guardrail.adapters.litellm.requests import conversation_id, exchange_of, tenant
from guardrail.adapters.litellm.streaming import GatedStream
from guardrail.adapters.litellm.wholes import judging
from guardrail.adapters.litellm.wire import dumped
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.errors import ConversationError, StreamError
from guardrail.guard import Guard
from guardrail.waiting import Wait, arun, wait
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange, refuses
from guardrail.wire.gate import Gate
from guardrail.wire.summary import summary_of

_MCP_EVENTS = {
    GuardrailEventHooks.pre_call: GuardrailEventHooks.pre_mcp_call,
    GuardrailEventHooks.during_call: GuardrailEventHooks.during_mcp_call,
}
"""LiteLLM calls the same hooks for MCP calls."""


class Refused(HTTPException):
    """A request or a whole answer was refused.

    Attributes:
        message: said to the client; some of LiteLLM's endpoints look here, others into the detail.
        type: of OpenAI's errors.
        param: of OpenAI's errors.
    """

    param = None

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(status, {"error": message, **more})
        self.message = message
        self.type = "invalid_request_error" if status == 400 else "guardrail_error"


class Gateway:
    """Serves the hooks of one guardrail. Safe for many tasks."""

    def __init__(self, guardrail: CustomGuardrail, guard: Guard) -> None:
        self._guardrail = guardrail
        self._guard = guard
        self._shadow = shadow_of(guard)
        self._kept = KeptResults()

    async def admit(self, data: dict[str, Any], event: GuardrailEventHooks) -> None:
        """Judge a request; poisoned tool results are replaced before the call, and stop it beside the call.

        Raises:
            HTTPException: 400, the request was stopped or cannot be read.
        """
        add_guardrail_to_applied_guardrails_header(data, self._guardrail.guardrail_name)
        if "mcp_tool_name" in data:
            await self._admit_call(data, event)
            return
        exchange = self._read(data)
        started = time.time()
        replaces = event is GuardrailEventHooks.pre_call
        admission = await arun(admitting(exchange, data, self._kept, replaces=replaces))
        for decision in admission.decisions:
            self._note(data, decision, event, started)
        if admission.refusal:
            raise self._refusal(admission.refusal)

    async def screen_answer(self, data: dict[str, Any], response: Any) -> Any:
        """Judge a whole answer; return it as far as it may be seen.

        Raises:
            HTTPException: 400, it was stopped and the policy raises; 500, it cannot be read.
        """
        exchange = self._read(data)
        started = time.time()

        def ask_again(more: Sequence[Mapping[str, Any]]) -> Wait:
            return wait(_no_way, ask_router, data, more, stream=False)

        try:
            decisions = await arun(judging(exchange, response, ask_again))
        except (NotUnderstood, StreamError, AttributeError, KeyError, TypeError) as error:
            raise _unreadable(500, error) from None
        for decision in decisions:
            self._note(data, decision, GuardrailEventHooks.post_call, started)
        refusal = next(filter(refuses, decisions), None)
        if refusal and exchange.raises:
            raise self._refusal(refusal)
        return response

    async def gate_stream(self, data: dict[str, Any], source: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        """Yield what may leave of a stream.

        Raises:
            AnswerStopped: an answer was stopped, and the policy raises.
            NotUnderstood: the stream cannot be read.
        """
        exchange = self._read(data)
        started = time.time()

        async def settle(gate: Gate) -> dict[str, Any] | None:
            self._note_all(data, gate, started)
            usage = await asyncio.to_thread(count_usage, data, gate)
            await log_cut(data, gate, usage)
            return dumped(usage) if (data.get("stream_options") or {}).get("include_usage") else None

        async def ask_again(messages: Sequence[Mapping[str, Any]]) -> AsyncIterator[Any]:
            again: AsyncIterator[Any] = await ask_router(data, messages, stream=True)
            return again

        stream = GatedStream(exchange, source, settle, ask_again)
        try:
            async with aclosing(stream.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            if stream.gate and not stream.is_settled:
                self._note_all(data, stream.gate, started)

    async def screen_mcp_result(self, kwargs: Mapping[str, Any], response: Any) -> Any:
        """Return what an MCP tool brought back, with what stands in the place of poisoned texts.

        LiteLLM swallows what is raised here and would hand on the raw result: a failure withholds it.
        """
        tool = str((kwargs.get("mcp_tool_call_metadata") or {}).get("name") or "")
        blocks = list(response.mcp_tool_call_response)
        try:
            kept = [block for block in blocks if await self._screen_block(kwargs, tool, block)]
        except Exception as error:  # noqa: BLE001  # the gateway's edge: whatever fails, the result stays back
            verbose_proxy_logger.error("guardrail: an MCP result was withheld: %s", type(error).__name__)
            kept = [block for block in blocks if hasattr(block, "text")][:1]
            for block in kept:
                block.text = self._guard.policy.result_message(None)
        response.mcp_tool_call_response = kept
        return response

    async def judge_texts(self, inputs: Mapping[str, Any], data: dict[str, Any], input_type: str) -> None:
        """Judge single texts.

        Raises:
            HTTPException: 400, one was stopped.
        """
        exchange = self._read(data)
        owner = {"conversation_id": exchange.id, "tenant": exchange.tenant}
        for text in inputs.get("texts") or ():
            if input_type == "request":
                decision = await self._guard.acheck_prompt(text, **owner)
            else:
                decision = await self._guard.acheck_response(exchange.messages, text, **owner)
            if refuses(decision):
                raise self._refusal(decision)

    async def judge_logged(self, kwargs: dict[str, Any], result: Any) -> dict[str, Any]:
        """Judge a call that LiteLLM is about to log; return its details with what would have been stopped."""
        bucket: dict[str, Any] = {}
        data = {"metadata": bucket}
        started = time.time()
        decisions = await arun(judging_logged(self._shadow, kwargs, result))
        for decision in decisions:
            self._note(data, decision, GuardrailEventHooks.logging_only, started)
        logged = kwargs.get("standard_logging_object") or {}
        noted = bucket.get("standard_logging_guardrail_information") or []
        found = [*(logged.get("guardrail_information") or ()), *noted]
        return {**kwargs, "standard_logging_object": {**logged, "guardrail_information": found}}

    def _read(self, data: Mapping[str, Any]) -> Exchange:
        try:
            return exchange_of(self._guard, data)
        except (AttributeError, KeyError, TypeError, ValueError, ConversationError) as error:
            raise _unreadable(400, error) from None

    async def _admit_call(self, data: dict[str, Any], event: GuardrailEventHooks) -> None:
        call = ToolCall(data["mcp_tool_name"], json.dumps(data.get("mcp_arguments") or {}, ensure_ascii=False))
        started = time.time()
        decision = await self._guard.acheck_tool_call(
            (), call, conversation_id=conversation_id(data), tenant=tenant(data)
        )
        self._note(data, decision, _MCP_EVENTS[event], started)
        if refuses(decision):
            raise self._refusal(decision)

    async def _screen_block(self, kwargs: Mapping[str, Any], tool: str, block: Any) -> bool:
        """Judge a block of an MCP result, and replace its text if need be; return whether it may be handed on."""
        holder: Any = block if hasattr(block, "text") else getattr(block, "resource", None)
        if not isinstance(getattr(holder, "text", None), str):
            return self._guard.policy.unreadable is not Action.STOP
        started = time.time()
        screened = await self._guard.ascreen_tool_result(
            (), holder.text, tool=tool, conversation_id=conversation_id(kwargs), tenant=tenant(kwargs)
        )
        self._note(kwargs.get("litellm_params") or {}, screened.decision, GuardrailEventHooks.post_mcp_call, started)
        holder.text = screened.text
        return True

    def _note(self, data: dict[str, Any], decision: Decision, event: GuardrailEventHooks, started: float) -> None:
        """Tell LiteLLM's own logging."""
        ended = time.time()
        self._guardrail.add_standard_logging_guardrail_information_to_request_data(
            guardrail_json_response=response_of(decision),
            request_data=data,
            guardrail_status=status_of(decision),
            start_time=started,
            end_time=ended,
            duration=ended - started,
            guardrail_provider=PROVIDER,
            event_type=event,
            tracing_detail=tracing_of(decision),
        )

    def _note_all(self, data: dict[str, Any], gate: Gate, started: float) -> None:
        for answer in gate.answers.values():
            self._note(data, answer.decision, GuardrailEventHooks.post_call, started)

    def _refusal(self, decision: Decision) -> HTTPException:
        return Refused(400, self._guard.policy.stop_message(decision.category), guardrail=summary_of(decision))


def _no_way(*_: object, **__: object) -> Any:
    raise RuntimeError("the gateway is asynchronous")


def _unreadable(status: int, error: Exception) -> HTTPException:
    message = (
        error.message if isinstance(error, NotUnderstood) else f"guardrail: cannot be read ({type(error).__name__})"
    )
    return Refused(status, message)
