"""NeMo Guardrails: an action of one's own as output rail, on a stream that comes from elsewhere (`generator=`)."""

import json
from collections.abc import AsyncIterator
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.actions import action
from nemoguardrails.actions.rail_outcome import RailOutcome

FLOW = """
define subflow check word
  $verdict = execute check_word(text=$bot_message)
  if $verdict.is_blocked
    bot refuse to respond
    stop
"""


def rails(rule: Any, **streaming: Any) -> LLMRails:
    """Return rails with the rule on the output, streamed."""
    output = {"flows": ["check word"], "streaming": {"enabled": True, **streaming}}
    config = RailsConfig.from_content(FLOW, config={"models": [], "rails": {"output": output}})

    @action(name="check_word")
    async def check_word(text: str, **_: Any) -> RailOutcome:
        return RailOutcome.block() if rule.forbids(text) else RailOutcome.allow()

    made = LLMRails(config)
    made.register_action(check_word, "check_word")
    return made


async def shown_first(llm: Any, rule: Any) -> AsyncIterator[str]:
    """The defaults: windows of 200 tokens with 50 of context, given out before they are checked."""
    async for piece in _shown(rails(rule), llm):
        yield piece


async def held(llm: Any, rule: Any) -> AsyncIterator[str]:
    """`stream_first: false`: a window is checked before it is given out."""
    async for piece in _shown(rails(rule, stream_first=False), llm):
        yield piece


async def _shown(made: LLMRails, llm: Any) -> AsyncIterator[str]:
    messages = [{"role": "user", "content": "How do I bake bread?"}]
    async for piece in made.stream_async(messages=messages, generator=llm.stream()):
        if piece.startswith('{"error"'):
            raise Blocked(json.loads(piece)["error"]["type"])
        yield piece


class Blocked(Exception):
    """A rail stopped the stream: NeMo says so by a last piece of JSON."""
