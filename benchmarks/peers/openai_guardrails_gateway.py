"""openai-guardrails: its drop-in client with a keyword filter on the output stage, streaming as its README does."""

from collections.abc import Iterator
from typing import Any

from gateway import serve, upstream
from guardrails import GuardrailsOpenAI
from rule import WORD

KEYWORDS = {"name": "Keyword Filter", "config": {"keywords": [WORD]}}
client = GuardrailsOpenAI(config={"version": 1, "output": {"version": 1, "guardrails": [KEYWORDS]}}, **upstream())


def answer(messages: list[dict[str, Any]], stream: bool) -> Iterator[str]:
    """Ask through the guarded client."""
    given = client.chat.completions.create(model="canary", messages=messages, stream=stream)
    if not stream:
        yield given.choices[0].message.content
        return
    for chunk in given:
        yield chunk.choices[0].delta.content or ""


if __name__ == "__main__":
    serve(answer)
