"""The lane of Arize Phoenix, which has an environment of its own: `make otel-test`. Elsewhere all of it is skipped."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

START_S, ARRIVAL_S = 120, 60
"""Longest waits: for the server, which makes its database first, and for spans that were sent."""


@dataclass(frozen=True)
class Phoenix:
    """A server that runs.

    Attributes:
        http: its endpoint for OTLP over HTTP, and for questions.
        grpc: its endpoint for OTLP over gRPC.
    """

    http: str
    grpc: str

    def spans(self, project: str, n_expected: int) -> list[dict[str, Any]]:
        """Return the spans of a project as soon as it has so many."""

        def arrived() -> list[dict[str, Any]] | None:
            answer = httpx.get(f"{self.http}/v1/projects/{project}/spans", params={"limit": 100})
            found: list[dict[str, Any]] = answer.json()["data"] if answer.is_success else []
            return found if len(found) >= n_expected else None

        found: list[dict[str, Any]] = waited_for(arrived, ARRIVAL_S)
        return found


def waited_for(look: Callable[[], Any], longest_s: float) -> Any:
    """Return what `look` finds, or fail."""
    until = time.monotonic() + longest_s
    while (found := look()) is None:
        assert time.monotonic() < until, f"nothing came in {longest_s} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """A server on this machine that keeps everything in an empty folder."""
    program = Path(sys.executable).with_name("phoenix")
    if not program.exists():
        pytest.skip("Phoenix has an environment of its own: make otel-test")
    folder = tmp_path_factory.mktemp("phoenix")
    ports = free_port(), free_port()
    settings = {
        "PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(ports[0]),
        "PHOENIX_GRPC_PORT": str(ports[1]), "PHOENIX_TELEMETRY_ENABLED": "false",
    }  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen([str(program), "serve"], env=os.environ | settings, stdout=log, stderr=log)
        try:
            running = Phoenix(*(f"http://127.0.0.1:{port}" for port in ports))
            waited_for(lambda: is_up(f"{running.http}/healthz", server), START_S)
            yield running
        finally:
            server.terminate()
            server.wait(30)


def is_up(url: str, server: "subprocess.Popen[bytes]") -> bool | None:
    """Return True once a server answers there; fail if it has ended."""
    assert server.poll() is None, "the server has ended"
    try:
        return httpx.get(url).is_success or None
    except httpx.TransportError:
        return None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
