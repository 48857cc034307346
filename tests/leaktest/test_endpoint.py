import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from guardrail import Guard
from guardrail.leaktest import Canary, Drive, Report, Spy, Upstream
from guardrail.leaktest.endpoint import endpoint_drives

Reporting = Callable[[Iterable[Drive]], Report]
Gate = Callable[[Iterator[str]], Iterator[str]]


# long: a whole server, which closes over what it is told
@contextmanager
def gateway(upstream_url: str, gate: Gate, *, drains: bool = False, header: str = "") -> Iterator[str]:
    """A real gateway: it asks the upstream as a client, gates the text, and answers in OpenAI's format.

    Args:
        upstream_url: whom it asks.
        gate: from the upstream's text to what may come out.
        drains: it reads the upstream to its end, whatever the gate does.
        header: if set, a response header of this name carries the upstream's whole answer.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ask = {**body, "stream": True}
            with httpx.stream("POST", f"{upstream_url}/chat/completions", json=ask, timeout=30) as answer:
                texts = deltas(answer.iter_lines())
                whole = list(texts) if header else []
                self.send_response(200)
                if header:
                    self.send_header(header, "".join(whole).encode("ascii", "backslashreplace").decode())
                self.end_headers()
                released = gate(iter(whole) if header else texts)
                kind, pieces = ("delta", released) if body["stream"] else ("message", ["".join(released)])
                for text in pieces:
                    answered = json.dumps({"choices": [{kind: {"content": text}}]})
                    self.wfile.write(f"data: {answered}\n\n".encode())
                if drains:
                    list(texts)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def deltas(lines: Iterator[str]) -> Iterator[str]:
    """The text of a stream of chunks."""
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")


def bare(tokens: Iterator[str]) -> Iterator[str]:
    """No guard."""
    yield from tokens


@pytest.fixture
def gated(guard: Guard, canary: Canary) -> Gate:
    """Our guard."""

    def gate(tokens: Iterator[str]) -> Iterator[str]:
        with guard.open_stream(canary.prompt) as stream:
            for token in tokens:
                yield stream.feed(token)
                if stream.is_stopped:
                    return

    return gate


@pytest.fixture
def upstream(canary: Canary) -> Iterator[Upstream]:
    """The canary's server, on a free port."""
    with Upstream(canary, pace_s=0.003) as server:
        yield server


def test_a_gateway_that_passes_everything_on_leaks_everything(
    upstream: Upstream, canary: Canary, spy: Spy, report: Reporting
) -> None:
    """Both ways of asking let the whole withheld text out, and the LLM wrote to its end."""
    with gateway(upstream.url, bare) as url:
        found = report(endpoint_drives(url, upstream, canary, spy, model="m"))
    assert {outlet.name: outlet.leaked_chars for outlet in found.outlets if outlet.leaks} == {
        "HTTP stream": len(canary.withheld),
        "HTTP answer": len(canary.withheld),
    }
    assert found.is_unguarded


def test_a_gateway_that_stops_and_hangs_up_leaks_nothing_and_spares_tokens(
    upstream: Upstream, canary: Canary, spy: Spy, report: Reporting, gated: Gate, shown: int
) -> None:
    """The upstream notices the closed connection; what it did not write any more is counted as saved."""
    with gateway(upstream.url, gated) as url:
        found = report(endpoint_drives(url, upstream, canary, spy, model="m"))
    assert not found.leaks
    for run in found.runs:
        assert run.error is None
        assert run.n_saved(canary) > 0.5 * (len(canary.tokens) - canary.n_tokens_to_marker)
    assert found.outlets[0].clean_chars == shown


def test_a_gateway_that_stops_and_reads_on_is_found_out(
    upstream: Upstream, canary: Canary, spy: Spy, report: Reporting, gated: Gate
) -> None:
    """Nothing leaks, and yet every token was paid for."""
    with gateway(upstream.url, gated, drains=True) as url:
        found = report(endpoint_drives(url, upstream, canary, spy, model="m"))
    assert not found.leaks
    assert [run.n_saved(canary) for run in found.runs] == [0, 0]


def test_headers_are_heard_too(upstream: Upstream, canary: Canary, spy: Spy, report: Reporting, gated: Gate) -> None:
    """A gateway that tells in a header what it withholds in the body leaks."""
    with gateway(upstream.url, gated, header="X-Debug") as url:
        found = report(endpoint_drives(url, upstream, canary, spy, model="m"))
    assert {outlet.name for outlet in found.outlets if outlet.leaks} == {"HTTP stream", "HTTP answer"}


def test_a_gateway_that_cannot_be_reached_proves_nothing(
    upstream: Upstream, canary: Canary, spy: Spy, report: Reporting
) -> None:
    """The runs say what went wrong."""
    found = report(endpoint_drives("http://127.0.0.1:9/v1", upstream, canary, spy, model="m"))
    assert not found.proves
    assert {run.error for run in found.runs} == {"ConnectError"}


def test_the_upstream_answers_as_openai_does(upstream: Upstream, canary: Canary) -> None:
    """A stream of chunks ends with a finish reason and [DONE]; a whole answer is one message; models are listed."""
    url = f"{upstream.url}/chat/completions"
    lines = httpx.post(url, json={"stream": True}).text.split("\n\n")
    whole = httpx.post(url, json={}).json()
    assert "".join(deltas(iter(lines))) == canary.text
    assert json.loads(lines[-3][6:])["choices"][0]["finish_reason"] == "stop"
    assert lines[-2] == "data: [DONE]"
    assert whole["choices"][0]["message"]["content"] == canary.text
    assert httpx.get(f"{upstream.url}/models").json()["data"][0]["id"] == "canary"
    assert upstream.meter.produced == (len(canary.tokens),) * 2
