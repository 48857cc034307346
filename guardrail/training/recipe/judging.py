"""A guard as a judge of the recipe: any Qwen3Guard answers in the words of Qwen3Guard-Gen."""

from collections.abc import Sequence

from guardrail.conversation import Message, Role
from guardrail.errors import UnparsableVerdict
from guardrail.generative.endpoint import MAX_NEW_TOKENS, STOP
from guardrail.generative.parsing import Answer, parse
from guardrail.training.recipe.calls import Ask, Call


async def judge(ask: Ask, model: str, messages: Sequence[Message]) -> Answer | None:
    """Return what a guard says of the last turn of a conversation; None if that cannot be read."""
    call = Call(model, "guard", tuple(messages), max_tokens=MAX_NEW_TOKENS, stop=tuple(STOP))
    reply = await ask(call)
    try:
        return parse(reply.text, is_response=messages[-1].role is Role.ASSISTANT)
    except UnparsableVerdict:
        return None
