"""Drives an OpenAI-compatible endpoint whose own upstream is ours, and hears every byte it answers with."""

import json
import time
from collections.abc import Iterator
from typing import Any

from guardrail.errors import MissingExtra
from guardrail.leaktest.canary import Canary
from guardrail.leaktest.drive import Drive, Meter, Progress
from guardrail.leaktest.spy import Run, Spy
from guardrail.leaktest.texts import Found, texts
from guardrail.leaktest.upstream import Upstream

try:
    import httpx
except ModuleNotFoundError as error:
    raise MissingExtra("httpx", "langchain") from error

STREAMED = "HTTP stream"
WHOLE = "HTTP answer"

TIMEOUT_S = 60.0
"""Longest wait for a piece of an answer, and for the upstream to notice the end of a run; our own choice."""

POLL_S = 0.02


def endpoint_drives(
    url: str, upstream: Upstream, canary: Canary, spy: Spy, *, model: str, key: str = ""
) -> list[Drive]:
    """Return the two ways of asking an endpoint: for a stream, and for a whole answer.

    Args:
        url: base URL of the gateway under test, such as http://localhost:4000/v1.
        upstream: the server that this gateway asks; open.
        canary: what it answers.
        spy: hears status lines, headers and bodies.
        model: name of the model to ask for.
        key: sent as a bearer token.
    """

    def drive(outlet: str, streams: bool) -> Drive:
        messages = [{"role": "user", "content": canary.prompt}]
        request = {"model": model, "messages": messages, "stream": streams}

        def run() -> Run:
            meter = upstream.restart_count()
            heard = Progress(spy, canary, meter)
            spy.listen(outlet)
            try:
                status = _ask(f"{url.rstrip('/')}/chat/completions", key, request, outlet, heard)
                error = None if status < httpx.codes.BAD_REQUEST else f"HTTP {status}"
            except httpx.HTTPError as failure:
                error = type(failure).__name__
            _settle(meter)
            return Run(outlet, meter.produced, heard.first_text_at, error)

        return Drive(outlet, run)

    return [drive(STREAMED, True), drive(WHOLE, False)]


def _ask(url: str, key: str, request: dict[str, Any], outlet: str, heard: Progress) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.stream("POST", url, json=request, headers=headers, timeout=TIMEOUT_S) as response:
        head = (response.reason_phrase, [*response.headers.multi_items()])
        heard.hear(outlet, "head", texts(head))
        rest = ""
        for text in response.iter_text():
            heard.hear(outlet, "text", [("", text)])
            *lines, rest = (rest + text).split("\n")
            heard.hear(outlet, "json", _values(lines))
        heard.hear(outlet, "json", _values([rest]))
        return response.status_code


def _values(lines: list[str]) -> Iterator[Found]:
    """Yield the texts in the JSON of these lines, server-sent events or not."""
    for line in lines:
        try:
            yield from texts(json.loads(line.removeprefix("data:")))
        except ValueError:
            continue


def _settle(meter: Meter) -> None:
    """Wait until the upstream has ended every answer, so that what it still produced is counted."""
    deadline = time.monotonic() + TIMEOUT_S
    while not meter.is_idle and time.monotonic() < deadline:
        time.sleep(POLL_S)
