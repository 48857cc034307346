"""No command that reads records writes over them, and what tells of conversations is its owner's alone."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from guardrail.actions import Action
from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.records import Record, open_sink
from guardrail.testing import HashEngine

COMMANDS = {
    "replay": ["replay", "STORE", "--policy", "strict", "--changed", "TARGET"],
    "report": ["report", "STORE", "--html", "TARGET"],
    "calibrate": ["calibrate", "STORE", "--target-fpr", "0.5", "--holdout", "0", "--to", "TARGET"],
    "curve": ["calibrate", "STORE", "--target-fpr", "0.5", "--holdout", "0", "--curve", "TARGET"],
    "export": ["records", "export", "STORE", "--to", "TARGET"],
}


@pytest.fixture(scope="module")
def made(tokenizer: GuardTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve decisions in a file of lines, some of them in a rotated one, and in SQLite."""
    tmp_path, engine = tmp_path_factory.mktemp("made"), HashEngine(vocab_size=tokenizer.vocab_size)
    for name in ("a.jsonl", "q.db"):
        with open_sink(tmp_path / name) as sink:
            guard = Guard(engine, tokenizer, policy="shadow", sinks=[sink])
            for number in range(12):
                guard.check_prompt(f"words of {number}", conversation_id=f"c{number}")
    lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "a.jsonl.1").write_text("".join(lines[:5]), "utf-8")
    (tmp_path / "a.jsonl").write_text("".join(lines[5:]), "utf-8")
    return tmp_path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of them, with links to both files of lines."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "a.jsonl.1")
    return tmp_path


def arguments(command: str, store: str | Path, target: str | Path) -> list[str]:
    """A command with its files."""
    return [{"STORE": str(store), "TARGET": str(target)}.get(one, one) for one in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("store", "target"),
    [
        ("a.jsonl", "a.jsonl"), ("a.jsonl", "./a.jsonl"), ("a.jsonl", "a.jsonl.1"), ("a.jsonl", "a.jsonl.7"),
        ("a.jsonl", "link.jsonl"), ("link.jsonl", "a.jsonl"), ("a.jsonl", "hard.jsonl"),
        ("q.db", "q.db"), ("q.db", "q.db-wal"), ("q.db", "q.db-shm"), ("sqlite:///q.db", "q.db"),
    ],
)  # fmt: skip
def test_what_is_read_is_not_written_over(
    folder: Path, command: str, store: str, target: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By any of its names; also what would count as a part of the store from then on."""
    monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db-shm"}
    assert run(arguments(command, store, target)) == Exit.USAGE
    assert "is what is read, and would be lost" in capsys.readouterr().err
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db-shm"}
    assert {name: found[name] for name in before} == before
    assert found.keys() - before.keys() <= {"q.db-wal"}


def test_labels_and_policies_stay_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a command reads beside the store; a policy and its curve in one file make no sense either."""
    labels, policy = folder / "labels.csv", folder / "mine.toml"
    labels.write_text("conversation_id,label\nc1,safe\n")
    policy.write_text('name = "mine"\n')
    both = [*arguments("calibrate", folder / "a.jsonl", folder / "new.toml"), "--curve", str(folder / "new.toml")]
    for command in (
        [*arguments("curve", folder / "a.jsonl", labels), "--labels", str(labels)],
        ["replay", str(folder / "a.jsonl"), "--policy", str(policy), "--changed", str(policy)],
        both,
    ):
        assert run(command) == Exit.USAGE
        assert "would be lost" in capsys.readouterr().err
    assert labels.read_text().endswith("c1,safe\n")
    assert policy.read_text() == 'name = "mine"\n'
    assert not (folder / "new.toml").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_stays_where_the_store_cannot_be_read(folder: Path, command: str) -> None:
    """What stood there before is not given up for nothing, and no unfinished file is left."""
    target = folder / "old.jsonl"
    target.write_text("old")
    n_files = len(list(folder.iterdir()))
    assert run(arguments(command, folder / "none.jsonl", target)) == Exit.USAGE
    assert target.read_text() == "old"
    assert len(list(folder.iterdir())) == n_files


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
@pytest.mark.parametrize(("command", "is_private"), [("replay", True), ("report", True), ("export", True),
                                                     ("calibrate", False), ("curve", False)])  # fmt: skip
def test_what_tells_of_conversations_is_its_owners_alone(folder: Path, command: str, is_private: bool) -> None:
    """Conversation ids and tenants stand in them; a policy and a curve hold neither."""
    target, before = folder / "made.jsonl", os.umask(0o022)
    try:
        assert run(arguments(command, folder / "a.jsonl", target)) == Exit.OK
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == (0 if is_private else 0o044)


HOSTILE = "\x1b]0;pwned\x07\u202e"


@pytest.mark.parametrize(
    "command",
    [
        ["replay", "STORE", "--policy", "strict"],
        ["report", "STORE"],
        ["records", "count", "STORE"],
        ["calibrate", "STORE", "--target-fpr", "0.5", "--holdout", "0"],
    ],
    ids=lambda command: command[0],
)
def test_what_records_say_moves_no_terminal(
    folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, hashes and messages are shown with their control characters as codes."""
    store = folder / f"b{HOSTILE}.jsonl"
    record = Record.model_validate_json((folder / "a.jsonl").read_text("utf-8").splitlines()[0])
    hostile = {"category": HOSTILE, "policy": HOSTILE, "policy_sha256": HOSTILE, "action": Action.FLAG}
    lines = [
        record.model_copy(update={**hostile, "id": str(n), "conversation_id": f"c{n}"}).to_json() for n in range(12)
    ]
    store.write_text("".join(f"{line}\n" for line in [*lines, '{"torn": ']), "utf-8")
    run([str(store) if one == "STORE" else one for one in command])
    told = capsys.readouterr()
    assert "pwned" in told.out + told.err
    assert not {"\x1b", "\x07", "\u202e"} & set(told.out + told.err)
