"""`guardrail scan` as users run it, with the embedded model: a real kill, tables, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from tests.scanning.files import read_jsonl, write_jsonl

GUARDRAIL = [sys.executable, "-P", "-m", "guardrail.cli", "scan"]
ROWS = [
    {"id": f"r{i}", "prompt": f"How do I bake bread number {i}?", "response": f"Knead it {i} times. " * (i % 7)}
    for i in range(240)
]


@pytest.mark.slow
def test_a_killed_scan_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL while it judges: the next start judges only what is left, with the real model's numbers."""
    path = write_jsonl(tmp_path / "x.jsonl.gz", ROWS)
    options = [str(path), "--part-rows", "20", "--threads", "1", "--json"]
    process = subprocess.Popen([*GUARDRAIL, *options, "--out", str(tmp_path / "out")], stdout=subprocess.DEVNULL)
    parts = tmp_path / "out" / "x.jsonl.gz.parts"
    while len(list(parts.glob("0*.jsonl"))) < 3:
        assert process.poll() is None, "the scan ended before it could be killed"
        time.sleep(0.005)  # another process's files tell by themselves when they are there
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    n_done = 20 * len(list(parts.glob("0*.jsonl")))
    again = subprocess.run([*GUARDRAIL, *options, "--out", str(tmp_path / "out")], capture_output=True, check=True)
    whole = subprocess.run([*GUARDRAIL, *options, "--out", str(tmp_path / "whole")], capture_output=True, check=True)
    assert json.loads(again.stdout)["rows_judged_now"] == len(ROWS) - n_done < len(ROWS)
    assert json.loads(whole.stdout)["rows_judged_now"] == len(ROWS)
    for name in ("x.jsonl.gz", "x.jsonl.gz.scan.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x.jsonl.gz", "x.jsonl.gz.scan.json"]


def told(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and what it says in JSON."""
    code = run(["scan", *map(str, arguments), "--json", "--threads", "1"])
    return code, json.loads(capsys.readouterr().out)


def test_rows_that_could_not_be_read_show_in_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 with them, 0 without, whatever was found."""
    good = write_jsonl(tmp_path / "good.jsonl", ROWS[:3])
    bad = write_jsonl(tmp_path / "bad.jsonl", [*ROWS[:3], b"nonsense"])
    code, report = told(capsys, good, "--out", tmp_path / "out")
    assert code == Exit.OK
    assert report["total"]["rows"] == 3
    assert report["tokens_per_second"] > 0
    code, report = told(capsys, good, bad, "--out", tmp_path / "out")
    assert code == Exit.FAILED
    assert report["total"]["actions"]["unreadable"] == 1
    assert report["rows_judged_now"] == 4


def test_the_table_tells_rows_actions_categories_and_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout; nothing on stderr where there is no terminal."""
    policy = tmp_path / "stop.toml"
    rules = 'controversial = "stop"\nunsafe = "stop"\nnon_safe_threshold = 0.0\n'
    policy.write_text(f'name = "stop all"\n[prompt]\n{rules}[response]\n{rules}')
    path = write_jsonl(tmp_path / "x.jsonl", ROWS[:5])
    assert run(["scan", str(path), "--out", str(tmp_path / "out"), "--target", "prompt", "--policy", str(policy)]) == 0
    shown = capsys.readouterr()
    assert not shown.err
    assert [line.split()[1:] for line in shown.out.splitlines() if line.strip().startswith("all")] == [["5", "5"]]
    assert "category" in shown.out
    assert "5 rows judged in" in shown.out
    assert {row["policy"] for row in read_jsonl(tmp_path / "out" / "x.jsonl")} == {"stop all"}


def test_a_dry_run_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows, parts and columns; nothing is written."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    code, plan = told(capsys, path, "--out", tmp_path / "out", "--dry-run", "--part-rows", 100, "--limit", 201)
    assert code == Exit.OK
    (file,) = plan["files"]
    assert (file["rows"], file["parts"]) == (201, 3)
    assert (file["prompt"], file["response"], file["messages"], file["id"]) == ("prompt", "response", None, "id")
    assert not (tmp_path / "out").exists()
    assert run(["scan", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == Exit.OK
    assert "240" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no file to judge"),
        (["nowhere.jsonl"], "no such file"),
        (["x.jsonl", "--limit", "0"], "at least 1"),
        (["x.jsonl", "--at-once", "0"], "at least 1"),
        (["x.jsonl", "--prompt", "nope"], "x.jsonl: no column nope"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """In one line, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "x.jsonl", ROWS[:1])
    assert run(["scan", *arguments, "--out", "out", "--model", "no/such/model"]) == Exit.USAGE
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
