"""LiteLLM's generic guardrail API: any LiteLLM proxy guards its calls here, without a plugin.

The proxy sends each request, and of an answer that streams all that has come so far, again and again. Here each call's
streams stay open, so that every token is read once. Nobody says which showing is the last, so every text is judged to
its end each time.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict

from guardrail.conversation import Message, Role, ToolCall
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.json_text import well_formed
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError, reading_request, refuse_failure
from guardrail.service.growing import Call, Calls, Shown
from guardrail.service.state import authorised, service_of
from guardrail.waiting import arun
from guardrail.wire.admission import Admission, KeptResults, admitting
from guardrail.wire.asked import Asked
from guardrail.wire.exchange import Exchange, refuses
from guardrail.wire.frames import read_json

router = APIRouter(tags=["litellm"])

MAX_CALLS = 1024
IDLE_S = 60.0
"""Calls held open, and for how long after they were last heard of. Our choice."""


class BasicRequest(BaseModel):
    """What LiteLLM sends; it adds fields from version to version.

    Attributes:
        input_type: whether `texts` are asked of the LLM or said by it.
        litellm_call_id: of the LLM call.
        litellm_trace_id: of the conversation.
        structured_messages: what is asked, with roles.
        texts: the same without roles; of an answer, one a choice, all that has come so far.
        tool_calls: that a whole answer makes.
        images: that nobody here can read.
        request_data: whose call it is, by LiteLLM's keys.
        additional_provider_specific_params: `{"holds": true}` where the proxy streams with
            `streaming_transform_mode: incremental_diff`, and so shows only what this answer has in `texts`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    input_type: Literal["request", "response"]
    litellm_call_id: str | None = None
    litellm_trace_id: str | None = None
    structured_messages: list[dict[str, Any]] | None = None
    texts: list[str] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    images: list[str] | None = None
    request_data: dict[str, Any] | None = None
    additional_provider_specific_params: dict[str, Any] | None = None

    @property
    def holds(self) -> bool:
        """Whether text that is not cleared yet can be kept back."""
        return (self.additional_provider_specific_params or {}).get("holds") is True

    def tenant(self, caller: Caller) -> str | None:
        """Return whose call it is: within the key's tenant a team's, else a user's, else a key's of the proxy."""
        data = self.request_data or {}
        kinds = ((kind, data.get(f"user_api_key_{kind}")) for kind in ("team_id", "user_id", "hash"))
        theirs = next((f"{kind}:{name}" for kind, name in kinds if name), None)
        return "/".join(str(part) for part in (caller.tenant, theirs) if part) or None


@router.post("/beta/litellm_basic_guardrail_api")
async def guard_call(
    asked: BasicRequest, request: Request, caller: Annotated[Caller, Depends(authorised)]
) -> dict[str, Any]:
    """Judge what an LLM is asked, or what it has said so far."""
    service = service_of(request)
    n_texts, n_most = len(asked.texts or ()), service.settings.server.max_inputs
    if n_texts > n_most:
        raise ServiceError(f"{n_texts} texts are more than {n_most}", param="texts")
    guard, state = service.guard_for(caller, "litellm"), request.app.state.litellm
    call = _call(guard, asked, caller)
    key = (call.tenant, asked.litellm_call_id or "")
    if asked.input_type == "request":
        return await _judge_request(state, key, call, asked)
    if asked.litellm_call_id:
        call = await state.calls.find(key, lambda: call)
    return await _judge_answer(call, asked)


class State:
    """What the route keeps between requests. For one event loop.

    Attributes:
        calls: under way.
        results: of tools, that have been judged.
    """

    def __init__(self) -> None:
        self.calls = Calls(max_calls=MAX_CALLS, idle_s=IDLE_S, clock=time.monotonic)
        self.results = KeptResults()

    async def sweep(self) -> None:
        """Finish idle calls, for ever."""
        while True:
            await asyncio.sleep(IDLE_S / 4)
            await self.calls.sweep()


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Keep the route's state while the application runs; calls under way at its end are finished and recorded."""
    app.state.litellm = state = State()
    sweeping = asyncio.create_task(state.sweep())
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        await state.calls.finish()


def _call(guard: Guard, asked: BasicRequest, caller: Caller) -> Call:
    messages: tuple[Message, ...] = ()
    if asked.input_type == "request":
        with reading_request():
            messages = tuple(Asked.of({"messages": _messages(asked)}).messages)
    return Call(guard, messages, asked.litellm_trace_id or asked.litellm_call_id, asked.tenant(caller))


def _messages(asked: BasicRequest) -> list[dict[str, Any]]:
    """Return what is asked, with roles; texts without any are a user's."""
    if asked.structured_messages:
        return asked.structured_messages
    parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in asked.texts or ()]
    parts += [{"type": "image_url", "image_url": {"url": image}} for image in asked.images or ()]
    return [{"role": "user", "content": parts}]


async def _judge_request(state: State, key: tuple[str | None, str], call: Call, asked: BasicRequest) -> dict[str, Any]:
    exchange = Exchange(call.guard, call.messages, call.conversation_id, call.tenant)
    messages = _messages(asked)
    admission: Admission = await arun(admitting(exchange, {"messages": messages}, state.results, replaces=True))
    if admission.refusal:
        refuse_failure(admission.refusal)
        return _blocked(call.guard, admission.refusal)
    if admission.has_replaced:  # the LLM answers what stands there now
        call.messages = tuple(Asked.of({"messages": messages}).messages)
    if asked.litellm_call_id:
        await state.calls.begin(key, call)
    if admission.has_replaced:
        return {"action": "GUARDRAIL_INTERVENED", "structured_messages": _sayable(messages)}
    return {"action": "NONE"}


def _sayable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages that can be written as JSON: half characters are U+FFFD, as the guard has read them."""
    text = well_formed(json.dumps(messages, ensure_ascii=False))
    said: list[dict[str, Any]] = read_json(text.encode())
    return said


async def _judge_answer(call: Call, asked: BasicRequest) -> dict[str, Any]:
    texts = asked.texts or []
    shown = await call.show(texts)
    for one in shown:
        if one.is_stopped or (refuses(one.decision) and not asked.holds):
            refuse_failure(one.decision)
            return _blocked(call.guard, one.decision)
    if refusal := next(filter(refuses, await _judge_calls(call, texts, asked)), None):
        refuse_failure(refusal)
        return _blocked(call.guard, refusal)
    if not asked.holds:
        return {"action": "NONE"}
    return _held(texts, shown)


def _held(texts: list[str], shown: list[Shown]) -> dict[str, Any]:
    """Return what may be shown if the answer ends here, and how much of that may still change if it goes on."""
    released = [text[: one.decision.released_chars] for text, one in zip(texts, shown, strict=True)]
    held = [max(0, len(text) - one.n_final) for text, one in zip(released, shown, strict=True)]
    return {"action": "GUARDRAIL_INTERVENED", "texts": released, "stream_holdback_chars": held}


async def _judge_calls(call: Call, texts: list[str], asked: BasicRequest) -> list[Decision]:
    """Judge the tool calls of an answer, each behind the ones before it."""
    with reading_request():
        calls = [_tool_call(one) for one in asked.tool_calls or ()]
    judge = partial(call.guard.acheck_tool_call, conversation_id=call.conversation_id, tenant=call.tenant)
    said = texts[0] if texts else ""
    return [
        await judge((*call.messages, Message(Role.ASSISTANT, said, None, tuple(calls[:i]))), one)
        for i, one in enumerate(calls)
    ]


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function") or {}
    return ToolCall(str(function.get("name") or ""), str(function.get("arguments") or ""))


def _blocked(guard: Guard, decision: Decision) -> dict[str, Any]:
    """Return what ends the call; the reason is what a client may be shown."""
    return {"action": "BLOCKED", "blocked_reason": guard.policy.stop_message(decision.category)}
