"""LLM Guard: an output scanner without weights (BanSubstrings), used as its streaming example does.

The example (examples/openai_streaming.py of protectai/llm-guard) prints each chunk and scans the whole text so far once
it is longer than 30 characters; a failed scan raises.
"""

from collections.abc import Iterator
from typing import Any

from gateway import serve, upstream
from llm_guard import scan_output
from llm_guard.output_scanners import BanSubstrings
from openai import OpenAI
from rule import WORD

client = OpenAI(**upstream())
scanners = [BanSubstrings([WORD], match_type="word")]

MIN_CHARS = 30
"""From the example."""


class Refused(Exception):
    """A scanner found something."""


def scan(prompt: str, text: str) -> str:
    """Return what the scanners leave of a text."""
    cleaned, valid, _scores = scan_output(scanners, prompt, text)
    if not all(valid.values()):
        raise Refused
    return str(cleaned)


def answer(messages: list[dict[str, Any]], stream: bool) -> Iterator[str]:
    """Ask the LLM and scan what it answers."""
    prompt = messages[-1]["content"]
    given = client.chat.completions.create(model="canary", messages=messages, stream=stream)
    if not stream:
        yield scan(prompt, given.choices[0].message.content)
        return
    text = ""
    with given:  # the example leaves the connection open when a scan fails
        for chunk in given:
            piece = chunk.choices[0].delta.content or ""
            text += piece
            if len(text) > MIN_CHARS:
                scan(prompt, text)
            yield piece


if __name__ == "__main__":
    serve(answer)
