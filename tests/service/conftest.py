"""A server, and who asks it."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.service.proxying import Plays, proxying, registering
from tests.service.servers import Serving, serving
from tests.wire.upstream import Upstream


@pytest.fixture
def served() -> Iterator[Serving]:
    """A server with its defaults, and a guard that stops at the markers."""
    with serving() as running:
        yield running


@pytest.fixture
def client(served: Serving) -> Iterator[httpx.Client]:
    """Asks it."""
    with httpx.Client(base_url=served.url) as http:
        yield http


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The LLM behind the proxy."""
    with Upstream() as server:
        yield server


@pytest.fixture
def plays(upstream: Upstream) -> Plays:
    """Registers what the LLM answers."""
    return registering(upstream)


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[Serving]:
    """A proxy whose guard cuts."""
    with proxying(upstream.url) as running:
        yield running


@pytest.fixture
def openai_client(proxy: Serving) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, of which only `base_url` was changed."""
    with openai.OpenAI(base_url=proxy.base_url, api_key="any", max_retries=0) as client:
        yield client
