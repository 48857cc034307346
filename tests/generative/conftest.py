"""One tiny model that has learnt the format, as a checkpoint, as guards, and behind a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guardrail.guard import Guard
from tests.generative.gen_server import GenServer
from tests.generative.tiny_gen import write_gen


@dataclass(frozen=True)
class Taught:
    """A taught model of transformers, and its checkpoint folder."""

    folder: Path
    model: Any


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """A model that writes verdicts on the examples."""
    folder = tmp_path_factory.mktemp("gen") / "gen"
    return Taught(folder, write_gen(folder, taught=True))


@pytest.fixture(scope="session")
def local(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    """A guard on that checkpoint, exported in fp32."""
    with Guard.load(taught.folder, precision="fp32", threads=1, cache_dir=tmp_path_factory.mktemp("cache")) as guard:
        yield guard


@pytest.fixture(scope="session")
def server(taught: Taught) -> Iterator[GenServer]:
    """That model behind an OpenAI-compatible server."""
    with GenServer(taught.model, taught.folder) as server:
        yield server
