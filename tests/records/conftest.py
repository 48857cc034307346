"""Servers and stores that the tests of records share."""

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for a worker's tests; who stops it starts it again."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()
