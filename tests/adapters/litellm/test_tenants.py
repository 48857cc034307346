"""Teams of a proxy are tenants: nothing that was read for one is used for another."""

from typing import Any

import pytest
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.litellm_pre_call_utils import LiteLLMProxyRequestSetup

from guardrail import Guard
from guardrail.adapters.litellm.requests import exchange_of, tenant
from guardrail.encoding import GuardTokenizer
from guardrail.testing import MarkerEngine
from guardrail.waiting import run
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.answer import Answer
from tests.adapters.litellm.test_requests import chat_with_result
from tests.counting import CountingEngine


def asked_by(bucket: str = "metadata", **key: Any) -> dict[str, Any]:
    """A request as the proxy hands it on, for a key with these details."""
    data: dict[str, Any] = {**chat_with_result("How is bread made? " * 60, "With flour."), bucket: {"session_id": "s"}}
    auth = UserAPIKeyAuth(**key)
    return LiteLLMProxyRequestSetup.add_user_api_key_auth_to_request_metadata(data, auth, bucket)


@pytest.mark.parametrize("bucket", ["metadata", "litellm_metadata"])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"team_id": "red", "user_id": "ann", "api_key": "k"}, "team_id red"),
        ({"user_id": "ann", "api_key": "k"}, "user_id ann"),
        ({"api_key": "k"}, "hash k"),
        ({}, None),
    ],
)
def test_the_tenant_is_the_team_else_the_user_else_the_key(
    bucket: str, key: dict[str, str], expected: str | None
) -> None:
    """As the proxy authenticated them, also in what it logs."""
    data = asked_by(bucket, **key)
    assert tenant(data) == tenant({"litellm_params": {bucket: data[bucket]}}) == expected


def test_a_team_reads_everything_itself(tokenizer: GuardTokenizer) -> None:
    """Tool result, prompt and answer of the same session and words are read anew for another team, once for each."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, kept = Guard(engine, tokenizer), KeptResults()

    def serve(team: str) -> None:
        data = asked_by(team_id=team)
        exchange = exchange_of(guard, data)
        assert run(admitting(exchange, data, kept, replaces=True)).refusal is None
        answer: Answer[Any] = Answer(exchange)
        with answer:
            run(answer.opening())

    red, blue, again = (engine.count(lambda team=team: serve(team)) for team in ("red", "blue", "red"))  # type: ignore[misc]  # loop
    assert red == blue > 10 * again
