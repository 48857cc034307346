"""A database for the faults."""

from tests.records.conftest import postgres

__all__ = ["postgres"]
