"""`guardrail serve` as a process: the banner, signals, exit codes."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from guardrail.cli.exits import Exit
from tests.service.test_operators import TEXT, head

COMMAND = [str(Path(sys.executable).with_name("guardrail")), "serve"]


@dataclass
class Run:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    banner: str
    stderr: IO[str]

    @property
    def url(self) -> str:
        """Where it serves."""
        return re.search(r"http://\S+", self.banner).group()  # type: ignore[union-attr]  # a banner has one

    def end(self) -> str:
        """Wait for its end; return what it logged."""
        logged = self.stderr.read()
        self.process.wait(30)
        return logged


@contextmanager
def run(*arguments: str) -> Iterator[Run]:
    """Run the command until the block ends."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*COMMAND, "--port", "0", "--threads", "1", *arguments]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "records" in line:
                break
        yield Run(process, "".join(lines), process.stderr)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_the_banner_says_what_is_served_and_a_signal_ends_it_well() -> None:
    """Model, policy, keys, upstream and records; SIGTERM is no failure."""
    with run("--policy", "strict") as server:
        assert re.search(r"model +guardrail-default \(onnx, int8, [0-9a-f]{12}\)", server.banner)
        assert re.search(r"policy +strict", server.banner)
        assert "no keys, every caller is let in" in server.banner
        assert httpx.post(f"{server.url}/v1/moderations", json=TEXT).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert "draining: 0 requests are open" in server.end()
        assert server.process.returncode == Exit.OK


@pytest.mark.slow
def test_what_is_open_at_the_signal_ends_before_the_server_does() -> None:
    """A request that is half sent at SIGTERM is answered; a new one is not taken."""
    with run() as server:
        late = socket.create_connection(("127.0.0.1", httpx.URL(server.url).port))
        late.sendall(head(18) + b'{"input": ')
        while "requests_open 1" not in httpx.get(f"{server.url}/metrics").text:
            pass
        server.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{server.url}/readyz").status_code != 503:
            pass
        assert httpx.post(f"{server.url}/v1/moderations", json=TEXT).status_code == 503
        late.sendall(b'"bread"}')
        assert b"200 OK" in late.recv(65536)
        late.close()
        server.end()
        assert server.process.returncode == Exit.OK


@pytest.mark.slow
def test_a_drain_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not end within `drain_s` is closed."""
    monkeypatch.setenv("GUARDRAIL_SERVER__DRAIN_S", "0.2")
    with run() as server:
        late = socket.create_connection(("127.0.0.1", httpx.URL(server.url).port))
        late.sendall(head(18) + b"{")
        while "requests_open 1" not in httpx.get(f"{server.url}/metrics").text:
            pass
        server.process.send_signal(signal.SIGTERM)
        assert "did not end in time" in server.end()
        late.close()


@pytest.mark.slow
def test_policies_are_read_again_at_sighup(tmp_path: Path) -> None:
    """Without a restart."""
    policy = tmp_path / "own.toml"
    rules = 'name = "{}"\n[prompt]\ncontroversial = "stop"\nunsafe = "stop"\n'
    rules += '[response]\ncontroversial = "stop"\nunsafe = "stop"\n'
    policy.write_text(rules.format("first"))
    with run("--policy", str(policy)) as server:
        policy.write_text(rules.format("second"))
        server.process.send_signal(signal.SIGHUP)
        while httpx.get(f"{server.url}/version").json()["policy"] != "second":
            pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "can be reached from outside"),  # noqa: S104  # what is refused
        (["--policy", "nonsense"], "nonsense"),
        (["--model", "/nowhere"], "/nowhere"),
        (["missing.toml"], "missing.toml"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_an_exit_code(arguments: list[str], said: str) -> None:
    """No traceback for what users can cause."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == Exit.USAGE
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_port_that_is_taken_is_said() -> None:
    """One line, with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == Exit.USAGE
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
