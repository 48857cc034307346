"""The commands as users run them, with the embedded model: processes, pipes and exit codes.

No fixture of conftest.py is used, since these tests also run against the installed wheel.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

GUARDRAIL = [sys.executable, "-P", "-m", "guardrail.cli"]
HARMLESS = "Mix flour, water, salt and yeast, and bake it.\n第二行。\n"


def run(*arguments: str, text: bytes = b"", folder: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end."""
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [*GUARDRAIL, *arguments], input=text, capture_output=True, timeout=120, check=False, cwd=folder, env=environment
    )


@pytest.fixture
def stop_all(tmp_path: Path) -> str:
    """A policy that stops whatever has any probability of harm: what the small model thinks does not matter."""
    path = tmp_path / "stop.toml"
    rules = 'controversial = "stop"\nunsafe = "stop"\nnon_safe_threshold = 0.0\n'
    path.write_text(f'name = "stop all"\n[prompt]\n{rules}[response]\n{rules}')
    return str(path)


@pytest.fixture
def allow_all(tmp_path: Path) -> str:
    """A policy that stops nothing."""
    path = tmp_path / "allow.toml"
    rules = 'controversial = "allow"\nunsafe = "allow"\n'
    path.write_text(f'name = "allow all"\n[prompt]\n{rules}[response]\n{rules}')
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [[], ["check"], ["stream"], ["demo"], ["doctor"], ["export"], ["verify"], ["evaluate"], ["bench"], ["mcp"],
     ["leaktest"], ["scan"], ["report"], ["replay"], ["calibrate"], ["train"], ["train", "sft"], ["train", "pretrain"],
     ["train", "tokenizer"], ["records"], ["records", "count"], ["records", "export"], ["records", "prune"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_explains_itself(arguments: list[str]) -> None:
    """`--help` exits with 0 and describes every option."""
    done = run(*arguments, "--help")
    assert done.returncode == 0
    assert b"Usage:" in done.stdout
    assert not done.stderr


def test_check_tells_the_decision_and_exits_by_it(stop_all: str, allow_all: str) -> None:
    """0 for allowed, 3 for stopped."""
    allowed, stopped = run("check", "hello", "--policy", allow_all), run("check", "hello", "--policy", stop_all)
    assert (allowed.returncode, allowed.stdout[:6]) == (0, b"allow:")
    assert (stopped.returncode, stopped.stdout[:5]) == (3, b"stop:")


def test_check_reads_an_argument_a_file_or_stdin_alike(tmp_path: Path) -> None:
    """The same text, the same record but for ids and times."""
    file = tmp_path / "text.txt"
    file.write_text("what is this?")
    outputs = [
        run("check", "--json", "what is this?"),
        run("check", "--json", "--file", str(file)),
        run("check", "--json", text=b"what is this?"),
    ]
    records = [json.loads(done.stdout) for done in outputs]
    for record in records:
        for name in ("id", "stream_id", "time", "latency_ms"):
            del record[name]
    assert records[0] == records[1] == records[2]
    assert records[0]["direction"] == "prompt"


def test_check_judges_answers_too() -> None:
    """`--prompt` makes it an answer; `--explain` shows probabilities."""
    done = run("check", "--prompt", "Who are you?", "I am a baker.", "--explain")
    assert b"I am a baker." in done.stdout
    assert b"risk: " in done.stdout
    assert json.loads(run("check", "--response", "--json", "I am").stdout)["direction"] == "response"


@pytest.mark.parametrize(
    "text", [b"", b"\x00\x00", b"\xff\xfe broken", b" " * 5000, b"<|im_end|><think>" * 50, b"x" * 20_000],
    ids=["empty", "NUL", "no UTF-8", "spaces", "control strings", "one long word"],
)  # fmt: skip
def test_odd_input_is_judged_and_passed_on_whole(text: bytes, allow_all: str) -> None:
    """A decision, no traceback; the stream gives back every character."""
    checked = run("check", "--policy", allow_all, text=text)
    assert (checked.returncode, checked.stderr) == (0, b"")
    streamed = run("stream", "--policy", allow_all, text=text)
    assert streamed.returncode == 0
    assert streamed.stdout == text.decode("utf-8", "replace").encode()


def test_stream_passes_an_answer_through_a_pipe(allow_all: str) -> None:
    """Byte for byte when nothing is stopped."""
    done = run("stream", "--policy", allow_all, text=HARMLESS.encode())
    assert (done.returncode, done.stdout) == (0, HARMLESS.encode())


def test_a_stopped_stream_is_a_prefix_and_says_why_on_stderr(stop_all: str) -> None:
    """Exit code 3; nothing of the risky run on stdout."""
    done = run("stream", "--policy", stop_all, text=HARMLESS.encode())
    assert done.returncode == 3
    assert HARMLESS.encode().startswith(done.stdout)
    assert len(done.stdout) < len(HARMLESS.encode())
    assert done.stderr.startswith(b"guardrail: stop:")


def test_stream_releases_text_as_it_comes(allow_all: str) -> None:
    """The first sentence is out long before the input ends."""
    process = subprocess.Popen(
        [*GUARDRAIL, "stream", "--policy", allow_all], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"This is the first sentence. And ")
    assert process.stdout.read(4) == b"This"
    process.stdin.write(b"this the second.")
    process.stdin.close()
    rest = process.stdout.read()
    assert process.wait(60) == 0
    assert rest.endswith(b"second.")
    process.stdout.close()


def test_a_reader_that_goes_away_ends_the_stream_quietly(allow_all: str) -> None:
    """As with `| head -c 1`: exit code 141, no traceback."""
    process = subprocess.Popen(
        [*GUARDRAIL, "stream", "--policy", allow_all],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"some words to begin with, and ")
    process.stdin.flush()
    process.stdout.read(1)
    process.stdout.close()
    deadline = time.monotonic() + 60
    with contextlib.suppress(BrokenPipeError):
        while time.monotonic() < deadline and process.poll() is None:
            process.stdin.write(b"more words to go on with " * 20)
            process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    with process.stderr:
        assert b"Traceback" not in process.stderr.read()
    assert process.wait(60) == 141


def test_records_are_appended_without_text(tmp_path: Path, stop_all: str) -> None:
    """One line a decision, over several commands."""
    path = tmp_path / "records.jsonl"
    run("check", "my secret", "--records", str(path))
    run("stream", "--policy", stop_all, "--records", str(path), text=b"my secret answer")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["direction"] for r in records] == ["prompt", "response"]
    assert "secret" not in path.read_text()


def test_stream_can_end_in_a_record(stop_all: str) -> None:
    """`--json` writes the record instead of the text."""
    record = json.loads(run("stream", "--json", "--policy", stop_all, text=b"some words here").stdout)
    assert record["action"] == "stop"
    assert record["released_chars"] + record["withheld_chars"] <= len("some words here")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chekc"], b"chekc"),
        (["check", "a", "--no-such"], b"--no-such"),
        (["check", "a", "--file", "b"], b"one of them"),
        (["check", "--file", "no/such/file"], b"no/such/file: No such file"),
        (["check", "a", "--policy", "gentle"], b"strict, balanced, loose, shadow"),
        (["check", "a", "--model", "./nowhere"], b"neither a folder nor a hub id"),
        (["check", "a", "--threads", "0"], b"at least 1"),
        (["export", "./nowhere", "out"], b"neither a folder nor a hub id"),
        (["evaluate"], b"--protocol"),
        (["evaluate", "none.jsonl"], b"none.jsonl"),
        (["demo", "--pace", "-1"], b"negative"),
        (["demo", "--base-url", "http://127.0.0.1:9/v1"], b"check --base-url"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_says_what_to_do(arguments: list[str], says: bytes, tmp_path: Path) -> None:
    """Exit code 2, no traceback."""
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_demo_runs_its_chain_and_ends_in_the_records(tmp_path: Path) -> None:
    """Nine prompts: a decision for each, one more for each answer; the same in the file."""
    path = tmp_path / "records.jsonl"
    done = run("demo", "--pace", "0", "--records", str(path))
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    prompts = [r for r in records if r["direction"] == "prompt"]
    assert len(prompts) == 9
    assert len(records) == 9 + sum(r["action"] != "stop" for r in prompts)
    assert "Recorded decisions" in text
    assert text.count("> ") >= 9


def test_evaluate_prints_figures_and_json(tmp_path: Path) -> None:
    """A file of two rows, gzipped or not; the JSON holds the same numbers."""
    rows = [
        {"id": str(i), "source": "made", "lang": "en", "messages": [{"role": "user", "content": text}],
         "target": "prompt", "risk": risk, "category": []}
        for i, (text, risk) in enumerate([("hello there", "safe"), ("kill them all", "unsafe")])
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    shown = run("evaluate", str(path), "--page", str(tmp_path / "page.md"))
    assert shown.returncode == 0, shown.stderr
    assert b"Prompts, all rows" in shown.stdout
    assert "| guard | 1 | 1 |" in (tmp_path / "page.md").read_text()
    found = json.loads(run("evaluate", str(path), "--json").stdout)
    overall = found["guard"]["prompt"]["overall"]
    assert (overall["n_safe"], overall["n_unsafe"]) == (1, 1)
    assert found["guard"]["identity"]["model_sha256"]
