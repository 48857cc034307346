"""What people who set the service up get wrong first, and what they are told."""

import httpx
import pytest

from guardrail.errors import ConfigurationError
from guardrail.service import load_settings
from tests.service.servers import Serving


def test_an_upstream_without_a_scheme_is_refused_at_the_start() -> None:
    """Else the first request would fail, and every one after it."""
    with pytest.raises(
        ConfigurationError, match="must begin with http:// or https://, such as http://localhost:11434/v1"
    ):
        load_settings(upstream={"base_url": "localhost:11434"})


def test_a_base_url_without_its_end_is_told(served: Serving) -> None:
    """What OpenAI's clients say of a 404 is its message."""
    answer = httpx.post(f"{served.url}/chat/completions", json={})
    assert answer.status_code == 404
    assert "base_url that ends with /v1" in answer.json()["error"]["message"]
