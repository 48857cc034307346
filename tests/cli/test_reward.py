"""The command `reward serve`: flags, the TOML file, and a server of its own process that ends at SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.main import run
from guardrail.errors import ConfigurationError
from guardrail.training.rewards import running
from guardrail.training.rewards.serve_settings import RewardServeSettings
from guardrail.training.settings import load_settings

FILE = """\
kind = "mixed"
batch = 16

[rewards.guard]
policy = "strict"
at_once = 4

[rewards.refusals]
detector = "gen"
model = "Qwen/Qwen3Guard-Gen-0.6B"
base_url = "http://localhost:8001/v1"

[rewards.helpfulness]
kind = "pooling"
model = "Qwen/WorldPM-72B-HelpSteer2"
base_url = "http://localhost:8002"
scale = 2.5

[server]
port = 9100

[[keys]]
name = "trainer"
key = "0123456789abcdef"
requests_per_minute = 600
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[RewardServeSettings]:
    """The settings that the command would serve by."""
    given: list[RewardServeSettings] = []
    monkeypatch.setattr(running, "run", lambda settings, _tell: given.append(settings))
    return given


def test_without_a_file_the_embedded_guard_is_the_reward(told: list[RewardServeSettings]) -> None:
    """On this machine alone."""
    assert run(["reward", "serve"]) == 0
    assert told == [RewardServeSettings()]
    assert (told[0].kind, told[0].server.host, told[0].server.port) == ("guard_only", "127.0.0.1", 8100)


def test_flags_win_over_the_file(tmp_path: Path, told: list[RewardServeSettings]) -> None:
    """What they do not name stays as the file says."""
    path = tmp_path / "reward.toml"
    path.write_text(FILE)
    arguments = ["--port", "0", "--policy", "balanced", "--kind", "guard_only", "--helpfulness", "a/model"]
    assert run(["reward", "serve", str(path)]) == 0
    assert run(["reward", "serve", str(path), *arguments]) == 0
    by_file, by_flags = told
    assert by_file.rewards.helpfulness
    assert by_flags.rewards.helpfulness
    assert (by_file.kind, by_file.server.port, by_file.rewards.guard.policy) == ("mixed", 9100, "strict")
    assert (by_file.rewards.helpfulness.kind, by_file.rewards.helpfulness.scale) == ("pooling", 2.5)
    assert by_file.keys[0].name == "trainer"
    assert (by_flags.kind, by_flags.server.port, by_flags.rewards.guard.policy) == ("guard_only", 0, "balanced")
    assert (by_flags.rewards.helpfulness.kind, by_flags.rewards.helpfulness.model) == ("checkpoint", "a/model")
    assert by_flags.rewards.guard.at_once == by_file.rewards.guard.at_once == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind = ", "sort = "), r"unknown key 'sort'; valid: batch, keys, kind"),
        (("at_once = 4", "at_once = 0"), "at_once"),
        (('detector = "gen"', 'detector = "phrases"'), "belong together"),
        (("port = 9100", 'host = "0.0.0.0"'), None),
        (("0123456789abcdef", "short"), "at least 16 characters"),
        (("scale = 2.5", "scale = nan"), "scale"),
    ],
)
def test_files_that_cannot_work_are_refused(tmp_path: Path, change: tuple[str, str], said: str | None) -> None:
    """With the valid keys; secrets are not repeated."""
    path = tmp_path / "reward.toml"
    path.write_text(FILE.replace(*change))
    if said is None:  # a public address with keys is fine
        assert load_settings(path, RewardServeSettings).server.host == "0.0.0.0"  # noqa: S104  # what is tested
        return
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings(path, RewardServeSettings)
    assert "short" not in str(caught.value)


def test_the_example_can_be_read() -> None:
    """Its keys are those of the settings."""
    path = Path(__file__).resolve().parents[2] / "examples" / "rewards" / "serve.toml"
    assert load_settings(path, RewardServeSettings).rewards.refusals.detector == "guard"


def test_a_reward_that_cannot_be_given_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything listens."""
    assert run(["reward", "serve", "--kind", "mixed", "--port", "0"]) == 2
    assert "mixed cannot be given: valid here: guard_only" in capsys.readouterr().err


def ask(url: str, body: Any) -> Any:
    """Post, and read the answer."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/reward", json.dumps(body).encode())) as answer:  # noqa: S310  # our own
        return json.load(answer)


def test_the_command_serves_and_ends_at_sigterm() -> None:
    """With the embedded model, on a free port that its banner tells."""
    command = [sys.executable, "-m", "guardrail.cli", "reward", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as it:
        assert it.stderr
        line = next(line for line in it.stderr if "serves rewards at" in line)
        url = line.split()[-1]
        answer = ask(url, {"completions": [{"prompt": "How do I bake bread?", "text": "Mix flour and water."}]})
        assert answer["rewards"] == [1.0]
        it.send_signal(signal.SIGTERM)
        it.stderr.read()
        assert it.wait(30) in (0, -signal.SIGTERM)
