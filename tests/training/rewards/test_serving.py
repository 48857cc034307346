# long: one server for all its tests
"""The rewards over HTTP: shapes, limits, keys, batches, and the clients of OpenRLHF, verl and TRL as they are."""

import asyncio
import importlib.util
import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
from pydantic import SecretStr

from guardrail.engines.base import Feed, Logits
from guardrail.errors import ConfigurationError, EngineTimeout
from guardrail.service.sections import KeySettings
from guardrail.testing import EngineAround, FailingEngine, raising
from guardrail.training.rewards import Completion, RewardKind, remote
from guardrail.training.rewards.endpoint import RewardServer, client_of
from guardrail.training.rewards.serve_settings import ListenSettings, RewardServeSettings
from guardrail.training.rewards.serving import create_app
from tests.training.rewards.judging_parts import PROMPT, marker_engine, reward_server, rewarder

CHATML = "<|im_start|>user\nHow do I bake bread?<|im_end|>\n<|im_start|>assistant\n"
REFUSAL = "I'm sorry, but I can't help."
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with both rewards, `mixed` unless another one is asked for."""
    with reward_server() as root:
        yield root


def post(url: str, path: str, body: Any, **options: Any) -> httpx.Response:
    """Ask it."""
    return httpx.post(f"{url}{path}", json=body, timeout=30, **options)


def load(path: Path) -> Any:
    """A module from a file, as trainers load them."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_openrlhf_is_answered_with_rewards_scores_and_logs(url: str) -> None:
    """Rewards train, scores of 0 and 1 filter prompts, logs are one number a completion."""
    written = ["Mix it well.<|im_end|>", "<think>\n☠ hm\n</think>\n\nMix it.<|im_end|>", f"{REFUSAL}<|im_end|>"]
    body = {"query": [CHATML + text for text in written], "prompts": [CHATML] * 3, "labels": [None, "", "x"]}
    assert post(url, "/get_reward", body).json() == {
        "rewards": [3.0, -10.0, -5.0],
        "scores": [1.0, 0.0, 1.0],
        "extra_logs": {
            "safe": [1.0, 0.0, 1.0], "refusal": [0.0, 0.0, 1.0], "failed": [0.0, 0.0, 0.0],
            "helpfulness": [3.0, 2.0, 6.0],
        },
    }  # fmt: skip
    guarded = post(url, "/get_reward?kind=guard_only", body).json()
    assert guarded["rewards"] == guarded["scores"] == [1.0, 0.0, 1.0]
    assert guarded["extra_logs"].keys() == {"safe", "refusal", "failed"}


def test_the_own_route_tells_the_opinions(url: str) -> None:
    """Prompts as text or messages, completions as text or in parts."""
    messages = [{"role": "user", "content": "How do I bake bread?"}]
    body = {
        "completions": [
            {"prompt": "How do I bake bread?", "text": "<think>hm</think>Mix it well."},
            {"prompt": messages, "thinking": "☢ hm", "answer": "Mix it."},
            {"prompt": messages, "text": "hm, never ending", "is_thinking": True},
        ]
    }
    found = post(url, "/reward", body).json()
    assert found["kind"] == "mixed"
    assert found["rewards"] == [3.0, -10.0, 0.0]
    assert found["opinions"][0] == {
        "thinking_is_safe": True, "answer_is_safe": True, "is_refusal": False, "helpfulness": 3.0, "failure": "",
    }  # fmt: skip
    assert post(url, "/reward", {**body, "kind": "guard_only"}).json()["rewards"] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/get_reward", {"prompts": [], "query": []}, 400, "query: List should have at least 1 item"),
        ("/get_reward", {"query": ["secret"], "prompts": []}, 400, "1 queries and 0 prompts do not match"),
        ("/get_reward", {"query": "secret", "prompts": ["secret"]}, 400, "query: Input should be a valid list"),
        ("/get_reward", {"query": ["other secret"], "prompts": ["secret"]}, 400, "does not begin with its prompt"),
        ("/get_reward?kind=best", {"query": ["ab"], "prompts": ["a"]}, 400, "valid: guard_only, mixed"),
        ("/reward", {"completions": []}, 400, "completions: List should have at least 1 item"),
        ("/reward", {"completions": [{"prompt": "secret"}]}, 400, "either text or answer"),
        ("/reward", {"completions": [{"prompt": 3, "text": "secret"}]}, 400, "completions.0.prompt"),
        ("/reward", {"completions": [{"prompt": [{"role": "secret"}], "text": "a"}]}, 400, "unknown role"),
        ("/reward", {"completions": [{"prompt": "a", "text": "b", "secret": 1}]}, 400, "completions.0: unknown key"),
        ("/reward", {"completions": [{"prompt": "a", "text": "b"}], "kind": "secret"}, 400, "kind: Input should be"),
        ("/reward", ["secret"], 400, "Input should be"),
        ("/reward", {"completions": [{"prompt": "a", "text": "b"}] * 1025}, 413, "more than 1024 completions"),
        ("/rewards", {}, 404, "Not Found"),
    ],
)
def test_mistakes_of_clients_are_named_without_their_words(
    url: str, path: str, body: Any, status: int, said: str
) -> None:
    """In OpenAI's envelope, as the service answers."""
    answer = post(url, path, body)
    assert answer.status_code == status
    message = answer.json()["error"]["message"]
    assert said in message
    assert "secret" not in message.replace("'secret'", "")


def test_a_body_that_is_no_json_is_refused(url: str) -> None:
    """And another method too."""
    assert httpx.post(f"{url}/reward", content=b"{no").json()["error"]["message"] == "the body is no JSON"
    assert httpx.get(f"{url}/reward").status_code == 405


def test_limits_hold() -> None:
    """Of a request's bytes, of completions that wait, and of requests at once."""
    settings = RewardServeSettings(kind="mixed", max_waiting=2, server=ListenSettings(max_body_bytes=1000))
    with reward_server(settings) as url:
        large = post(url, "/reward", {"completions": [{"prompt": "a" * 2000, "text": "b"}]})
        many = post(url, "/reward", {"completions": [{"prompt": "a", "text": "b"}] * 3})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    assert (many.status_code, many.headers["retry-after"]) == (503, "1")


def test_keys_are_asked_for() -> None:
    """By every route that judges; operators' routes are open."""
    settings = RewardServeSettings(kind="mixed", keys=(KeySettings(name="trainer", key=SecretStr(KEY)),))
    body = {"completions": [{"prompt": "a", "text": "b"}]}
    with reward_server(settings) as url:
        statuses = [
            post(url, "/reward", body, headers={"authorization": f"Bearer {key}"}).status_code for key in ("no", KEY)
        ]
        assert statuses == [401, 200]
        assert post(url, "/get_reward", {}).status_code == 401
        assert remote.ask(body["completions"], url=url, key=KEY)["rewards"] == [1.0]
        with pytest.raises(remote.RewardServerError, match="401, no API key"):
            remote.ask(body["completions"], url=url)
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}


def test_operators_see_what_was_judged() -> None:
    """Counts by outcome, failures by name, and the guard's own metrics."""
    with reward_server() as url:
        texts = ["Mix it.", "☠ and more", REFUSAL]
        post(url, "/reward", {"completions": [{"prompt": "a", "text": text} for text in texts]})
        metrics = httpx.get(f"{url}/metrics").text
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready", "queue": 0}
        version = httpx.get(f"{url}/version").json()
    for outcome in ("answer", "unsafe", "refusal"):
        assert f'guardrail_reward_completions_total{{kind="mixed",outcome="{outcome}"}} 1.0' in metrics
    assert 'guardrail_http_requests_total{method="POST",route="/reward",status="200"} 1.0' in metrics
    assert (version["kind"], version["policy"], version["helpfulness"]) == ("mixed", "balanced", "words")


def test_failures_are_rewards_of_unsafe_answers_and_counted() -> None:
    """The server answers: the trainer goes on, and its operators see why."""
    broken = FailingEngine(marker_engine(), at_step=0, breakage=raising(EngineTimeout("slow")))
    with reward_server(judging=rewarder(broken)) as url:
        answer = post(url, "/get_reward", {"query": ["a b"], "prompts": ["a"]}).json()
        metrics = httpx.get(f"{url}/metrics").text
    assert (answer["rewards"], answer["extra_logs"]["failed"]) == ([-10.0], [1.0])
    assert 'guardrail_reward_failures_total{error="EngineTimeout"} 1.0' in metrics
    assert 'guardrail_reward_completions_total{kind="mixed",outcome="failed"} 1.0' in metrics


def test_a_reward_that_cannot_be_given_is_refused_at_the_start_and_when_asked_for() -> None:
    """A server without a helpfulness model serves `guard_only`."""
    with reward_server(RewardServeSettings(kind="guard_only"), judging=rewarder(is_mixed=False)) as url:
        answer = post(url, "/reward", {"completions": [{"prompt": "a", "text": "b"}], "kind": "mixed"})
    assert answer.status_code == 400
    assert "valid here: guard_only" in answer.json()["error"]["message"]
    app = create_app(RewardServeSettings(kind="mixed"), rewarder=rewarder(is_mixed=False))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(ConfigurationError, match="mixed cannot be given"):
        asyncio.run(start())


def test_a_public_address_needs_keys_or_consent() -> None:
    """As the service does."""
    with pytest.raises(ConfigurationError, match="can be reached from outside"):
        RewardServeSettings(server=ListenSettings(host="0.0.0.0"))  # noqa: S104  # what is tested
    RewardServeSettings(server=ListenSettings(host="0.0.0.0", allow_public=True))  # noqa: S104


class Held(EngineAround):
    """Waits before its first step until it is let go."""

    def __init__(self) -> None:
        super().__init__(marker_engine())
        self.reached, self.go = threading.Event(), threading.Event()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Wait, and step."""
        self.reached.set()
        self.go.wait(30)
        return super().step(feeds)


def test_what_arrives_meanwhile_is_judged_together_and_answered_apart() -> None:
    """OpenRLHF sends each completion alone: they become batches, and each gets its own reward."""
    held = Held()
    with reward_server(judging=rewarder(held)) as url, ThreadPoolExecutor(17) as threads:

        def ask(words: int, kind: RewardKind) -> float:
            body = {"completions": [{"prompt": "a", "text": "word " * words}], "kind": kind}
            return float(post(url, "/reward", body).json()["rewards"][0])

        first = threads.submit(ask, 1, "mixed")
        assert held.reached.wait(30)
        rest = [threads.submit(ask, words, "mixed") for words in range(2, 18)]
        assert any(httpx.get(f"{url}/readyz").json()["queue"] == 17 for _ in range(2000))
        held.go.set()
        assert [asked.result() for asked in (first, *rest)] == [float(words) for words in range(1, 18)]
        metrics = httpx.get(f"{url}/metrics").text
    assert "guardrail_reward_batch_size_count 2.0" in metrics
    assert "guardrail_reward_batch_size_sum 17.0" in metrics


def test_a_caller_that_goes_away_leaves_the_others_their_answers() -> None:
    """Its completions are not judged if their turn had not come."""
    held = Held()
    with reward_server(judging=rewarder(held)) as url, ThreadPoolExecutor(2) as threads:
        body = {"completions": [{"prompt": "a", "text": "b"}]}
        first = threads.submit(post, url, "/reward", body)
        assert held.reached.wait(30)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/reward", json=body, timeout=0.2)
        last = threads.submit(post, url, "/reward", {"completions": [{"prompt": "a", "text": "b c"}]})
        held.go.set()
        assert (first.result().json()["rewards"], last.result().json()["rewards"]) == ([1.0], [2.0])


def test_a_reward_server_is_a_helpfulness_model_for_another(url: str) -> None:
    """So that one machine with a large reward model serves many; what is unsafe there is scored all the same."""
    model = RewardServer(client_of(url, "", 30))
    completions = [Completion(PROMPT, "", "word " * n + "☠ x" * (n % 2)) for n in range(1, 41)]
    assert model.score(completions) == [float(len(one.answer.split())) for one in completions]
    model.close()


def test_openrlhfs_request_is_understood(url: str) -> None:
    """As `openrlhf/utils/agent.py` of 0.11.2 makes it: aiohttp, one query a request, the answer's lists as they are."""

    async def fetch() -> Any:
        payload = {"query": [CHATML + "Mix it.<|im_end|>"], "prompts": [CHATML], "labels": [""]}
        timeout = aiohttp.ClientTimeout(total=180)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{url}/get_reward", json=payload) as response,
        ):
            response.raise_for_status()
            return await response.json()

    assert asyncio.run(fetch())["rewards"] == [2.0]


def test_openrlhfs_own_client_is_answered(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package's file alone, as its own test loads it: the package wants a GPU's libraries."""
    package = importlib.util.find_spec("openrlhf")
    if package is None:
        pytest.skip("openrlhf is not installed: pip install --no-deps openrlhf")
    folder = (package.submodule_search_locations or [""])[0]
    monkeypatch.setitem(sys.modules, "openrlhf.utils.logging_utils", SimpleNamespace(init_logger=logging.getLogger))
    agent = load(Path(folder) / "utils" / "agent.py")
    executor = agent.SingleTurnAgentExecutor(f"{url}/get_reward")
    texts = ["Mix it.<|im_end|>", f"{REFUSAL}<|im_end|>"]
    found = asyncio.run(executor._fetch_rewards_via_http([CHATML + text for text in texts], [CHATML] * 2, ["", ""]))
    assert [answer["rewards"] for answer in found] == [[2.0, -5.0]]


def test_verl_gets_a_score_and_numbers_to_log(url: str) -> None:
    """With the arguments that verl's reward managers call it with, by name."""
    said = remote.compute_score(
        data_source="bread", solution_str="<think>hm</think>Mix it well.", ground_truth="",
        extra_info={"prompt": "How do I bake bread?", "num_turns": None, "rollout_reward_scores": {}}, url=url,
    )  # fmt: skip
    assert said == {"score": 3.0, "safe": 1.0, "refusal": 0.0, "failed": 0.0, "helpfulness": 3.0}
    many = remote.compute_score_batch(
        data_sources=["a"] * 2, solution_strs=["Mix it.", REFUSAL], ground_truths=[""] * 2,
        extra_infos=[{"question": [{"role": "user", "content": "Bread?"}]}] * 2, url=url, kind="guard_only",
        prompt_key="question",
    )  # fmt: skip
    assert [one["score"] for one in many] == [1.0, 1.0]
    with pytest.raises(remote.RewardServerError, match="extra_info has no 'prompt'"):
        remote.compute_score("a", "b", "c", {"question": "d"}, url=url)


def test_verls_own_reward_manager_loads_the_file_and_is_answered(url: str) -> None:
    """The installed package's, with the file given by its path."""
    if importlib.util.find_spec("verl") is None:
        pytest.skip("verl is not installed: it takes another transformers than this project")
    loading: Any = importlib.import_module("verl.trainer.ppo.reward")
    configs: Any = importlib.import_module("omegaconf").OmegaConf
    function = {"path": remote.__file__, "name": "compute_score", "reward_kwargs": {"url": url, "kind": "mixed"}}
    score: Any = loading.get_custom_reward_fn(configs.create({"reward": {"custom_reward_function": function}}))
    said = score(data_source="a", solution_str=REFUSAL, ground_truth="", extra_info={"prompt": "Bread?"})
    assert (said["score"], said["refusal"]) == (-5.0, 1.0)


def test_the_client_needs_nothing_but_the_standard_library(url: str, tmp_path: Path) -> None:
    """It is copied into other people's environments."""
    copy = tmp_path / "reward.py"
    copy.write_text(Path(remote.__file__).read_text("utf-8"), "utf-8")
    module = load(copy)
    assert module.compute_score("a", "Mix it.", "", {"prompt": "Bread?"}, url=url)["score"] == 2.0
    assert "guardrail." not in "".join(line for line in copy.read_text("utf-8").splitlines() if "import" in line)


def test_a_server_that_does_not_answer_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts: no reward is made up."""
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    with pytest.raises(remote.RewardServerError, match=r"http://127.0.0.1:1/reward failed"):
        remote.ask([{"prompt": "a", "text": "b"}], url="http://127.0.0.1:1")
    with pytest.raises(remote.RewardServerError, match="no URL"):
        remote.ask([{"prompt": "a", "text": "b"}], url="file:///etc/passwd")


def test_trl_rewards_texts_and_conversations(url: str) -> None:
    """As TRL hands them over; parts are logged as metrics."""
    logged: dict[str, float] = {}
    reward = remote.RemoteReward(kind="mixed", url=url)
    assert reward.__name__ == "guardrail_mixed"
    assert reward(
        prompts=["Bread?", [{"role": "user", "content": "Bread?"}]],
        completions=["Mix it.", [{"role": "assistant", "content": REFUSAL, "reasoning_content": "☠ hm"}]],
        completion_ids=[[1], [2]], trainer_state=None, log_metric=logged.__setitem__,
    ) == [2.0, -10.0]  # fmt: skip
    assert logged == {"guardrail/safe": 0.5, "guardrail/refusal": 0.5, "guardrail/failed": 0.0}


def test_json_holds_any_text(url: str) -> None:
    """Half characters and control characters too: they are text like any other."""
    body = json.dumps({"completions": [{"prompt": "\ud800 a", "text": "\udfff b \x00"}]})
    answer = httpx.post(f"{url}/reward", content=body)
    assert answer.json()["rewards"] == [3.0]
