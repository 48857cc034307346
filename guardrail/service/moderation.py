"""`POST /v1/moderations` as OpenAI has it, with messages besides; Mistral's `/v1/chat/moderations` is the same."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from guardrail.actions import Action
from guardrail.conversation import Conversation, Message, to_messages
from guardrail.decision import Decision, Direction
from guardrail.guard import Guard
from guardrail.openai_categories import OPENAI_CATEGORIES, flags, scores
from guardrail.records import record_values
from guardrail.service.callers import Caller
from guardrail.service.errors import ServiceError, refuse_failure
from guardrail.service.state import Service, authorised, service_of
from guardrail.service.verdicts import token_values
from guardrail.verdict import TokenVerdict

router = APIRouter(tags=["moderation"])

ALIASES = (
    "omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable",
    "text-moderation-007", "mistral-moderation-latest", "guardrail",
)  # fmt: skip
"""Names under which clients that know OpenAI's or Mistral's models ask for ours."""


class ModerationRequest(BaseModel):
    """What is to be judged: OpenAI's request, with `messages`, `conversation_id` and `tokens` besides.

    Attributes:
        input: a text; texts, with a result each; or content parts, with one result for all of them.
        messages: a conversation instead: its last turn is judged, be it the user's, the assistant's or a tool's.
        model: ours, or one of OpenAI's names.
        conversation_id: for the record, and so that nothing is read twice.
        tokens: whether an answer's result tells of every token.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    input: str | list[str] | list[dict[str, Any]] | None = None
    messages: list[dict[str, Any]] | None = None
    model: str | None = None
    conversation_id: str | None = Field(default=None, max_length=256)
    tokens: bool = False


class ChatModerationRequest(BaseModel):
    """Mistral's request: a conversation, or several.

    Attributes:
        input: messages, or lists of them.
        model: as elsewhere.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    input: list[dict[str, Any]] | list[list[dict[str, Any]]]
    model: str | None = None


@router.post("/v1/moderations")
async def moderate(
    asked: ModerationRequest, request: Request, caller: Annotated[Caller, Depends(authorised)]
) -> dict[str, Any]:
    """Judge texts or a conversation."""
    return await _answer(service_of(request), caller, asked, _conversations(asked))


@router.post("/v1/chat/moderations")
async def moderate_chat(
    asked: ChatModerationRequest, request: Request, caller: Annotated[Caller, Depends(authorised)]
) -> dict[str, Any]:
    """Judge the last turn of each conversation."""
    is_one = not asked.input or isinstance(asked.input[0], Mapping)
    given: list[Any] = asked.input
    conversations: list[Conversation] = [given] if is_one else given
    whole = ModerationRequest(messages=[], model=asked.model)
    return await _answer(service_of(request), caller, whole, conversations)


def _conversations(asked: ModerationRequest) -> list[Conversation]:
    """Return what each result is about.

    Raises:
        ServiceError: there is nothing, or both kinds.
    """
    if (asked.input is None) == (asked.messages is None):
        raise ServiceError("give either input or messages", param="input")
    if asked.messages is not None:
        return [asked.messages]
    given: Any = asked.input
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return given
    return [given if isinstance(given, str) else [{"role": "user", "content": given}]]


async def _answer(
    service: Service, caller: Caller, asked: ModerationRequest, conversations: list[Conversation]
) -> dict[str, Any]:
    guard = service.guard_for(caller, "moderation")
    name = guard.engine.info.name
    if asked.model is not None and asked.model not in (*ALIASES, name):
        raise ServiceError(
            f"there is no such model here; valid: {name}, {', '.join(ALIASES)}",
            status=404, code="model_not_found", param="model",
        )  # fmt: skip
    if not 0 < len(conversations) <= service.settings.server.max_inputs:
        raise ServiceError(f"give 1 to {service.settings.server.max_inputs} inputs", param="input")
    read = [to_messages(one) for one in conversations]
    decisions = await asyncio.gather(*(_check(guard, one, caller, asked.conversation_id) for one in read))
    results = [_result(guard, decision, tokens=asked.tokens) for decision in decisions]
    return {"id": f"modr-{uuid.uuid4().hex}", "model": asked.model or name, "results": results}


async def _check(guard: Guard, messages: tuple[Message, ...], caller: Caller, conversation_id: str | None) -> Decision:
    """Judge the last turn.

    Raises:
        ServiceError: the guard could not, and its policy lets nothing pass then.
    """
    decision = await guard.acheck_turn(messages, conversation_id=conversation_id, tenant=caller.tenant)
    refuse_failure(decision)
    return decision


def _token_values(token: TokenVerdict) -> dict[str, Any]:
    """Return all of a token's verdict, so that whoever reads it can decide as the gate does."""
    return token_values(token) | {"complete": token.complete, "is_whole": token.is_whole}


def _result(guard: Guard, decision: Decision, *, tokens: bool) -> dict[str, Any]:
    """Return one of OpenAI's results, with the decision's record beside it."""
    is_answer = decision.direction in (Direction.RESPONSE, Direction.TOOL_CALL)
    labels = [one.response_labels if is_answer else one.prompt_labels for one in guard.models]
    names = tuple(dict.fromkeys(name for one in labels for name in one.categories))
    verdict = decision.verdict
    shares = dict.fromkeys(names, 0.0) | (verdict.category_probabilities if verdict else {})
    flagged = decision.would_action is not Action.ALLOW
    record = record_values(decision)
    if tokens:
        record["tokens"] = [_token_values(token) for token in decision.tokens]
    return {
        "flagged": flagged,
        "categories": flags(decision.category if flagged else None, names),
        "category_scores": scores(verdict.non_safe_probability if verdict else 0.0, shares),
        "category_applied_input_types": {name: ["text"] for name in (*OPENAI_CATEGORIES, *names)},
        "guardrail": record,
    }
