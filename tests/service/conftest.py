"""A server, and who asks it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.service.servers import Serving, serving


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
