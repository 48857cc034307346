"""Every fault leaks nothing in `token` mode and loses no record, or says how many; the table of docs/faults.md."""

from pathlib import Path

import pytest

from tests.faults import of_engines, of_service, of_stores
from tests.faults.scene import Scene, Seen
from tests.postgres import PostgresServer

FAULTS = {**of_engines.FAULTS, **of_stores.FAULTS}
LOSING = {"the disk stays full"}
"""What must lose records: nobody makes room for them."""


def check(name: str, seen: Seen) -> None:
    assert seen.leaked == 0, name
    assert seen.stored, name
    assert not any(record.leaked_chars for record in seen.stored)
    assert bool(seen.lost) == (name in LOSING)
    assert not any("SECRET" in record.to_json() for record in seen.stored)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leaks_nothing_and_is_recorded(name: str, tmp_path: Path) -> None:
    """Of models and stores."""
    check(name, FAULTS[name](Scene(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("name", of_service.FAULTS)
def test_a_fault_of_the_service_leaks_nothing_and_is_recorded(name: str, tmp_path: Path) -> None:
    """In a process of its own."""
    check(name, of_service.FAULTS[name](Scene(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("name", of_stores.OF_DATABASES)
def test_a_fault_of_the_database_leaks_nothing_and_is_recorded(
    name: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    """A real PostgreSQL."""
    check(name, of_stores.OF_DATABASES[name](Scene(tmp_path), postgres))
