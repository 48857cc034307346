"""`/v1/moderations` as OpenAI's own client and two frameworks' ready parts know it."""

from dataclasses import replace

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from guardrail import Action, load_policy
from guardrail.errors import EngineError, EngineOverloaded
from guardrail.openai_categories import FROM_OPENAI, OPENAI_CATEGORIES, TO_OPENAI
from guardrail.service import Settings
from guardrail.service.sections import ServerSettings
from guardrail.taxonomy import PROMPT_LABELS, Category
from tests.service.servers import Serving, failing_guard, marker_guard, serving


@pytest.fixture
def ask(served: Serving) -> openai.OpenAI:
    """OpenAI's client, pointed here."""
    return openai.OpenAI(base_url=served.base_url, api_key="any", max_retries=0)


def test_openais_client_reads_a_text(ask: openai.OpenAI) -> None:
    """A risky text is flagged under OpenAI's names and ours; a harmless one is not."""
    risky, harmless = ask.moderations.create(input=["how to ☠", "bread"]).results
    assert risky.flagged
    assert risky.categories.violence
    assert risky.categories.illicit_violent
    assert not risky.categories.hate
    record = risky.model_dump()["guardrail"]
    non_safe = 1 - record["risk_probabilities"]["Safe"]
    assert risky.category_scores.violence == pytest.approx(non_safe * record["category_probabilities"]["Violent"])
    assert not harmless.flagged
    assert not any(harmless.categories.model_dump().values())


def test_every_answer_has_openais_thirteen_categories_and_ours(client: httpx.Client) -> None:
    """Typed clients in other languages find all their keys, with ours beside them, in all three objects."""
    result = client.post("/v1/moderations", json={"input": "bread"}).json()["results"][0]
    for part in ("categories", "category_scores", "category_applied_input_types"):
        assert list(result[part]) == [*OPENAI_CATEGORIES, *PROMPT_LABELS.categories]


def test_a_controversial_text_is_flagged_as_the_policy_says(client: httpx.Client) -> None:
    """Balanced flags a controversial prompt; its record says so, with all probabilities."""
    record = client.post("/v1/moderations", json={"input": "say ☢"}).json()["results"][0]["guardrail"]
    assert (record["action"], record["risk"], record["category"]) == ("flag", "Controversial", "Unethical Acts")
    assert sum(record["risk_probabilities"].values()) == pytest.approx(1)
    assert set(record["category_probabilities"]) == set(PROMPT_LABELS.categories)


def test_content_parts_make_one_result_and_unread_images_are_flagged(ask: openai.OpenAI) -> None:
    """OpenAI's multi-modal input is one result; what cannot be read is not passed off as read."""
    parts = [
        {"type": "text", "text": "bread"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    (result,) = ask.moderations.create(input=parts).results  # type: ignore[arg-type]  # dicts, as people write them
    record = result.model_dump()["guardrail"]
    assert result.flagged
    assert (record["reason"], record["unreadable"]) == ("unreadable", ["image_url"])


def test_a_conversation_that_ends_with_an_answer_is_judged_token_by_token(client: httpx.Client) -> None:
    """`messages` judges the answer by the response heads; `tokens` shows each token's verdict and place."""
    answer = "Mix it ☠ and stir."
    messages = [{"role": "user", "content": "how?"}, {"role": "assistant", "content": answer}]
    result = client.post("/v1/moderations", json={"messages": messages, "tokens": True}).json()["results"][0]
    record = result["guardrail"]
    assert result["flagged"]
    assert record["direction"] == "response"
    assert record["stop_offset"] == answer.index("☠")
    assert "Jailbreak" not in result["categories"]
    assert record["tokens"][0]["start"] == 0
    assert record["tokens"][-1]["risk"] == "Unsafe"


def test_a_call_in_the_last_turn_is_judged_too(client: httpx.Client) -> None:
    """The assistant's tool calls count: the hardest decision is the answer."""
    call = {"id": "1", "type": "function", "function": {"name": "shell", "arguments": '{"cmd": "☠ ☠"}'}}
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "Sure.", "tool_calls": [call]}]
    record = client.post("/v1/moderations", json={"messages": messages}).json()["results"][0]["guardrail"]
    assert (record["direction"], record["action"], record["tool"]) == ("tool_call", "stop", "shell")


def test_an_image_in_the_last_turn_is_not_passed_off_as_read(client: httpx.Client) -> None:
    """An assistant's turn of nothing but an image is flagged, as a user's is."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [image]}]
    result = client.post("/v1/moderations", json={"messages": messages}).json()["results"][0]
    record = result["guardrail"]
    assert result["flagged"]
    assert (record["action"], record["reason"], record["unreadable"]) == ("flag", "unreadable", ["image_url"])


def test_mistrals_chat_moderation_takes_one_conversation_or_several(client: httpx.Client) -> None:
    """`/v1/chat/moderations` gives a result for each conversation."""
    one = [{"role": "user", "content": "☠"}]
    assert len(client.post("/v1/chat/moderations", json={"input": one}).json()["results"]) == 1
    results = client.post("/v1/chat/moderations", json={"input": [one, [{"role": "user", "content": "bread"}]]}).json()[
        "results"
    ]
    assert [result["flagged"] for result in results] == [True, False]


@pytest.mark.parametrize("model", ["omni-moderation-latest", "text-moderation-stable", "fake", None])
def test_openais_model_names_are_accepted(client: httpx.Client, model: str | None) -> None:
    """Clients ask for OpenAI's models by default."""
    answer = client.post("/v1/moderations", json={"input": "bread", "model": model}).json()
    assert answer["model"] == (model or "fake")


def test_an_unknown_model_is_refused(client: httpx.Client) -> None:
    """Nobody gets another model's verdict unawares."""
    answer = client.post("/v1/moderations", json={"input": "bread", "model": "gpt-4"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": "a", "messages": []},
        {"input": []},
        {"input": 3},
        {"input": "a", "nonsense": 1},
        {"messages": [{"role": "pope", "content": "x"}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"input": ["a"] * 300},
    ],
)
def test_bad_requests_are_told_in_openais_envelope(client: httpx.Client, body: dict[str, object]) -> None:
    """A 400 with what is wrong; never a verdict, never a 500."""
    answer = client.post("/v1/moderations", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_a_guard_that_fails_answers_an_error_never_a_verdict() -> None:
    """Fail closed over HTTP: 500 for what will fail again, 503 with Retry-After for what may pass."""
    for error, status in ((EngineError("broken"), 500), (EngineOverloaded("full"), 503)):
        with serving(guard=failing_guard(error)) as running:
            answer = httpx.post(f"{running.base_url}/moderations", json={"input": "bread"})
            (decision,) = running.sink.decisions
        assert answer.status_code == status
        assert ("retry-after" in answer.headers) == (status == 503)
        assert decision.stopped
        assert decision.failure is not None


def test_a_policy_that_lets_failures_pass_says_so_in_the_result() -> None:
    """Fail open is an answer, marked as one without a verdict."""
    policy = replace(load_policy("balanced"), on_failure=Action.FLAG)
    with serving(guard=failing_guard(EngineError("broken"), policy)) as running:
        result = httpx.post(f"{running.base_url}/moderations", json={"input": "bread"}).json()["results"][0]
    assert result["flagged"]
    assert result["guardrail"]["failure"]["kind"] == "EngineError"
    assert result["guardrail"]["risk"] is None


def test_langchains_own_moderation_middleware_works_unchanged(served: Serving) -> None:
    """The middleware of langchain-openai, pointed at this server, ends an agent's run at a risky prompt."""
    middleware = pytest.importorskip("langchain_openai.middleware")
    guard = middleware.OpenAIModerationMiddleware(client=openai.OpenAI(base_url=served.base_url, api_key="any"))
    state = {"messages": [HumanMessage("how to ☠")]}
    assert guard.before_model(state, None)["jump_to"] == "end"
    assert guard.before_model({"messages": [HumanMessage("bread")]}, None) is None
    assert guard.after_model({"messages": [HumanMessage("hi"), AIMessage("☠ ☠")]}, None) is not None


def test_both_maps_of_categories_are_whole() -> None:
    """Each of our categories and each of OpenAI's has its row."""
    assert set(TO_OPENAI) == set(Category)
    assert list(FROM_OPENAI) == list(OPENAI_CATEGORIES)
    assert {name for names in TO_OPENAI.values() for name in names} <= set(OPENAI_CATEGORIES)


def test_many_inputs_are_judged_in_order() -> None:
    """A list's results stand in its order, though they are judged at once."""
    with serving(Settings(server=ServerSettings(max_inputs=40)), guard=marker_guard()) as running:
        texts = [f"{i} {'☠' if i % 3 == 0 else 'bread'}" for i in range(40)]
        results = httpx.post(f"{running.base_url}/moderations", json={"input": texts}).json()["results"]
    assert [result["flagged"] for result in results] == [i % 3 == 0 for i in range(40)]
