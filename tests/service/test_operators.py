"""What operators need: keys, limits, health, metrics, ids, errors, a drain."""

import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from guardrail.engines.base import Logits
from guardrail.service import Settings
from guardrail.service.run import _JsonLines
from guardrail.service.sections import KeySettings, RouteSettings, ServerSettings
from tests.service.servers import Serving, breaking_guard, serving

KEYS = (
    KeySettings.model_validate({"name": "web", "key": "web-0123456789abcdef", "tenant": "shop"}),
    KeySettings.model_validate({"name": "slow", "key": "slow-0123456789abcdef", "requests_per_minute": 2}),
    KeySettings.model_validate({"name": "strict", "key": "strict-0123456789abcdef", "policy": "strict"}),
)
TEXT = {"input": "bread"}


def judge(running: Serving, key: str | None = None, body: Any = TEXT, **headers: str) -> httpx.Response:
    """Ask for a moderation."""
    if key:
        headers["authorization"] = f"Bearer {key}"
    return httpx.post(f"{running.base_url}/moderations", json=body, headers=headers)


def samples(running: Serving, name: str) -> dict[tuple[str, ...], float]:
    """One metric's values by label values, in the order of the labels' names."""
    families = text_string_to_metric_families(httpx.get(f"{running.url}/metrics").text)
    every = (sample for family in families for sample in family.samples if sample.name == name)
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in every}


def head(n_bytes: int) -> bytes:
    """The head of a request by hand, whose body may come late."""
    lines = (
        "POST /v1/moderations HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {n_bytes}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def test_without_a_key_nothing_is_judged_where_keys_are_set() -> None:
    """A missing or wrong key is 401 in OpenAI's envelope; the operators' routes stay open."""
    with serving(Settings(keys=KEYS)) as running:
        for answer, code in ((judge(running), "missing_api_key"), (judge(running, "wrong"), "invalid_api_key")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert httpx.get(f"{running.url}/v1/models").status_code == 401
        assert not running.sink.decisions
        for path in ("healthz", "readyz", "metrics", "version"):
            assert httpx.get(f"{running.url}/{path}").status_code == 200


def test_a_key_brings_its_tenant_and_its_policy() -> None:
    """The record names the tenant; a key's policy is stronger than the route's."""
    with serving(Settings(keys=KEYS, routes=RouteSettings(moderation="loose"))) as running:
        assert not judge(running, "web-0123456789abcdef", {"input": "☢"}).json()["results"][0]["flagged"]
        record = judge(running, "strict-0123456789abcdef", {"input": "☢"}).json()["results"][0]["guardrail"]
    assert (record["tenant"], record["policy"], record["action"]) == ("strict", "strict", "stop")
    assert [decision.tenant for decision in running.sink.decisions] == ["shop", "strict"]


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
def test_keys_come_in_other_headers_too(header: str) -> None:
    """LiteLLM and Azure's clients send theirs so."""
    with serving(Settings(keys=KEYS)) as running:
        assert judge(running, None, TEXT, **{header: "web-0123456789abcdef"}).status_code == 200


def test_a_key_that_is_used_up_waits() -> None:
    """The third request of a minute is 429, with the seconds to wait."""
    with serving(Settings(keys=KEYS)) as running:
        answers = [judge(running, "slow-0123456789abcdef") for _ in range(3)]
        other = judge(running, "web-0123456789abcdef")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    assert other.status_code == 200


def test_tenants_see_their_own_decisions_only() -> None:
    """`/v1/decisions` shows a caller what was decided for it, newest first, without text."""
    with serving(Settings(keys=KEYS)) as running:
        judge(running, "web-0123456789abcdef")
        judge(running, "web-0123456789abcdef", {"input": "☠ secret"})
        judge(running, "strict-0123456789abcdef")
        headers = {"authorization": "Bearer web-0123456789abcdef"}
        answer = httpx.get(f"{running.base_url}/decisions", headers=headers)
    assert [record["action"] for record in answer.json()["data"]] == ["stop", "allow"]
    assert "secret" not in answer.text


def test_metrics_count_decisions_failures_and_requests(served: Serving) -> None:
    """Prometheus can parse them, and they add up."""
    judge(served)
    judge(served, body={"input": ["☠", "☢"]})
    httpx.get(f"{served.url}/nowhere/secret-path")
    decisions = samples(served, "guardrail_decisions_total")
    assert decisions["allow", "", "prompt", "clear"] == 1
    assert decisions["stop", "Violent", "prompt", "verdict"] == 1
    assert decisions["flag", "Unethical Acts", "prompt", "verdict"] == 1
    assert samples(served, "guardrail_check_duration_seconds_count")[("prompt",)] == 3
    requests = samples(served, "guardrail_http_requests_total")
    assert requests["POST", "/v1/moderations", "200"] == 2
    assert requests["GET", "unknown", "404"] == 1
    assert "secret" not in httpx.get(f"{served.url}/metrics").text
    assert samples(served, "guardrail_queue_waiting") == {(): 0}
    assert samples(served, "guardrail_tokens_total")[("prompt",)] > 0


def test_readiness_is_lost_while_draining_and_what_is_open_ends(served: Serving) -> None:
    """A drain refuses new work with Retry-After, and lets a request that is being read end."""
    late = socket.create_connection(("127.0.0.1", served.server.port))
    body = json.dumps(TEXT).encode()
    late.sendall(head(len(body)) + body[:5])
    bounds = served.app.state.bounds
    while not bounds.n_open:
        httpx.get(f"{served.url}/healthz")
    bounds.is_draining = True
    ready, refused = httpx.get(f"{served.url}/readyz"), judge(served)
    assert httpx.post(f"{served.base_url}/moderations?id=1", json=TEXT).status_code == 503
    late.sendall(body[5:])
    answer = late.recv(65536)
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert b"200 OK" in answer
    late.close()


def test_too_many_requests_at_once_are_refused() -> None:
    """Beyond `max_requests` the answer is 503 with Retry-After, and the operators' routes still answer."""
    with serving(Settings(server=ServerSettings(max_requests=1))) as running:
        first = socket.create_connection(("127.0.0.1", running.server.port))
        first.sendall(head(9) + b"{")
        while not running.app.state.bounds.n_open:
            httpx.get(f"{running.url}/healthz")
        assert judge(running).status_code == 503
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        first.close()


def test_a_request_that_is_too_large_or_too_slow_is_refused() -> None:
    """413 and 408, in the envelope."""
    with serving(Settings(server=ServerSettings(max_body_bytes=1000, body_s=0.2))) as running:
        large = judge(running, body={"input": "x" * 2000})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        slow = socket.create_connection(("127.0.0.1", running.server.port))
        slow.sendall(head(9) + b"{")
        assert b"408" in slow.recv(65536)
        slow.close()


def test_what_is_not_answered_in_time_is_ended_and_recorded() -> None:
    """504, and the record says that nothing was let through."""
    release = threading.Event()

    def hang(logits: list[Logits], /) -> list[Logits]:
        release.wait(30)
        return logits

    guard = breaking_guard(hang)
    with serving(Settings(server=ServerSettings(request_s=0.2)), guard=guard) as running:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(judge, running)
            while not running.app.state.bounds.n_open:
                pass
            threading.Timer(0.5, release.set).start()
            answer = asked.result()
        (decision,) = running.sink.decisions
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert decision.stopped
    assert decision.failure


def test_every_answer_has_a_request_id(served: Serving) -> None:
    """The client's own is kept if it is one; a line break is none."""
    assert judge(served, None, TEXT, **{"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert len(judge(served, None, TEXT, **{"x-request-id": "a b"}).headers["x-request-id"]) == 32


def test_log_lines_hold_no_text_of_users(served: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """One line a request, as JSON if asked for: route, status, time, caller, id."""
    with caplog.at_level(logging.INFO, "guardrail.service"):
        judge(served, body={"input": "secret ☠"}, **{"x-request-id": "req-1"})
        httpx.get(f"{served.url}/v1/secret?q=secret")
    lines = [json.loads(_JsonLines().format(record)) for record in caplog.records if record.name == "guardrail.service"]
    assert {"request_id": "req-1", "route": "/v1/moderations", "status": 200, "caller": "anonymous"}.items() <= lines[
        0
    ].items()
    assert "secret" not in json.dumps(lines)


def test_a_page_of_another_origin_may_not_call_unless_it_is_named() -> None:
    """CORS is off by default."""
    ask = {"origin": "https://app.example", "access-control-request-method": "POST"}
    for origins, allowed in (((), None), (("https://app.example",), "https://app.example")):
        with serving(Settings(server=ServerSettings(cors_origins=origins))) as running:
            answer = httpx.options(f"{running.base_url}/moderations", headers=ask)
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_models_are_listed_for_clients_that_look(served: Serving) -> None:
    """OpenAI's clients list models before they ask."""
    names = [model["id"] for model in httpx.get(f"{served.base_url}/models").json()["data"]]
    assert names[0] == "fake"
    assert "omni-moderation-latest" in names


def test_policies_are_read_again_without_a_restart(tmp_path: Any) -> None:
    """A changed file counts from the reload on; a broken one changes nothing."""
    file = tmp_path / "own.toml"
    rules = 'name = "own"\n[prompt]\ncontroversial = "{}"\nunsafe = "stop"\n'
    rules += '[response]\ncontroversial = "stop"\nunsafe = "stop"\n'
    file.write_text(rules.format("allow"))
    with serving(Settings(routes=RouteSettings(moderation=str(file)))) as running:
        service = running.app.state.service
        assert not judge(running, body={"input": "☢"}).json()["results"][0]["flagged"]
        file.write_text(rules.format("stop"))
        service.reload_policies()
        assert judge(running, body={"input": "☢"}).json()["results"][0]["flagged"]
        file.write_text("nonsense = 1")
        with pytest.raises(Exception, match="nonsense"):
            service.reload_policies()
        assert judge(running, body={"input": "☢"}).json()["results"][0]["flagged"]
