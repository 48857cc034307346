"""`guardrail replay` as users run it."""

import json
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.main import run
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.policy_text import render_policy
from guardrail.records import Privacy, TextForm, open_sink, read_records
from guardrail.testing import HashEngine

WORDS = "flour, water, salt and yeast; knead them and wait for an hour, then bake all of it"


@pytest.fixture(scope="module", params=["records.jsonl", "records.db"])
def store(request: pytest.FixtureRequest, tokenizer: GuardTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 60 decisions made in shadow mode, texts included, and of 20 by `balanced`, which stops."""
    path = tmp_path_factory.mktemp("store") / str(request.param)
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.15)
    with open_sink(path, privacy=Privacy(text=TextForm.FULL)) as sink:
        for name, n in (("shadow", 30), ("balanced", 10)):
            guard = Guard(engine, tokenizer, policy=name, sinks=[sink])
            for number in range(n):
                guard.check_prompt(f"SECRET {number} {WORDS}", conversation_id=f"{name}-{number}")
                guard.check_response("hi", f"SECRET {number} {WORDS}", conversation_id=f"{name}-{number}", tenant=name)
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    assert run(["replay", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_changes_are_counted_by_direction(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that was recorded; what is known of it; how fast it went."""
    found = told(capsys, str(store), "--policy", "strict")
    assert found["records"] == found["replayed"] == 80
    assert found["directions"]["response"]["changes"]["newly stopped"] > 10
    assert found["limits"] == {"judge_system": 40}
    assert found["token_verdicts_per_second"] > 0
    assert {one["policy"]: one["is_known"] for one in found["recorded_under"]} == {"shadow": True, "balanced": True}


def test_a_looser_policy_does_not_know_how_a_stopped_answer_went_on(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that `balanced` stopped are counted as unknown, in words too."""
    found = told(capsys, str(store), "--policy", "loose", "--tenant", "balanced")
    group = found["directions"]["response"]
    assert group["records"] == 10
    assert group["before"]["stop"] > group["after"]["stop"]
    assert group["unknown_from_some_character_on"] == group["changes"]["no longer stopped"] > 0
    assert run(["replay", str(store), "--policy", "loose"]) == 0
    assert "what it would do behind that place is unknown" in " ".join(capsys.readouterr().out.split())


def test_changed_decisions_are_listed_without_text(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of JSON each; tables go to stderr when the lines go to stdout."""
    path = tmp_path / "changed.jsonl"
    found = told(capsys, str(store), "--policy", "strict", "--changed", str(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    n_changed = found["records"] - found["directions"]["all"]["changes"]["same"]
    assert len(lines) == n_changed > 0
    assert all(line["change"] != "same" and line["before"] != line["after"] for line in lines)
    assert run(["replay", str(store), "--policy", "strict", "--changed", "-"]) == 0
    out, err = capsys.readouterr()
    assert out == path.read_text()
    assert "newly stopped" in err
    assert "SECRET" not in out + err


def test_two_policies_are_compared_with_each_other(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was decided when the records were made; a policy file that says the same changes nothing."""
    path = tmp_path / "same.toml"
    path.write_text(render_policy(Policy()))
    found = told(capsys, str(store), "--policy", str(path), "--against", "balanced", "--direction", "prompt")
    assert found["directions"]["all"]["changes"]["same"] == found["records"] == 40
    found = told(capsys, str(store), "--policy", "strict", "--against", "balanced", "--direction", "response")
    assert (
        found["directions"]["all"]["changes"]["newly stopped"]
        + found["directions"]["all"]["changes"]["stopped earlier"]
    )
    assert set(found["directions"]) == {"all", "response"}


def test_time_spans_leave_records_out(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a time before the first record none is left."""
    assert told(capsys, str(store), "--policy", "strict", "--until", "2001-01-01")["records"] == 0


def test_lines_that_hold_no_record_are_told(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted, the rest is replayed, and the exit code says so."""
    path = tmp_path / "torn.jsonl"
    path.write_text('{"torn\n' + "".join(record.to_json() + "\n" for record in read_records(store)))
    assert run(["replay", str(path), "--policy", "strict"]) == 1
    assert "1 lines hold no record; the first: torn.jsonl, line 1" in capsys.readouterr().out


def test_records_of_a_policy_that_is_not_at_hand_are_told(
    tokenizer: GuardTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless its file is named."""
    path, policy = tmp_path / "mine.jsonl", tmp_path / "mine.toml"
    policy.write_text(render_policy(Policy(name="mine", judge_system=True)))
    engine = HashEngine(vocab_size=tokenizer.vocab_size)
    with open_sink(path) as sink:
        Guard(engine, tokenizer, policy=str(policy), sinks=[sink]).check_prompt("hello")
    assert not told(capsys, str(path), "--policy", "balanced")["limits"]
    assert run(["replay", str(path), "--policy", "balanced"]) == 0
    assert "made under 'mine'" in capsys.readouterr().out
    found = told(capsys, str(path), "--policy", "balanced", "--made-by", str(policy))
    assert found["limits"] == {"judge_system": 1}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--policy", "none"],
        ["--policy", "strict", "--json", "--changed", "-"],
        ["--policy", "strict", "--changed", "--json"],
        ["--policy", "strict", "--since", "now"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_a_line(store: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2."""
    assert run(["replay", str(store), *arguments]) == 2
    assert capsys.readouterr().err.startswith("guardrail: ")
