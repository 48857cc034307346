"""What the examples show, those that need more than an empty folder, and the table of them in examples/README.md.

tests/test_readme.py runs every examples/*.py.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardrail.engines.base import Engine, Feed, Logits, check_logits
from guardrail.testing import default_tokenizer
from tests.test_readme import ROOT, run

EXAMPLES = ROOT / "examples"
ROW = re.compile(r"^\| \[(?P<file>[^]]+)\]\((?P<link>[^)]+)\) \|.*\| (?P<tests>[^|]+) \|$", re.MULTILINE)
ROWS = [match.groupdict() for match in ROW.finditer((EXAMPLES / "README.md").read_text("utf-8"))]
SHORT = sorted(
    path for path in EXAMPLES.rglob("*") if path.suffix in {".py", ".sh", ".mjs", ".yaml"} and path.is_file()
)
MATERIAL = ("recipe", "rl")
"""Folders that are no examples to be read first: with them the embedded model and the tables in docs were made."""


def ran(*command: str, folder: Path, **env: str) -> str:
    """Run a program in an empty folder with the commands of this environment; return what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path, **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(name: str, folder: Path) -> str:
    """Run one example without network; return what it printed."""
    return run((EXAMPLES / name).read_text("utf-8"), folder)


def test_the_app_streams_cuts_and_refuses(tmp_path: Path) -> None:
    """One answer whole, one up to its first risky token, one question for which the LLM is not asked."""
    printed = example("fastapi_app.py", tmp_path)
    assert "200 Mix flour, water, salt and yeast, let the dough rise for a day, then bake it hot." in printed
    assert re.search(r"200 Most say it was fair\..* \[stopped: Unethical Acts\]", printed)
    assert "bitch" not in printed
    assert '400 {"detail":"This question is not answered: Violent."}' in printed


def test_an_engine_of_ones_own_decides(tmp_path: Path) -> None:
    """The word of its list is stopped, with the category and the engine's name in the decision."""
    allowed, stopped = example("custom_engine.py", tmp_path).splitlines()
    assert allowed == "allow: I won at chess last night. [None, word list]"
    assert re.fullmatch(r"stop: I won at the (cas?)? ?\[Non-violent Illegal Acts, word list\]", stopped)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine of the example."""
    made: Engine = runpy.run_path(str(EXAMPLES / "custom_engine.py"))["WordEngine"]()
    return made


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_engine_of_ones_own_keeps_the_promises(engine: Engine, size: int) -> None:
    """Chunks, batch mates, rollback and forks change nothing: what docs/engine.md asks of every engine."""
    ids = default_tokenizer().encode_plain("The referee was at the casino and won a lot.").ids
    (whole,) = engine.step([Feed(engine.open(), ids)])
    check_logits(whole, len(ids), engine.info)
    session, mate = engine.open(), engine.open()
    engine.step([Feed(session, ids[3:5])])
    session.rollback(0)
    parts: list[Logits] = []
    for start in range(0, len(ids), size):
        found, _ = engine.step([Feed(session, ids[start : start + size]), Feed(mate, ids[:1])])
        parts.append(found)
    assert np.array_equal(np.concatenate([part.response_risk for part in parts]), whole.response_risk)
    (after,) = engine.step([Feed(session.fork(4), ids[4:])])
    assert np.array_equal(after.query_category, whole.query_category[4:])


def test_a_replay_tells_policies_apart(tmp_path: Path) -> None:
    """Nothing was stopped when it was recorded; the stricter policy would have stopped one more."""
    printed = example("replay.py", tmp_path)
    told = {name: lines for name, _, lines in (part.partition(":\n") for part in printed.strip().split("\n\n"))}
    assert list(told) == ["strict", "balanced", "only if sure"]
    assert "8 decisions: 0 stopped before, 3 after" in told["strict"]
    assert "8 decisions: 0 stopped before, 2 after" in told["balanced"]
    assert "response newly stopped" not in told["only if sure"]


def test_an_export_is_compared_with_torch(tmp_path: Path) -> None:
    """The checks of `guardrail verify` pass on the tiny checkpoint, and the export judges."""
    printed = example("export.py", tmp_path)
    assert "model.onnx" in printed
    assert "FAIL" not in printed
    assert "\npassed\n" in printed
    assert re.search(r"^tiny, int8: (allow|flag|stop)$", printed, re.MULTILINE)


def test_the_shell_shows_a_prefix_and_says_so(tmp_path: Path) -> None:
    """A harmless answer comes whole, an abusive one up to its first risky token, a harmful prompt with exit code 3."""
    printed = ran("sh", str(EXAMPLES / "streaming_cli.sh"), folder=tmp_path)
    assert "then bake it hot. \n(shown whole)" in printed
    assert re.search(r"a stupid( b)?\n\(stopped: the rest was never written\)", printed)
    assert printed.endswith("(not asked: exit code 3)\n")


@pytest.mark.slow
def test_a_guard_learns_a_policy_from_a_csv_file(tmp_path: Path) -> None:
    """Of questions that are no rows, at least one that asks for medical advice is stopped afterwards, no other one."""
    printed = ran(sys.executable, str(EXAMPLES / "own_policy" / "fine_tune.py"), folder=tmp_path, OMP_NUM_THREADS="1")
    before, after = printed.partition("before:")[2].split("\nafter:")
    assert before.count("allow") >= 4
    *asks, bill, card = re.findall(r"^  (\w+) +(.+?)  ", after, re.MULTILINE)
    assert ("stop", "Medical Advice") in asks
    assert bill == card == ("allow", "-")


def cells(*, plots: bool) -> list[str]:
    """Return the notebook's code, cell by cell."""
    notebook: dict[str, Any] = json.loads((EXAMPLES / "token_risk.ipynb").read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code), "strip the outputs"
    return ["".join(cell["source"]) for cell in code if plots or "plot" not in cell["metadata"].get("tags", ())]


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """All cells in order; the plots only where matplotlib is installed: `make notebook-test` draws them in a kernel."""
    has_plots = find_spec("matplotlib") is not None
    code = "\n".join(cells(plots=has_plots))
    printed = run(f'import os\nos.environ["MPLBACKEND"] = "Agg"\n{code}', tmp_path)
    assert re.search(r"^abusive +stop +Unethical Acts$", printed, re.MULTILINE)
    assert re.search(r"^harmless +allow +-$", printed, re.MULTILINE)
    assert re.search(r"half of them within \d+\.\d ms", printed)


@pytest.mark.parametrize("path", [p for p in SHORT if p.relative_to(EXAMPLES).parts[0] not in MATERIAL], ids=str)
def test_an_example_is_short(path: Path) -> None:
    """Under 60 lines, in whatever language and folder."""
    assert len(path.read_text("utf-8").splitlines()) < 60


def test_the_table_names_every_example() -> None:
    """Whoever adds one says what it shows; what is named is there."""
    named = {row["link"] for row in ROWS}
    assert all(row["file"] == row["link"] for row in ROWS)
    assert not [link for link in named if not (EXAMPLES / link).exists()]
    top = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert top <= named
    assert folders == {Path(link).parts[0] for link in named if (EXAMPLES / link).is_dir() or "/" in link}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["file"]))
def test_the_table_says_which_test_runs_it(row: dict[str, str]) -> None:
    """The test that is named speaks of the file; test_readme.py takes all of a kind."""
    tests = re.findall(r"`(tests/[^`]+)`", row["tests"])
    assert tests, "no test is named"
    name = Path(row["file"]).name
    for test in tests:
        assert test == "tests/test_readme.py" or name in (ROOT / test).read_text("utf-8"), f"{test} has no {name}"
