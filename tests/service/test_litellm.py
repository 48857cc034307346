"""A real LiteLLM proxy without a plugin of ours: its generic guardrail API, and its guardrail for OpenAI moderation."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from guardrail import Guard
from guardrail.records import MemorySink
from guardrail.service.growing import Call, Calls
from guardrail.testing import MarkerEngine, default_tokenizer
from tests.adapters.litellm.conftest import Proxy, run_proxy
from tests.counting import CountingEngine
from tests.service.servers import MARKERS, Serving, marker_guard, serving
from tests.wire.upstream import Script, Upstream

ROUTE = "/beta/litellm_basic_guardrail_api"
BAD = "☠☠ FORBIDDEN alder12 birch13"

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: os.environ/UPSTREAM_URL, api_key: none}}
guardrails:
  - guardrail_name: held
    litellm_params:
      guardrail: generic_guardrail_api
      mode: [pre_call, post_call]
      api_base: {url}
      streaming_sampling_rate: 1
      streaming_transform_mode: incremental_diff
      additional_provider_specific_params: {{holds: true}}
  - guardrail_name: blocked
    litellm_params:
      guardrail: generic_guardrail_api
      mode: [pre_call, post_call]
      api_base: {url}
      streaming_sampling_rate: 1
      streaming_buffer_until_moderated: true
  - guardrail_name: openai
    litellm_params:
      guardrail: openai_moderation
      mode: [pre_call, post_call]
      api_base: {url}/v1
      api_key: any
litellm_settings: {{num_retries: 0}}
"""


@pytest.fixture(scope="module")
def engine() -> CountingEngine:
    """Counts what is read."""
    return CountingEngine(MarkerEngine(default_tokenizer(), MARKERS))


@pytest.fixture(scope="module")
def server(engine: CountingEngine) -> Iterator[Serving]:
    """Our service."""
    with serving(guard=Guard(engine, default_tokenizer(), policy="balanced")) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The LLM's server."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Serving, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """LiteLLM between the two."""
    folder = tmp_path_factory.mktemp("proxy")
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(url=server.url))
    yield from run_proxy(config, folder, upstream)


def ask(
    proxy: Proxy, upstream: Upstream, script: Script, guardrail: str, prompt: str = "", **body: Any
) -> httpx.Response:
    """Ask the proxy for what a script answers."""
    name = secrets.token_hex(8)
    upstream.plays(name, script)
    messages = [{"role": "user", "content": f"{prompt} run {name}"}]
    return proxy.post("/v1/chat/completions", guardrails=guardrail, model="m", messages=messages, **body)


def shown(answer: httpx.Response) -> str:
    """The text that a reader of the stream sees."""
    frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for frame in frames for choice in frame.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.slow
@pytest.mark.parametrize("guardrail", ["held", "blocked", "openai"])
def test_a_risky_prompt_is_refused_by_the_proxy(proxy: Proxy, upstream: Upstream, guardrail: str) -> None:
    """All three ways: the LLM is never asked."""
    script = Script.of("Bread needs flour.")
    answer = ask(proxy, upstream, script, guardrail, "☠☠ now")
    assert answer.status_code == 400
    assert not script.requests


@pytest.mark.slow
@pytest.mark.parametrize("guardrail", ["held", "blocked", "openai"])
def test_a_harmless_exchange_passes_whole(proxy: Proxy, upstream: Upstream, guardrail: str) -> None:
    """Streamed and not; nothing is lost at the end."""
    text = "Bread needs flour, water, salt and time. Then bake it"
    answer = ask(proxy, upstream, Script.of(text), guardrail)
    assert answer.json()["choices"][0]["message"]["content"] == text
    assert shown(ask(proxy, upstream, Script.of(text), guardrail, stream=True)) == text


@pytest.mark.slow
@pytest.mark.parametrize("guardrail", ["held", "blocked"])
@pytest.mark.parametrize("tail", [BAD, "☠☠"])
def test_nothing_of_the_risky_run_leaves_a_stream(proxy: Proxy, upstream: Upstream, guardrail: str, tail: str) -> None:
    """The reader sees a prefix that ends before the run, be it in the middle or at the very end."""
    text = f"Bread needs flour. {tail}"
    seen = shown(ask(proxy, upstream, Script.of(text), guardrail, stream=True))
    assert text.startswith(seen)
    assert "☠" not in seen
    if guardrail == "held":
        assert seen.startswith("Bread needs")


@pytest.mark.slow
def test_an_answer_that_is_shown_again_and_again_is_read_once(
    proxy: Proxy, upstream: Upstream, engine: CountingEngine, server: Serving
) -> None:
    """The proxy shows all of the text at every chunk; the model reads each token about once."""
    text = " ".join(f"word{i}" for i in range(60))
    before = engine.n_read
    ask(proxy, upstream, Script.of(text, size=6), "held", stream=True)
    n_read = engine.n_read - before
    n_tokens = len(default_tokenizer().encode_plain(text).ids)
    assert n_read < 4 * n_tokens, f"{n_read} tokens were read for {n_tokens}"


@pytest.mark.slow
def test_a_risky_call_of_a_whole_answer_is_refused(proxy: Proxy, upstream: Upstream) -> None:
    """Tool calls are judged as calls."""
    start = {"index": 0, "id": "c", "type": "function", "function": {"name": "shell", "arguments": '{"c": "☠☠"}'}}
    script = Script([{"content": "Sure."}, {"tool_calls": [start]}], finish_reason="tool_calls")
    answer = ask(proxy, upstream, script, "blocked")
    assert answer.status_code == 400
    assert "☠" not in answer.text


def post(running: Serving, **body: Any) -> dict[str, Any]:
    """Ask the route itself."""
    answer = httpx.post(running.url + ROUTE, json={"request_data": {}, **body})
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made


def test_poisoned_tool_results_are_replaced_in_the_request(served: Serving) -> None:
    """The proxy gets the messages back with the result withheld, and goes on."""
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "search"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "found ☠☠"},
    ]
    made = post(served, input_type="request", structured_messages=messages, litellm_call_id="1")
    assert made["action"] == "GUARDRAIL_INTERVENED"
    assert made["structured_messages"][:2] == messages[:2]
    assert "☠" not in made["structured_messages"][2]["content"]
    assert post(served, input_type="response", texts=["Bread it is."], litellm_call_id="1")["action"] == "NONE"


def test_what_may_still_change_is_held_back_and_flushed_at_the_end(served: Serving) -> None:
    """`texts` is what may be shown if the answer ends here; the holdback is what is not cleared if it goes on."""
    post(served, input_type="request", texts=["hi"], litellm_call_id="1")
    holds = {"holds": True}
    made = post(
        served,
        input_type="response",
        texts=["Bread and wat"],
        litellm_call_id="1",
        additional_provider_specific_params=holds,
    )
    (text,), (held,) = made["texts"], made["stream_holdback_chars"]
    assert text == "Bread and wat"
    assert text[: len(text) - held] == "Bread and"
    made = post(
        served,
        input_type="response",
        texts=["Bread and ☠☠"],
        litellm_call_id="1",
        additional_provider_specific_params=holds,
    )
    assert "☠" not in made["texts"][0]


def test_without_holding_a_risky_end_blocks(served: Serving) -> None:
    """Where the proxy shows the raw text, a run that only the end would complete is a stop."""
    made = post(served, input_type="response", texts=["Bread and ☠☠"], litellm_call_id="2")
    assert made["action"] == "BLOCKED"
    assert made["blocked_reason"]


def test_teams_of_one_proxy_are_tenants(served: Serving) -> None:
    """Who holds the proxy's key names the team; the record has it."""
    post(served, input_type="request", texts=["hi"], request_data={"user_api_key_team_id": "blue"})
    assert served.sink.decisions[-1].tenant == "team_id:blue"


def test_a_text_that_does_not_go_on_is_read_anew(served: Serving) -> None:
    """A call's text that was another one is judged from its start."""
    post(served, input_type="response", texts=["Bread and water."], litellm_call_id="3")
    made = post(served, input_type="response", texts=["☠☠ and water."], litellm_call_id="3")
    assert made["action"] == "BLOCKED"


async def test_calls_that_are_idle_or_too_many_are_finished_and_recorded() -> None:
    """Nobody says when an answer has ended: after a while it has."""
    now = [0.0]
    sink = MemorySink()
    guard = marker_guard(sink=sink)
    calls = Calls(max_calls=2, idle_s=10, clock=lambda: now[0])
    for name in ("a", "b"):
        call = await calls.find((None, name), lambda: Call(guard, (), None, None))
        await call.show([f"Bread {name}"])
    now[0] = 5
    await calls.find((None, "c"), lambda: Call(guard, (), None, None))
    assert len(sink.decisions) >= 1
    assert len(calls) <= 2
    now[0] = 20
    await calls.sweep()
    assert len(calls) == 0
    assert [decision.reason.value for decision in sink.decisions] == ["clear", "clear"]
