"""`guardrail train STAGE --config recipe.toml`: what is printed, and the exit codes."""

import json
from pathlib import Path

import pytest

from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from guardrail.training.recipe.settings import STAGES
from guardrail.training.recipe.stages import command_of
from tests.training.recipe.runs import n_asked, write_recipe


def train(*arguments: str | Path) -> int:
    """Run `guardrail train` in this process."""
    return run(["train", *map(str, arguments)])


@pytest.mark.parametrize("name", sorted({*STAGES, *map(command_of, STAGES), "all"}))
def test_every_stage_is_a_command_with_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by the name of its section, with an underscore."""
    assert train(name, "--help") == Exit.OK
    assert "--max-calls" in capsys.readouterr().out


def test_a_run_says_what_it_came_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for a stage; the second time that there was nothing to do."""
    path = write_recipe(tmp_path)
    assert train("all", "--config", path) == Exit.OK
    assert capsys.readouterr().out == "respond: 30 rows in, 90 out, 0 left out\n"
    assert train("respond", "--config", path) == Exit.OK
    assert "up to date" in capsys.readouterr().out


def test_json_is_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else on stdout."""
    assert train("respond", "--config", write_recipe(tmp_path), "--limit", "3", "--json") == Exit.OK
    found = json.loads(capsys.readouterr().out)["respond"]
    assert (found["plan"]["limit"], found["rows"]["n_rows"], found["calls"]["small"]["asked"]) == (3, 9, 6)


def test_a_dry_run_tells_the_cost_and_asks_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, or as one object."""
    path = write_recipe(tmp_path)
    assert train("all", "--config", path, "--dry-run") == Exit.OK
    out = capsys.readouterr().out
    assert "GPU hours" in out
    assert "respond: " in out  # what was assumed
    assert train("all", "--config", path, "--dry-run", "--json") == Exit.OK
    (cost,) = json.loads(capsys.readouterr().out)["costs"]
    assert (cost["stage"], cost["model"], cost["usage"]["n_calls"]) == ("respond", "small", 60)
    assert n_asked(tmp_path) == 0


def test_the_budget_has_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And status says so."""
    path = write_recipe(tmp_path)
    assert train("all", "--config", path, "--max-calls", "10") == Exit.BUDGET
    assert "run the same command again" in capsys.readouterr().err
    assert train("status", "--config", path) == Exit.OK
    assert "stopped at budget: rows, " in capsys.readouterr().out
    assert train("status", "--config", path, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["respond"]["state"] == "stopped at budget"


def test_the_input_of_a_stage_must_be_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message holds the command that makes it."""
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + '\n[annotate.annotators]\none = {model = "small"}\ntwo = {model = "small"}\n')
    assert train("annotate", "--config", path) == Exit.USAGE
    assert "guardrail train respond --config" in capsys.readouterr().err
    assert train("respond", "--config", path) == Exit.OK
    path.write_text(path.read_text().replace("samples = 2", "samples = 1"))
    assert train("annotate", "--config", path) == Exit.USAGE
    assert "respond hands on, which is stale (other settings)" in capsys.readouterr().err


def test_the_first_stage_to_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the one before, which cannot run either."""
    path = write_recipe(tmp_path)
    more = '\n[annotate.annotators]\none = {model = "small"}\ntwo = {model = "small"}\n[mix]\n'
    path.write_text(path.read_text() + more)
    assert train("mix", "--config", path) == Exit.USAGE
    said = capsys.readouterr().err
    assert "mix reads what annotate hands on, which is not begun" in said
    assert "guardrail train respond, or all --config" in said


@pytest.mark.parametrize("option", ["--limit", "--max-calls", "--max-tokens"])
def test_bounds_are_at_least_one(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is begun."""
    assert train("all", "--config", write_recipe(tmp_path), option, "0") == Exit.USAGE
    assert "must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
