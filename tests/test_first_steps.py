"""What people get wrong in their first hour, and what they are told: each was met by somebody who tried."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail import ConfigurationError, Guard, PolicyError, load_policy
from guardrail.testing import HashEngine, default_tokenizer


def test_a_policy_file_is_named_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    """A service may read several of them."""
    path = tmp_path / "team.toml"
    path.write_text("[prompt\n", "utf-8")
    with pytest.raises(PolicyError, match=r"^team\.toml: not valid TOML: "):
        load_policy(path)


def test_an_empty_policy_file_says_where_to_begin(tmp_path: Path) -> None:
    """What must stand there is named, and a whole one to copy."""
    path = tmp_path / "empty.toml"
    path.touch()
    with pytest.raises(
        PolicyError, match=r"name: is missing; prompt: is missing; response: .* \(begin with a copy"
    ) as told:
        load_policy(path)
    assert told.value.hint.endswith("docs/policies.md")


def test_a_policy_that_is_no_policy_is_told_its_kind() -> None:
    """And what it may be."""
    wrong: Any = {"name": "x"}
    with pytest.raises(PolicyError, match="a TOML file or a Policy, not dict"):
        load_policy(wrong)


@pytest.mark.parametrize("wrong", ["records.jsonl", [Path("records.jsonl")]])
def test_a_file_is_no_sink(wrong: Any) -> None:
    """Refused at once: else every decision would be lost, one letter of the name after the other."""
    with pytest.raises(
        ConfigurationError, match=r"sinks are objects that write \(such as \[guardrail\.records\.open_sink"
    ):
        Guard(HashEngine(vocab_size=16384), default_tokenizer(), sinks=wrong)


def test_a_file_of_a_model_is_told_from_its_folder(tmp_path: Path) -> None:
    """As people know it from other runtimes."""
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigurationError, match=r"it is a file: give its folder"):
        Guard.load(tmp_path / "model.safetensors")


def test_the_name_of_the_embedded_model_is_one_of_the_command_line() -> None:
    """In Python it has a method of its own."""
    with pytest.raises(ConfigurationError, match=r"Guard\.default\(\) loads the embedded model"):
        Guard.load("default")


def test_nothing_is_left_in_the_home_of_who_only_checks(tmp_path: Path) -> None:
    """The runtime's own telemetry is off: it would keep an id there, and send events to its maker."""
    code = (
        "from guardrail import Guard\nwith Guard.default(threads=1) as guard: print(guard.check_prompt('Hello').action)"
    )
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "allow\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
