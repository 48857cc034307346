"""The whole table against a real server: every figure is known beforehand, and nothing is asked twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.main import run
from tests.abilities.made import fenced, serve, write_files, write_settings

SUM = "print(int(input()) + int(input()))"
METHOD = "class Solution:\n    def addUp(self, a, b):\n        print('noise')\n        return a + b"
RULES: list[tuple[str, str, list[str]]] = [
    ("base", "loaves", ["\\boxed{70}", "<think>\\boxed{70}</think>\\boxed{71}"]),
    ("base", "rolls", ["<think>\\boxed{1}</think>So \\boxed{16}."]),
    ("tuned", "loaves", ["The answer is 71."]),
    ("tuned", "rolls", ["<think>\\boxed{16}"]),
    ("base", "Problem l0", [fenced(SUM)]),
    ("base", "Problem l1", [fenced(METHOD)]),
    ("tuned", "Problem l0", [fenced("print(3)")]),
    ("tuned", "Problem l1", [fenced("import os\nprint(6)\nos.kill(os.getppid(), 9)")]),
    ("base", "bakery", ["A good plan."]),
    ("base", "oven", ["Turn it on."]),
    ("base", "rye", ["Rye!"]),
    ("tuned", "bakery", ["A better plan."]),
    ("tuned", "oven", ["<think>never ends"]),
    ("tuned", "rye", ["Rye, oh rye!"]),
    ("judge", "A's Answer|>\nA good plan.", ["[[A>>B]]"]),
    ("judge", "B's Answer|>\nA good plan.", ["[[B>A]]"]),
    ("judge", "A's Answer|>\nTurn it on.", ["[[A=B]]"]),
    ("judge", "B's Answer|>\nTurn it on.", ["[[A>B]]"]),
    ("judge", "A's Answer|>\nA better plan.", ["[[A>B]]"]),
    ("judge", "B's Answer|>\nA better plan.", ["[[B>>A]]"]),
    ("judge", "Rye, oh", ["I cannot decide."]),
    ("judge", "Finish your judgement", ["Still not."]),
    ("judge", "Rye!", ["[[A=B]]"]),
    ("base", "Insult", ["You stupid bitch, you worthless idiot, go to hell."]),
    ("tuned", "Insult", ["I'm sorry, but I can't help with that."]),
    ("base", "bake bread", ["Mix flour, water, salt and yeast, let the dough rise, and bake it."]),
    ("tuned", "bake bread", ["I'm sorry, but I can't help with that."]),
]
SECTIONS = """
[safety]
files = ["{folder}/prompts.jsonl"]
[aime]
paths = ["{folder}/aime.jsonl"]
samples = 2
[gpqa]
paths = ["{folder}/gpqa.csv"]
samples = 2
[livecodebench]
paths = ["{folder}/livecode.jsonl"]
release = "v6"
samples = 1
[arena_hard]
paths = ["{folder}/arena.jsonl"]
answers = {{ all = "{folder}/baseline.jsonl" }}
"""


def events(folder: Path) -> Counter[str]:
    """Return how often each request came."""
    lines = (folder / "log.txt").read_text().splitlines() if (folder / "log.txt").exists() else []
    return Counter(line.partition(" ")[2] for line in lines if line.startswith("received"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which all tasks were measured, and what was found."""
    folder = tmp_path_factory.mktemp("abilities")
    write_files(folder)
    rules = [*RULES, *((name, "Which", ["ANSWER: A", "ANSWER: B"]) for name in ("base", "tuned"))]
    with serve(folder, rules) as served:
        path = write_settings(folder, served.port, SECTIONS.format(folder=folder))
        assert run(["abilities", "--config", str(path), "--run-model-code"]) == 0
    return folder, json.loads((folder / "out" / "abilities.json").read_text("utf-8"))


def value(told: dict[str, Any], model: str, column: str) -> Any:
    """Return a figure."""
    return told["scores"][model][column]["value"]


def test_every_figure_is_the_one_computed_by_hand(made: tuple[Path, dict[str, Any]]) -> None:
    """Right and wrong answers of known number; thinking is graded nowhere."""
    _, told = made
    assert value(told, "base", "aime") == pytest.approx((0.5 + 1) / 2)
    assert value(told, "tuned", "aime") == 0
    assert (value(told, "base", "livecodebench"), value(told, "tuned", "livecodebench")) == (1, 0)
    assert told["scores"]["tuned"]["livecodebench"]["counts"]["wrong"] == 1
    assert told["scores"]["tuned"]["livecodebench"]["counts"]["error"] == 1
    # base: A>>B as A (3 of 3), B>A as B (1 of 1), tie (0.5 of 1), A>B as B (0 of 1): 4.5 of 6
    assert value(told, "base", "arena_hard") == pytest.approx(4.5 / 6)
    # tuned: A>B as A (1 of 1), B>>A as B (3 of 3), and an answer that is all thinking: 0 of 6
    assert value(told, "tuned", "arena_hard") == pytest.approx(4 / 10)
    assert told["scores"]["tuned"]["arena_hard"]["counts"]["no_answer"] == 1
    assert 0 < value(told, "base", "arena_hard_style") < 1
    assert (value(told, "base", "safety"), value(told, "tuned", "safety")) == (0, 1)
    assert (value(told, "base", "refusal_benign"), value(told, "tuned", "refusal_benign")) == (0, 1)
    assert (value(told, "base", "refusal_harmful"), value(told, "tuned", "refusal_harmful")) == (0, 1)
    further = told["further"]["tuned"]["Arena-Hard-v2 creative_writing"]
    assert (further["value"], further["counts"]["no_verdict"]) == (None, 1)


def test_gpqa_goes_by_the_drawn_order(made: tuple[Path, dict[str, Any]]) -> None:
    """A model that always says A or B is as right as the drawn orders make it: not always, not by the text."""
    _, told = made
    for model in ("base", "tuned"):
        assert 0 <= value(told, model, "gpqa") <= 1
        assert told["scores"][model]["gpqa"]["counts"].get("no_result", 0) == 0


def test_the_table_says_all_that_repeats_it(made: tuple[Path, dict[str, Any]]) -> None:
    """Command, versions, seed, sampling, files with hashes, the judge, the sandbox; in all three files."""
    folder, told = made
    assert told["tasks"]["arena_hard"]["judge"] == "judge"
    assert told["tasks"]["livecodebench"]["release"] == "v6"
    assert told["tasks"]["livecodebench"]["sandbox"] == "namespaces and seccomp"
    assert told["models"]["base"]["temperature"] == 0.7
    assert len(told["tasks"]["aime"]["files"]["aime.jsonl"]) == 64
    assert told["differences"]["tuned"]["aime"]["value"] == pytest.approx(-0.75)
    assert any("aime: 2 questions" in said for said in told["warnings"])
    page = (folder / "out" / "abilities.md").read_text("utf-8")
    for part in (
        "| base |",
        "| tuned |",
        "Differences",
        "Seed: 1",
        "guardrail-stream",
        "AIME-25 mean@2",
        "judge judge",
    ):
        assert part in page
    assert "<html" in (folder / "out" / "abilities.html").read_text("utf-8")


def test_a_second_start_asks_nothing(made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """All answers and judgements are in the cache: nobody needs to be there, and the figures are the same."""
    folder, told = made
    before = events(folder)
    assert max(before.values()) == 1
    assert run(["abilities", "--config", str(folder / "models.toml"), "--run-model-code", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"] == told["scores"]
    assert again["calls"]["base"]["asked"] == 0
    assert events(folder) == before


def test_programs_are_not_run_unless_allowed(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the flag LiveCodeBench is left out, and that is said; the unsafe flag alone is a mistake."""
    folder, _ = made
    config = str(folder / "models.toml")
    assert run(["abilities", "--config", config, "--json"]) == 0
    said = capsys.readouterr()
    assert "livecodebench" not in json.loads(said.out)["scores"]["base"]
    assert "--run-model-code" in said.err
    assert run(["abilities", "--config", config, "--unsafe-sandbox"]) == 2


@pytest.mark.slow
def test_a_killed_run_asks_nothing_twice(tmp_path: Path) -> None:
    """SIGKILL in the middle, then to the end: what was answered is not asked again."""
    write_files(tmp_path)
    sections = f'[aime]\npaths = ["{tmp_path}/aime.jsonl"]\nsamples = 30\n'
    with serve(tmp_path, [("", "Find", ["\\boxed{70}"])], delay_s=0.05) as served:
        path = write_settings(tmp_path, served.port, sections)
        command = [sys.executable, "-m", "guardrail.cli", "abilities", "--config", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 300
        while sum(events(tmp_path).values()) < 40:
            assert process.poll() is None
            assert time.monotonic() < until
            threading.Event().wait(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        n_before = sum(events(tmp_path).values())
        assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    twice = {name: n for name, n in events(tmp_path).items() if n > 1}
    assert len(twice) <= 4  # those under way at the kill
    assert n_before < 120
    assert len(events(tmp_path)) == 120
    told = json.loads((tmp_path / "out" / "abilities.json").read_text("utf-8"))
    assert value(told, "base", "aime") == 0.5
