"""What comes from outside the protocol: pages of other origins, cookies, odd JSON, bugs; and what is kept."""

import json
import logging
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from guardrail import load_policy
from guardrail.errors import EngineError, EngineOverloaded
from guardrail.service.run import _JsonLines
from tests.service.proxying import JSON, Plays, proxying
from tests.service.servers import Serving, failing_guard, serving
from tests.service.test_litellm import ROUTE
from tests.service.test_operators import judge, samples
from tests.wire.upstream import Script, Upstream


def test_a_page_whose_name_leads_here_is_not_let_in_without_keys(served: Serving) -> None:
    """A browser would send such a page's requests: the server without keys wants to be asked by its local name."""
    foreign = judge(served, None, {"input": "bread"}, host="evil.example")
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "host_not_allowed")
    assert judge(served, None, {"input": "bread"}, host="localhost:1").status_code == 200
    assert len(served.sink.decisions) == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_page_may_send_without_asking_spends_no_key_of_the_upstream(proxy: Serving, kind: str) -> None:
    """The proxy takes JSON that says it is JSON."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    answer = httpx.post(f"{proxy.base_url}/chat/completions", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("stream", [False, True])
def test_a_header_that_is_no_ascii_reaches_the_upstream_as_it_came(
    plays: Plays, upstream: Upstream, stream: bool
) -> None:
    """Clients put names of people into such headers; byte by byte, for nobody says which encoding it is."""
    prompt, script = plays(Script.of("Bread."))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream})
    headers = [(b"content-type", b"application/json"), (b"openai-project", "Zoë".encode())]
    with proxying(upstream.url) as proxy:
        answer = httpx.post(f"{proxy.base_url}/chat/completions", content=body, headers=headers)
    assert answer.status_code == 200
    assert script.heads[0]["openai-project"].encode("latin-1") == "Zoë".encode()


def test_cookies_of_the_upstream_stay_with_nobody() -> None:
    """What it sets for one tenant it does not get from another."""
    cookies: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            cookies.append(self.headers.get("cookie"))
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"choices": []}).encode()
            self.send_response(200)
            self.send_header("set-cookie", "session=1")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        with proxying(f"http://127.0.0.1:{upstream.server_port}") as proxy:
            asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            answers = [httpx.post(f"{proxy.base_url}/chat/completions", json=asked) for _ in range(2)]
        upstream.shutdown()
    assert cookies == [None, None]
    assert not any("set-cookie" in answer.headers for answer in answers)


@pytest.mark.parametrize("kind", ["request", "response"])
@pytest.mark.parametrize(("error", "status"), [(EngineOverloaded("full"), 503), (EngineError("broken"), 500)])
def test_a_guard_that_fails_is_no_block_for_litellm(kind: str, error: EngineError, status: int) -> None:
    """LiteLLM has settings of its own for guardrails that fail."""
    with serving(guard=failing_guard(error)) as running:
        body = {"input_type": kind, "texts": ["bread and water"], "litellm_call_id": "1", "request_data": {}}
        answer = httpx.post(running.url + ROUTE, json=body)
    assert answer.status_code == status
    assert "BLOCKED" not in answer.text


def test_a_failure_is_no_verdict_in_shadow_either() -> None:
    """Shadow mode marks verdicts; where there is none it says so."""
    policy = replace(load_policy("balanced"), enforce=False)
    with serving(guard=failing_guard(EngineError("broken"), policy)) as running:
        assert judge(running).status_code == 500


@pytest.mark.parametrize("call", [{"function": "secret"}, {"function": ["secret"]}])
def test_odd_tool_calls_of_litellm_are_the_clients_mistake(served: Serving, call: dict[str, Any]) -> None:
    """400, without a word of them."""
    body = {"input_type": "response", "texts": ["hi"], "tool_calls": [call], "request_data": {}}
    answer = httpx.post(served.url + ROUTE, json=body)
    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_replaced_messages_of_litellm_come_back_whatever_stands_beside_them(served: Serving) -> None:
    """Half a character, as the guard has read it, and a number that JSON cannot say."""
    asked = {"role": "user", "content": "how \ud83d?", "x": "huge"}
    call = {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "s", "arguments": "{}"}}]}
    result = {"role": "tool", "tool_call_id": "a", "content": "☠ forbidden"}
    body = {"input_type": "request", "structured_messages": [asked, call, result], "request_data": {}}
    answer = httpx.post(served.url + ROUTE, content=json.dumps(body).replace('"huge"', "1e999"), headers=JSON)
    first, _, last = answer.json()["structured_messages"]
    assert first == {"role": "user", "content": "how \ufffd?", "x": None}
    assert "forbidden" not in last["content"]


@pytest.mark.parametrize(
    "messages", [[{"role": "user", "content": ["secret words"]}], [{"content": 3}], [{"tool_calls": "secret"}]]
)
def test_odd_messages_of_litellm_are_the_clients_mistake(served: Serving, messages: list[Any]) -> None:
    """400, without a word of them."""
    body = {"input_type": "request", "structured_messages": messages, "request_data": {}}
    answer = httpx.post(served.url + ROUTE, json=body)
    assert answer.status_code == 400
    assert "secret" not in answer.text


def test_a_bug_is_counted_logged_and_answered_with_an_id(
    served: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As any other answer; the exception's own words stand nowhere."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(served.app.state.service.guard, "acheck_turn", broken)
    with caplog.at_level(logging.INFO, "guardrail.service"):
        answer = judge(served)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"]
    assert samples(served, "guardrail_http_requests_total")["POST", "/v1/moderations", "500"] == 1
    lines = [_JsonLines().format(record) for record in caplog.records if record.name == "guardrail.service"]
    assert any("ZeroDivisionError" in line for line in lines)
    assert "secret" not in "".join(lines) + answer.text


def test_what_a_client_misspells_is_not_repeated(served: Serving) -> None:
    """The error says where, not what."""
    answer = judge(served, None, {"input": "bread", "my secret": 1})
    assert answer.status_code == 400
    assert "unknown key" in answer.text
    assert "secret" not in answer.text


def test_the_latest_decisions_keep_no_tokens(served: Serving) -> None:
    """Nobody asks for them, and they would be most of the memory."""
    messages = [{"role": "user", "content": "how?"}, {"role": "assistant", "content": "Mix flour and water."}]
    judge(served, None, {"messages": messages})
    (decision,) = served.app.state.service.latest.decisions
    assert decision.n_tokens > 0
    assert decision.tokens == ()


def test_a_proxy_lists_the_models_of_its_upstream(proxy: Serving) -> None:
    """Clients that look for models find the LLM's beside the guard's, and can ask for each."""
    names = [one["id"] for one in httpx.get(f"{proxy.base_url}/models").json()["data"]]
    assert "omni-moderation-latest" in names
    assert httpx.get(f"{proxy.base_url}/models/{names[0]}").json()["id"] == names[0]
    assert httpx.get(f"{proxy.base_url}/models/nonsense").status_code == 404
