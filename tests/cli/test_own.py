"""`guardrail train own` as users run it, from a CSV file to a guard that loads, on a tiny start."""

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from guardrail import Guard
from guardrail.cli.main import run
from guardrail.evaluation.rows import read_rows
from guardrail.policy_file import load_policy
from guardrail.training.corpus import family_of, is_held_out
from tests.tiny import write_tiny

PLACES = ("garden", "kitchen", "office", "harbour", "library", "station", "market", "museum", "castle", "village")
WORDS = {"Gambling": "casino roulette", "Weapons": "rifle grenade", "": "bread butter"}


def write_rows(path: Path, n: int = 40) -> Path:
    """Rows of three kinds, each told by two words that it alone has; the others are drawn."""
    rng = np.random.default_rng(3)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "category"])
        for category, words in WORDS.items():
            for number in range(n):
                drawn = " ".join(rng.choice(PLACES, 2, replace=False))
                text = f"{words} {drawn} {category[:3]}{number * 7919 % 997}"
                writer.writerow([text, "unsafe" if category else "Safe", category])
    return path


def arguments(rows: Path, output: Path, start: Path, *more: str) -> Sequence[str]:
    """A quick run: few steps of a tiny model, at a high rate."""
    quick = ["--epochs", "4", "--learning-rate", "3e-3", "--head-learning-rate", "2e-2", "--threads", "1"]
    return ["train", "own", str(rows), "--output", str(output), "--start", str(start), *quick, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run: its folder, its rows, its start."""
    root = tmp_path_factory.mktemp("own")
    rows, start = write_rows(root / "rows.csv"), write_tiny(root / "tiny")
    assert run([*arguments(rows, root / "mine", start)]) == 0
    return SimpleNamespace(output=root / "mine", rows=rows, start=start)


def test_the_folder_holds_a_guard_that_knows_the_policy(made: SimpleNamespace) -> None:
    """int8 model and policy load together; a held-out kind of text is flagged by its own category, another is not."""
    with Guard.load(made.output / "model", policy=made.output / "policy.toml") as guard:
        info = guard.engine.info
        assert info.precision == "int8"
        assert info.prompt_labels.categories[-2:] == ("Gambling", "Weapons")
        assert "Violent" in info.response_labels.categories
        assert guard.check_prompt("casino roulette garden office").category == "Gambling"
        assert guard.check_prompt("rifle grenade garden office").category == "Weapons"
        assert not guard.check_prompt("bread butter garden office").flagged


def test_what_is_told_was_measured_on_held_out_rows(made: SimpleNamespace) -> None:
    """Page and report say the same; the start, which knows nothing of the policy, stands beside it."""
    report = json.loads((made.output / "report.json").read_text("utf-8"))
    n_rows = {path.stem: len(path.read_text("utf-8").splitlines()) for path in (made.output / "rows").iterdir()}
    assert 0.9 * n_rows["training"] < n_rows.pop("mixed") < n_rows["training"]
    assert report["n_rows"] == n_rows
    assert sum(n_rows.values()) == 240
    prompts, answers = report["figures"]
    assert prompts["n_safe"] + prompts["n_harmful"] + answers["n_safe"] + answers["n_harmful"] == n_rows["held_out"]
    assert prompts["auc"]["value"] > 0.9 > report["before"][0]["auc"]["value"]
    assert report["agreement"] >= 0.9
    page = (made.output / "README.md").read_text("utf-8")
    assert f"| {prompts['auc']['value']:.2f} (" in page
    assert "called Gambling" in page
    assert "What it cannot do" in page


def test_the_policy_has_thresholds_and_a_rule_for_each_category(made: SimpleNamespace) -> None:
    """Ready to be edited; on top stands what the thresholds rest on."""
    policy = load_policy(made.output / "policy.toml")
    assert {*policy.prompt.categories} == {*policy.response.categories} == {"Gambling", "Weapons"}
    assert policy.prompt.non_safe_threshold is not None
    assert policy.prompt.non_safe_threshold >= 0.5
    assert (made.output / "policy.toml").read_text("utf-8").startswith("# Made by `guardrail train own`")


def test_the_printed_lines_work_and_a_finished_run_is_told_again(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """--resume trains nothing anew; the last line it prints is a command that runs."""
    trained = (made.output / "training" / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    assert run([*arguments(made.rows, made.output, made.start, "--resume")]) == 0
    assert (made.output / "training" / "checkpoint" / "model.safetensors").stat().st_mtime_ns == trained
    *_, python, serve, check = capsys.readouterr().out.strip().splitlines()
    assert python == f'guard = Guard.load("{made.output}/model", policy="{made.output}/policy.toml")'
    assert serve.startswith("guardrail serve --model")
    command = shlex.split(check.replace("a prompt", "casino roulette garden"))
    assert run([*command[1:], "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["category"] == "Gambling"


def test_a_killed_run_goes_on_and_comes_to_the_same(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between training and export; without --resume the folder is refused."""
    with monkeypatch.context() as broken:
        broken.setattr("guardrail.training.own.stage.export_checkpoint", _interrupt)
        assert run([*arguments(made.rows, tmp_path / "mine", made.start)]) == 130
    assert run([*arguments(made.rows, tmp_path / "mine", made.start)]) == 2
    assert run([*arguments(made.rows, tmp_path / "mine", made.start, "--resume")]) == 0
    for name in ("model/model.onnx.data", "policy.toml"):
        assert (tmp_path / "mine" / name).read_bytes() == (made.output / name).read_bytes()


def test_the_training_can_be_run_by_itself(
    made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--prepare writes what it reads and prints its command; --resume goes on to the same model."""
    assert run([*arguments(made.rows, tmp_path / "mine", made.start, "--prepare")]) == 0
    command = shlex.split(capsys.readouterr().out)
    assert command[:4] == ["accelerate", "launch", "-m", "guardrail.cli"]
    assert not (tmp_path / "mine" / "training").exists()
    assert run(command[4:]) == 0
    assert run([*arguments(made.rows, tmp_path / "mine", made.start, "--resume")]) == 0
    assert (tmp_path / "mine" / "policy.toml").read_bytes() == (made.output / "policy.toml").read_bytes()


def test_halves_of_rows_that_the_training_holds_out_are_not_trained_on(made: SimpleNamespace) -> None:
    """Its curves would be those of rows that it half knows."""
    rows = {row.id: row for row in read_rows(made.output / "rows" / "training.jsonl")}
    held_out = {id_ for id_, row in rows.items() if is_held_out(family_of(row.messages))}
    mixed = list(read_rows(made.output / "rows" / "mixed.jsonl"))
    assert held_out
    assert {row.id.removesuffix(" mixed") for row in mixed} == rows.keys() - held_out
    assert not held_out & {row.meta["mixed_with"] for row in mixed}


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_bad_rows_start_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All problems are told by line with what to do, counts are shown, and no folder is made."""
    rows = write_rows(tmp_path / "rows.csv")
    with rows.open("a", encoding="utf-8") as file:
        file.write("private words,dangerous,Gambling\nmore words,,\n")
    assert run(["train", "own", str(rows), "--output", str(tmp_path / "mine")]) == 2
    told = capsys.readouterr().err
    assert "line 122: its label is none of the three; write safe, controversial, unsafe" in told
    assert "line 123: has no label" in told
    assert "2 problems" in told
    assert "--skip-bad" in told
    assert "private words" not in told
    assert not (tmp_path / "mine").exists()
    assert run(["train", "own", str(rows), "--dry-run", "--skip-bad"]) == 0
    assert not (tmp_path / "mine").exists()


def test_one_class_is_refused_even_with_skip_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of it would flag everything."""
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{place} {i},unsafe\n" for i, place in enumerate(PLACES * 3)), "utf-8")
    assert run(["train", "own", str(rows), "--output", str(tmp_path / "mine"), "--skip-bad"]) == 2
    assert "no row is safe; add harmless rows" in capsys.readouterr().err


def test_a_model_needs_a_place(tmp_path: Path) -> None:
    """Without --output there is only --dry-run."""
    assert run(["train", "own", str(write_rows(tmp_path / "rows.csv"))]) == 2
    assert run(["train", "own", str(tmp_path / "rows.csv"), "--dry-run"]) == 0
    assert run(["train", "own", str(tmp_path / "rows.csv"), "--dry-run", "--epochs", "0"]) == 2
