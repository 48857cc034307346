"""A proxy in front of a scripted LLM, and those who ask it."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from guardrail import Guard
from guardrail.service import Settings
from guardrail.service.sections import ServerSettings, UpstreamSettings
from tests.service.servers import Serving, serving
from tests.wire.upstream import Script, Upstream

JSON = {"content-type": "application/json"}
"""Headers of a request whose body is written by hand."""

Plays = Callable[..., tuple[str, Script]]

FORMS = ["chat/completions", "completions", "responses"]
NEVER_S = 300.0
"""Longer than any test."""


@contextmanager
def proxying(
    upstream: str, *, guard: Guard | None = None, server: ServerSettings | None = None, **settings: Any
) -> Iterator[Serving]:
    """Serve a proxy in front of an upstream; keywords are the upstream's settings."""
    behind = UpstreamSettings(base_url=upstream, **{"api_key": "up-key", **settings})
    with serving(Settings(upstream=behind, server=server or ServerSettings()), guard=guard) as running:
        yield running


def registering(upstream: Upstream) -> Plays:
    """Return what registers an LLM's answers; it returns the prompt that asks for them, and the first."""

    def register(*scripts: Script) -> tuple[str, Script]:
        name = secrets.token_hex(8)
        return f"run {name}", upstream.plays(name, *scripts)

    return register


def post(proxy: Serving, form: str, prompt: str, **body: Any) -> httpx.Response:
    """Ask in one of the formats, and read all that comes."""
    bodies: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": [{"role": "user", "content": prompt}]},
        "completions": {"prompt": prompt},
        "responses": {"input": prompt},
    }
    return httpx.post(f"{proxy.base_url}/{form}", json={"model": "m", **bodies[form], **body}, timeout=30)


def frames_of(text: str) -> list[Any]:
    """Return the objects in the frames of a stream; [DONE] as it is."""
    payloads = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [payload if payload == "[DONE]" else json.loads(payload) for payload in payloads]


def chat(client: Any, prompt: str, **options: Any) -> Any:
    """Ask for a streamed chat completion."""
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model="m", messages=messages, stream=True, **options)


def text_of(chunks: list[Any], index: int = 0, field: str = "content") -> str:
    """Return a choice's text."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(getattr(delta, field, None) or "" for delta in deltas)


def ends_of(chunks: list[Any], index: int = 0) -> list[str]:
    """Return the finish reasons of a choice."""
    return [c.finish_reason for chunk in chunks for c in chunk.choices if c.index == index and c.finish_reason]
