"""The proxy as a process: what it does when the server or the client goes away, and what stands where."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Connect = Callable[..., Any]
GUARDRAIL = [sys.executable, "-m", "guardrail.cli", "mcp"]


def is_alive(journal: Path) -> bool:
    """Whether the server's process is there, if only as a zombie."""
    try:
        os.kill(int(journal.read_text("utf-8").splitlines()[0]), 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 7])
def test_a_server_that_dies_fails_what_is_open_and_ends_the_proxy(connect: Connect, code: int) -> None:
    """Every open request gets an error; the proxy ends at once, with the server's exit code, though nobody left it."""
    client = connect()
    client.say({"id": 1, "method": "never answered"}, {"id": 2, "method": "die", "params": {"code": code}})
    failed = [client.hear(), client.hear()]
    assert [(message["id"], message["error"]["code"]) for message in failed] == [(1, -32000), (2, -32000)]
    assert client.hear() is None
    assert client.end() == code
    assert f"guardrail: the server ended with exit code {code}\n" in client.errors


def test_a_server_killed_by_a_signal_gives_the_code_that_shells_give(connect: Connect, journal: Path) -> None:
    """128 and the signal's number."""
    client = connect()
    wait_for(lambda: journal.read_text("utf-8") != "")
    os.kill(int(journal.read_text("utf-8").splitlines()[0]), signal.SIGKILL)
    assert client.end() == 128 + signal.SIGKILL


def test_what_a_server_said_before_it_died_still_arrives(connect: Connect) -> None:
    """An answer is judged and passed on even when its server is gone by then."""
    client = connect()
    text = "word " * 2000
    client.say({"id": 1, "method": "echo", "params": {"text": text}}, {"id": 2, "method": "die", "params": {"code": 0}})
    assert client.hear() == {"jsonrpc": "2.0", "id": 1, "result": {"text": text}}
    assert client.hear()["id"] == 2
    assert client.end() == 0


def test_the_server_ends_when_the_client_leaves(connect: Connect, journal: Path) -> None:
    """Its input closes, so a good server goes by itself: exit code 0, no process left, none of its words on stdout."""
    client = connect()
    client.say({"id": 1, "method": "echo", "params": {"a": 1}})
    assert client.hear()["result"] == {"a": 1}
    assert client.leave() == 0
    assert not is_alive(journal)
    assert "server is up\n" in client.errors
    assert b"server is up" not in client.heard


@pytest.mark.parametrize("way", ["leave", "SIGTERM", "SIGINT"])
def test_a_server_that_will_not_go_is_killed(connect: Connect, journal: Path, way: str) -> None:
    """One that ignores the end of its input and SIGTERM is gone before the proxy is."""
    client = connect(*GUARDRAIL, "--")
    client.say({"id": 1, "method": "deaf", "params": {}})
    client.hear()
    if way == "leave":
        assert client.leave() == 0
    else:
        client.process.send_signal(getattr(signal, way))
        assert client.end() == 130
    assert not is_alive(journal)
    assert "Traceback" not in client.errors


def test_sigterm_ends_a_proxy_that_was_started_in_the_background(connect: Connect, journal: Path) -> None:
    """Shells let Ctrl-C be ignored by what they start there."""
    client = connect("sh", "-c", 'trap "" INT; exec "$@"', "sh", *GUARDRAIL, "--")
    client.say({"id": 1, "method": "echo", "params": {}})
    client.hear()
    client.process.send_signal(signal.SIGTERM)
    assert client.end() == 130
    assert not is_alive(journal)


def test_a_server_that_reads_nothing_does_not_keep_the_proxy(marked: Callable[..., list[str]]) -> None:
    """The client leaves while more than a pipe holds waits for the server; both end."""
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vendor/x", "params": {"a": "x" * 2**20}})
    command = marked(sys.executable, "-c", "import time; time.sleep(60)")
    subprocess.run(command, check=True, input=f"{line}\n".encode(), capture_output=True, timeout=20)


def test_a_client_that_stops_listening_ends_the_proxy(marked: Callable[..., list[str]]) -> None:
    """A closed output is a client that left, though its input stays open: no traceback."""
    ours, theirs = os.pipe()
    server = [sys.executable, "-c", "import sys; print(input(), flush=True); sys.stdin.read()"]
    with subprocess.Popen(marked(*server), stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE) as proxy:
        os.close(theirs)
        os.close(ours)
        assert proxy.stdin
        assert proxy.stderr
        proxy.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        proxy.stdin.flush()
        assert proxy.wait(20) == 0
        assert proxy.stderr.read().decode().splitlines() == ["guardrail: the client is gone"]


def test_no_byte_of_a_poisoned_result_reaches_the_client(connect: Connect, tmp_path: Path) -> None:
    """Neither on stdout nor on stderr; the records of the process say what was stopped, without the text."""
    client = connect()
    poison = {"name": "a", "content": [{"type": "text", "text": "tool \u2620 orders"}]}
    client.say({"id": 1, "method": "tools/call", "params": poison})
    assert client.hear()["result"]["isError"] is True
    client.leave()
    records = (tmp_path / "records.jsonl").read_text("utf-8")
    for said in (client.heard.decode(), client.errors, records):
        assert not any(form in said for form in ("\u2620", r"\u2620", "orders"))
    assert "guardrail: result of a withheld: tool_result stopped: Unsafe Violent\n" in client.errors
    assert '"action":"stop"' in records.replace(" ", "")


def test_the_command_explains_itself(connect: Connect) -> None:
    """`--help` says how to name the server and where decisions go."""
    client = connect(*GUARDRAIL, "--help", server=False)
    assert client.end() == 0
    assert all(words in client.heard.decode() for words in ("behind --", "guardrail mcp", "--policy", "--records"))
    assert client.errors == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "there is no server to run"), (["--", "no-such-program"], "no-such-program cannot be started"),
     (["--policy", "no-such-policy", "--", "true"], "no-such-policy")],
    ids=str,
)  # fmt: skip
def test_wrong_usage_ends_in_one_line(connect: Connect, arguments: list[str], message: str) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    client = connect(*GUARDRAIL, *arguments, server=False)
    assert client.end() == 2
    assert client.heard == b""
    assert message in client.errors
    assert len(client.errors.splitlines()) == 1


def test_the_command_passes_options_behind_the_dashes_to_the_server(connect: Connect, tmp_path: Path) -> None:
    """The real command with the embedded model: options before `--` are its own, those behind the server's."""
    client = connect(*GUARDRAIL, "--records", str(tmp_path / "records.jsonl"), "--", after=("--policy", "strict"))
    client.say({"id": 1, "method": "echo", "params": {"note": "a harmless line about bread"}})
    assert client.hear() == {"jsonrpc": "2.0", "id": 1, "result": {"note": "a harmless line about bread"}}
    assert client.leave() == 0
    assert "arguments: --policy strict" in client.errors
    assert len((tmp_path / "records.jsonl").read_text("utf-8").splitlines()) == 1
