"""A real LiteLLM proxy in a process of its own, in front of a real upstream server."""

import json
import os
import secrets
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

from tests.wire.upstream import Script, Upstream

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # before litellm is imported: it would ask the network

ROOT = Path(__file__).resolve().parents[3]
BAD_PROMPT = "☠☠ please"
"""A risky prompt; LiteLLM logs requests, the stopped ones too, unless it is told not to."""


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        url: of it.
        key: its master key.
        upstream: the server behind it.
        output: what it printed.
        log: what LiteLLM logged, as an integration would get it.
        records: the guard's records.
    """

    url: str
    key: str
    upstream: Upstream
    output: Path
    log: Path
    records: Path

    @property
    def headers(self) -> dict[str, str]:
        """Headers that let a client in."""
        return {"Authorization": f"Bearer {self.key}"}

    def post(self, path: str, *, guardrails: str = "cut", **body: Any) -> httpx.Response:
        """Send a request and read all that comes."""
        return httpx.post(
            f"{self.url}{path}", json={"guardrails": [guardrails], **body}, headers=self.headers, timeout=30
        )

    def logged(self, marker: str) -> dict[str, Any]:
        """Return what LiteLLM logged of the call whose request holds a text; waits for it."""
        for _ in range(100):
            for line in self.log.read_text("utf-8").splitlines():
                if marker in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            time.sleep(0.05)
        raise AssertionError(f"LiteLLM logged nothing of {marker}")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The LLM's server."""
    with Upstream() as server:
        yield server


def run_proxy(config: Path, folder: Path, upstream: Upstream) -> Iterator[Proxy]:
    """Run a proxy with a config file until the generator is closed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = Proxy(
        f"http://127.0.0.1:{port}", f"sk-{secrets.token_hex(32)}", upstream,
        folder / "output", folder / "log.jsonl", folder / "records.jsonl",
    )  # fmt: skip
    proxy.log.touch()
    program = Path(sys.executable).with_name("litellm")
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with proxy.output.open("w") as output:
        process = subprocess.Popen(command, env=_environment(proxy), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_alive(proxy, process)
        yield proxy
    finally:
        process.terminate()
        process.wait(20)


def _environment(proxy: Proxy) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return env | {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": proxy.key,
        "LITELLM_ENABLE_MCP_STDIO": "true",
        "ANTHROPIC_MESSAGES_MAX_DETACHED_STREAM_DRAINS": "0",
        "UPSTREAM_URL": proxy.upstream.url,
        "UPSTREAM_ROOT": proxy.upstream.url.removesuffix("/v1"),
        "UPSTREAM_KEY": "none",
        "TEST_PYTHON": sys.executable,
        "TEST_LOG": str(proxy.log),
        "TEST_RECORDS": str(proxy.records),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def _wait_until_alive(proxy: Proxy, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{proxy.url}/health/liveliness").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the proxy did not start: {proxy.output.read_text('utf-8')[-2000:]}")


@pytest.fixture(scope="session")
def proxy(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy of the tests; afterwards nothing risky may stand in anything that it wrote."""
    config = ROOT / "tests/adapters/litellm/proxy_config.yaml"
    for running in run_proxy(config, tmp_path_factory.mktemp("proxy"), upstream):
        yield running
        for place in (running.output, running.log, running.records):
            assert "FORBIDDEN" not in place.read_text("utf-8"), f"risky text in {place.name}"


@pytest.fixture
def plays(upstream: Upstream, request: pytest.FixtureRequest) -> Callable[..., tuple[str, Script]]:
    """Register what the LLM answers; returns the prompt that asks for it, and the script."""

    def register(*scripts: Script) -> tuple[str, Script]:
        name = secrets.token_hex(8)
        return f"run {name}", upstream.plays(name, *scripts)

    return register
