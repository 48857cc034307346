"""Answers as JSON: asked for by schema, checked here, asked for once more with the error, then given up."""

from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from guardrail.conversation import Message, Role
from guardrail.training.recipe.calls import Ask, Call

T = TypeVar("T", bound=BaseModel)


async def ask_json(ask: Ask, call: Call, kind: type[T]) -> T | None:
    """Return a model's answer to a chat; None if it follows the schema neither at once nor when told of its error."""
    call = replace(call, schema=_schema_of(kind))
    text = (await ask(call)).text
    try:
        return kind.model_validate_json(_bare(text))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
    told = Message(Role.USER, f"That is not the JSON asked for ({wrong}). Answer with the JSON alone.")
    again = replace(call, messages=(*call.messages, Message(Role.ASSISTANT, text), told))
    try:
        return kind.model_validate_json(_bare((await ask(again)).text))
    except ValidationError:
        return None


@cache
def _schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model; making it takes longer than all else that is done for a call."""
    return kind.model_json_schema()


def _bare(text: str) -> str:
    """Return JSON without the fence or the words that models put around it."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
