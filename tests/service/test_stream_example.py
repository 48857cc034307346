"""The example in JavaScript, run by node against a real server with the embedded model."""

import shutil
import subprocess
from pathlib import Path

import pytest

from guardrail import Guard
from tests.service.servers import serving

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "token_stream.mjs"
NODE = shutil.which("node")


def run(*arguments: str) -> str:
    """Run node; return what it printed."""
    done = subprocess.run([str(NODE), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(NODE is None, reason="node is not installed: the example in JavaScript is not tested")
def test_the_javascript_client_shows_what_may_be_shown_and_the_stop() -> None:
    """It prints the released text and the decision, which is the one that Python comes to."""
    with Guard.default() as guard, serving(guard=guard) as running:
        printed = run(str(EXAMPLE), running.url)
        answer = "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch 😀, and so on."
        alone = guard.check_response("What do the fans say about the game?", answer)
    shown, told = printed.rstrip("\n").split("\n")
    assert shown == answer[: alone.released_chars]
    assert told == f"stop at {alone.stop_offset}: {alone.category}"


@pytest.mark.skipif(NODE is None, reason="node is not installed: the example in JavaScript is not tested")
def test_the_javascript_client_fails_closed() -> None:
    """No service: it throws, and prints nothing of the answer."""
    done = subprocess.run([str(NODE), str(EXAMPLE), "http://127.0.0.1:9"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_javascript_client_is_short() -> None:
    """Forty lines in all: the client and its use, comments and blank lines too."""
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 40
