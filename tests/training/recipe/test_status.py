"""How a recipe stands, told from outside while it runs, and afterwards."""

import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from guardrail.errors import BudgetSpent, ConfigurationError
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
    assert state_of(path) == ("stale", "other settings")
    path.write_text(path.read_text().replace("rows.jsonl", "others.jsonl"))
    assert state_of(path) == ("stale", "other inputs")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("part_rows = 7", "part_rows = 7\nseed = 2", "another seed"),
        ('"model.py:answer"', '"model.py:answer"\nrevision = "b"', "other models"),
        ("samples = 2", "samples = 3\nmax_tokens = 9", "other settings"),
        ("rows.jsonl", "others.jsonl", "other inputs"),
    ],
)
def test_what_makes_a_stage_stale_is_said(tmp_path: Path, old: str, new: str, why: str) -> None:
    """In words that can be read; also of the seed, which has nothing to do with these inputs."""
    path = write_recipe(tmp_path)
    run(path)
    path.write_text(path.read_text().replace(old, new))
    assert state_of(path) == ("stale", why)


@pytest.mark.parametrize("change", ["longer", "as long"])
def test_an_input_file_that_changed_makes_all_stages_stale(tmp_path: Path, change: str) -> None:
    """Whoever asks; a file that was only copied, or is gone, does not."""
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "[mix]\n")
    run(path)
    rows = tmp_path / "rows.jsonl"
    text = rows.read_text()
    os.utime(rows, (1, 1))
    assert [one.state for one in states_of(load_recipe(path), tmp_path).values()] == ["finished", "finished"]
    rows.write_text(text.replace("bread", "bread " if change == "longer" else "broad"))
    found = [(one.state, one.why) for one in states_of(load_recipe(path), tmp_path).values()]
    assert found == [("stale", "other inputs"), ("stale", "respond is not what it was")]
    with pytest.raises(ConfigurationError, match=r"stale \(other inputs\).*train respond"):
        run(path, "mix")
    rows.unlink()
    assert state_of(path) == ("finished", "")


def test_inputs_that_were_deleted_make_nothing_stale(tmp_path: Path) -> None:
    """The first stage says what it read; a recipe of other files is another matter."""
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "[mix]\n")
    run(path)
    shutil.rmtree(tmp_path / "out" / "inputs")
    assert [one.state for one in states_of(load_recipe(path), tmp_path).values()] == ["finished", "finished"]
    assert "up to date" in run(path, "mix")[1][0]
    assert not (tmp_path / "out" / "inputs").exists()
    path.write_text(path.read_text().replace("rows.jsonl", "others.jsonl"))
    assert state_of(path) == ("stale", "other inputs")


def test_a_finished_stage_that_lacks_a_part_is_damaged(tmp_path: Path) -> None:
    """The part is named, in the table as well; what was made of it before is as good as ever."""
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "[mix]\n")
    run(path)
    (tmp_path / "out" / "respond" / "rows" / "00002.parquet").unlink()
    states = states_of(load_recipe(path), tmp_path)
    assert [(one.state, one.why) for one in states.values()] == [
        ("damaged", "rows/00002.parquet is missing"), ("finished", "")
    ]  # fmt: skip
    assert "damaged: rows/00002.parquet is missing" in told(path)
    assert as_values(load_recipe(path), tmp_path)["respond"]["state"] == "damaged"


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
