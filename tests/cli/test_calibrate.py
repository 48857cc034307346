"""`guardrail calibrate` as users run it: from records to a policy that does what it says."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardrail.cli.main import run
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy_file import load_policy
from guardrail.policy_text import render_policy
from guardrail.records import open_sink
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.testing import FakeEngine

N = 300


@pytest.fixture(scope="module")
def guard(tokenizer: GuardTokenizer) -> Guard:
    """A guard that doubts every text, each to its own degree."""

    def judge(ids: list[int], _before: object) -> tuple[RiskLevel, str, float]:
        draw = np.random.default_rng(ids[-8:]).beta(1, 6)
        return RiskLevel.SAFE, RESPONSE_LABELS.categories[0], float(np.clip(1 - draw, 0.02, 0.999))

    return Guard(FakeEngine(judge, vocab_size=tokenizer.vocab_size), tokenizer, policy="shadow")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shadow records of conversations of a prompt and an answer."""
    path = tmp_path_factory.mktemp("store") / "records.jsonl"
    with open_sink(path) as sink:
        recording = guard.with_policy("shadow", sinks=[sink])
        for number in range(N):
            recording.check_prompt(f"question {number}", conversation_id=f"c{number}")
            recording.check_response("hi", f"answer {number}", conversation_id=f"c{number}")
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    assert run(["calibrate", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_policy_that_is_written_flags_what_was_told(
    guard: Guard, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A guard under it flags as many of the same texts as the command counted; what it rests on stands on top."""
    policy, curve = tmp_path / "policy.toml", tmp_path / "curve.csv"
    arguments = ("--target-fpr", "0.1", "--to", str(policy), "--curve", str(curve), "--holdout", "0")
    found = told(capsys, str(store), *arguments)
    assert {one["side"] for one in found["chosen"]} == {"prompt", "response"}
    changed = guard.with_policy(str(policy))
    flagged = {
        "prompt": sum(changed.check_prompt(f"question {n}").would_action != "allow" for n in range(N)),
        "response": sum(changed.check_response("hi", f"answer {n}").would_action != "allow" for n in range(N)),
    }
    for one in found["chosen"]:
        assert one["n"] == N
        assert 0 < flagged[one["side"]] == one["n_flagged"] < 0.1 * N
        assert one["upper"] <= 0.1
    text = policy.read_text()
    assert text.startswith(
        "# Made by `guardrail calibrate --target-fpr 0.1` from 'balanced'.\n# No labels: all traffic"
    )
    assert load_policy(str(policy)).response.debounce == 2
    with curve.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["side"] for row in rows} == {"prompt", "response"}
    assert all(
        0 <= float(row["fpr_low"]) <= float(row["false_positive_rate"]) <= float(row["fpr_high"]) for row in rows
    )


def test_rates_are_told_by_what_was_held_out_and_by_labels(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Harmless and harmful rows apart; the curve as JSON too."""
    labels, curve = tmp_path / "labels.csv", tmp_path / "curve.json"
    labels.write_text(
        "conversation_id,label\n" + "".join(f"c{n},{'unsafe' if n % 3 == 0 else 'safe'}\n" for n in range(N))
    )
    found = told(capsys, str(store), "--target-fpr", "0.1", "--labels", str(labels), "--curve", str(curve))
    for one in found["chosen"]:
        assert one["told_on_held_out"]
        assert one["n"] + one["n_told"] == N * 2 // 3
        assert one["n_harmful"] > 20
        assert one["point"]["found_rate"] is not None
    assert not any("No labels" in fact for fact in found["facts"])
    assert {point["side"] for point in json.loads(curve.read_text())} == {"prompt", "response"}
    assert run(["calibrate", str(store), "--target-fpr", "0.1", "--labels", str(labels)]) == 0
    out = capsys.readouterr().out
    assert "█ harmful ▓ harmless" in out
    assert "By rows held out" in out


def test_without_labels_the_reader_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All traffic is taken as harmless."""
    assert run(["calibrate", str(store), "--target-fpr", "0.1"]) == 0
    assert "No labels: all traffic is taken as harmless" in capsys.readouterr().out


def test_rows_that_rules_had_a_say_in_are_told(
    guard: Guard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers with a normalised twin; of prompts only those that were really stopped before it was read."""
    policy, path = tmp_path / "mine.toml", tmp_path / "records.jsonl"
    mine = replace(load_policy("shadow"), name="mine", normalise=NormaliseRules(True, True))
    policy.write_text(render_policy(mine))
    with open_sink(path) as sink:
        recording = guard.with_policy(mine, sinks=[sink])
        for number in range(20):
            recording.check_prompt(f"question {number}", conversation_id=f"c{number}")
            recording.check_response("hi", f"answer {number}", conversation_id=f"c{number}")
    arguments = (str(path), "--target-fpr", "0.5", "--holdout", "0")
    assert any(
        "40 rows were made under policies that are not at hand" in one for one in told(capsys, *arguments)["facts"]
    )
    facts = told(capsys, *arguments, "--made-by", str(policy))["facts"]
    assert any("20 rows were also read with their disguises undone" in one for one in facts)
    assert not any("not at hand" in one for one in facts)


def test_too_few_rows_are_refused(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No policy is written that could not be shown to keep to its target; the plain share can be asked for."""
    policy = tmp_path / "policy.toml"
    arguments = ["calibrate", str(store), "--target-fpr", "0.001", "--to", str(policy)]
    assert run(arguments) == 2
    assert "takes 2995 independent ones" in capsys.readouterr().err
    assert not policy.exists()
    assert run([*arguments, "--point"]) == 0
    assert "without a margin for chance" in policy.read_text()


def test_rows_with_scores_do_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as those of a scan."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": n, "score": n / 500, "label": "safe"}) + "\n" for n in range(500)))
    (chosen,) = told(capsys, str(path), "--target-fpr", "0.05", "--holdout", "0")["chosen"]
    assert (chosen["side"], chosen["n"]) == ("prompt", 500)
    assert 0.95 < chosen["threshold"] < 0.98


@pytest.mark.parametrize(
    "arguments",
    [["--target-fpr", "2"], ["--target-fpr", "0.1", "--policy", "none"], ["--target-fpr", "0.1", "--holdout", "1"]],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_a_line(store: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2."""
    assert run(["calibrate", str(store), *arguments]) == 2
    assert capsys.readouterr().err.startswith("guardrail: ")
