"""How a recipe stands, told from outside while it runs, and afterwards."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from guardrail.errors import BudgetSpent
from guardrail.training.recipe.folder import held
from guardrail.training.recipe.manifest import read_manifest, write_manifest
from guardrail.training.recipe.planning import states_of
from guardrail.training.recipe.settings import load_recipe
from guardrail.training.recipe.status import as_values, table_of
from tests.training.recipe.runs import run, write_recipe


def state_of(path: Path) -> tuple[str, str]:
    """Return how `respond` stands, and why."""
    state = states_of(load_recipe(path), path.parent)["respond"]
    return state.state, state.why


def told(path: Path) -> str:
    """Return the table as text."""
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table_of(load_recipe(path), path.parent))
    return captured.get()


def test_a_stage_begins_ends_and_becomes_stale(tmp_path: Path) -> None:
    """Each state in turn."""
    path = write_recipe(tmp_path)
    assert state_of(path) == ("not begun", "")
    with pytest.raises(BudgetSpent):
        run(path, max_calls=30)
    assert state_of(path) == ("stopped at budget", "")
    assert "stopped at budget: rows" in told(path)
    run(path)
    assert state_of(path) == ("finished", "")
    path.write_text(path.read_text().replace("samples = 2", "samples = 3"))
    assert state_of(path) == ("stale", "another settings")
    path.write_text(path.read_text().replace("rows.jsonl", "others.jsonl"))
    assert state_of(path) == ("stale", "inputs is not what it was")


@pytest.mark.parametrize(("is_running", "state"), [(True, "under way"), (False, "stopped")])
def test_a_run_that_is_under_way_is_told_from_one_that_was_killed(
    tmp_path: Path, *, is_running: bool, state: str
) -> None:  # fmt: skip
    """By the lock of the folder, which a killed process does not hold any more."""
    path = write_recipe(tmp_path)
    run(path)
    manifest = read_manifest(tmp_path / "out" / "respond")
    assert manifest
    left = manifest.model_copy(update={"finished": None, "step": "rows", "n_parts_done": 3, "n_parts": 5})
    write_manifest(tmp_path / "out" / "respond", left)
    if is_running:
        with held(tmp_path / "out"):
            assert f"{state}: rows, 3 of 5 parts" in told(path)
    else:
        assert f"{state}: rows, 3 of 5 parts" in told(path)


def test_the_values_are_those_of_the_run(tmp_path: Path) -> None:
    """As JSON."""
    path = write_recipe(tmp_path)
    run(path)
    values = json.loads(json.dumps(as_values(load_recipe(path), tmp_path)))["respond"]
    assert (values["state"], values["rows_in"], values["rows_out"], values["dropped"]) == ("finished", 30, 90, 0)
    assert values["calls"]["small"]["asked"] == 60


def test_the_table_shows_numbers_and_no_texts(tmp_path: Path) -> None:
    """Rows, calls and when."""
    path = write_recipe(tmp_path)
    run(path)
    (line,) = [line for line in told(path).splitlines() if "respond" in line]
    assert line.split()[:5] == ["respond", "finished", "30", "90", "0"]
