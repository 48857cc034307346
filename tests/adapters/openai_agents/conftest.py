"""A listener to the SDK's traces."""

from collections.abc import Iterator

import pytest
from agents.tracing import get_trace_provider, set_trace_processors

from tests.adapters.openai_agents.scripted import Traces


@pytest.fixture(autouse=True)
def traces() -> Iterator[Traces]:
    """Everything that the SDK traces goes here, and nowhere else."""
    traces = Traces()
    set_trace_processors([traces])
    yield traces
    get_trace_provider().shutdown()
    set_trace_processors([])
