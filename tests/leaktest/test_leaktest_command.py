import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from langchain_core.runnables import RunnableGenerator

def build(llm):
    return llm

def held(tokens):
    text = ""
    for token in tokens:
        text += token
        if {marker!r} in text:
            return
    yield text

def shown(tokens):
    yield from tokens

def deaf(tokens):
    yield "Sorry."

def told(llm):
    return (lambda given: given["question"]) | llm

broken = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with targets, and a canary of one's own."""
    (tmp_path / "targets.py").write_text(APP.format(marker="the secret recipe"))
    (tmp_path / "canary.txt").write_text("All that may come out. Then the secret recipe of the house, and the rest.")
    return tmp_path


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder."""
    environment = {**os.environ, "NO_COLOR": "1"}
    command = [sys.executable, "-P", "-m", "guardrail.cli", "leaktest", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


OWN = ("--canary", "canary.txt", "--marker", "the secret recipe")


def test_a_clean_target_exits_with_0_and_says_so_in_json(folder: Path) -> None:
    """One object: what leaked where, and what the LLM was spared."""
    done = run(folder, "targets:held", *OWN, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["leaks"], found["proves"]) == (0, False, True)
    assert {outlet["leaked_chars"] for outlet in found["outlets"]} == {0}
    assert found["runs"][0]["saved_tokens"] > 0
    assert "recipe" not in done.stdout + done.stderr


@pytest.mark.parametrize("target", ["shown", "build"])
def test_a_leaky_target_exits_with_1_and_shows_a_table(target: str, folder: Path) -> None:
    """The outlets that leak are marked, and a target without any guard is called that."""
    done = run(folder, f"targets:{target}", *OWN)
    assert done.returncode == 1
    assert "LEAKS" in done.stdout
    assert "no guard" in done.stdout


def test_what_follows_may_come_out_where_a_guard_redacts(folder: Path) -> None:
    """With --redacts only the marker counts."""
    done = run(folder, "targets:shown", *OWN, "--redacts", "--json")
    leaked = max(outlet["leaked_chars"] for outlet in json.loads(done.stdout)["outlets"])
    assert leaked == len("the secret recipe")


def test_a_chain_gets_the_input_it_wants(folder: Path) -> None:
    """--input is its JSON."""
    done = run(folder, "targets:told", "--json", "--input", '{"question": "How?"}')
    assert done.returncode == 1
    assert not any(run["error"] for run in json.loads(done.stdout)["runs"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either"),
        (("targets:held", "--url", "http://127.0.0.1:9/v1"), "give either"),
        (("targets:deaf",), "never asked"),
        (("targets:nothing",), "nothing"),
        (("nowhere:held",), "nowhere"),
        (("targets:broken",), "function or a Runnable"),
        (("targets:held", "--canary", "canary.txt"), "--marker"),
        (("targets:held", "--canary", "harm", "--marker", "x"), "--marker"),
        (("targets:build", "--input", "{"), "no JSON"),
        (("--url", "http://127.0.0.1:9/v1", "--listen", "here"), "HOST:PORT"),
    ],
)
def test_what_cannot_be_tested_exits_with_2_and_one_line(
    arguments: tuple[str, ...], message: str, folder: Path
) -> None:
    """A leak test that tried nothing is never a pass."""
    done = run(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_that_asks_the_served_canary_is_tested_over_http(folder: Path) -> None:
    """The shortest gateway is none: pointed at the command's own upstream, everything leaks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    done = run(folder, "--url", f"http://{address}/v1", "--listen", address, "--pace", "0", "--canary", "word")
    assert done.returncode == 1
    assert f"served at http://{address}/v1" in done.stderr
    assert done.stdout.count("LEAKS") == 2
