"""LiveCodeBench: the published schema, hidden tests without running them, and programs in answers."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from guardrail.abilities.fields import read
from guardrail.abilities.livecode import RELEASES, Case, in_window, program_in, task_of
from guardrail.abilities.livecode_grading import passes
from guardrail.abilities.pickled import text_in
from guardrail.abilities.settings import LiveCodeSettings
from guardrail.errors import ConfigurationError
from tests.abilities.made import packed, problem, write_lines


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", ["[]", "é" * 300, "x" * 70_000])
def test_hidden_tests_are_unpacked_without_unpickling(protocol: int, text: str) -> None:
    """All protocols' strings, short and long."""
    data = base64.b64encode(zlib.compress(pickle.dumps(text, protocol=protocol))).decode()
    assert text_in(data) == text


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path, ("/tmp",)


@pytest.mark.parametrize(
    "data",
    [pickle.dumps(Evil()), pickle.dumps(["a", "b"]), pickle.dumps(3), b"\x80\x04", b".", pickle.dumps("a") + b"x"],
)
def test_any_other_pickle_is_refused(data: bytes) -> None:
    """Whatever is not exactly one string could be code."""
    with pytest.raises(ValueError, match="packed tests"):
        text_in(base64.b64encode(zlib.compress(data)).decode())


def test_damaged_packages_are_refused() -> None:
    """No base64, no zlib, cut off."""
    whole = zlib.compress(pickle.dumps("text" * 100))
    for data in (b"!!", base64.b64encode(b"abc"), base64.b64encode(whole[:-3])):
        with pytest.raises(ValueError, match="packed tests"):
            text_in(data.decode())


@pytest.mark.parametrize("hidden", [True, False])
def test_problems_of_both_kinds_are_read(hidden: bool) -> None:
    """Programs that read stdin, and methods; hidden tests behind the public ones."""
    one, other = (task_of(problem("x", function=name, hidden=hidden), 0) for name in ("", "addUp"))
    assert (one.function, other.function) == ("", "addUp")
    assert one.tests == (Case("1\n2", "3\n"), Case("10\n-4", "6\n"))
    assert "stdin" in one.prompt(0)
    assert "def addUp" in other.prompt(0)
    assert one.day == "2025-03-01"


def test_a_problem_without_its_method_is_refused() -> None:
    """Functional tests need a name to call."""
    values = problem("x", function="addUp") | {"metadata": "{}"}
    with pytest.raises(ValueError, match="func_name"):
        task_of(values, 0)


def test_only_the_days_asked_for_are_measured(tmp_path: Path) -> None:
    """Both ends belong to the window; an empty one is an error, as is no date."""
    days = ("2025-01-31", "2025-02-01", "2025-05-01", "2025-05-02")
    path = write_lines(tmp_path / "l.jsonl", [problem(f"p{i}", day=day) for i, day in enumerate(days)])
    tasks = read(LiveCodeSettings(paths=(path,)), "", (), task_of).questions
    assert [one.id for one in in_window(tasks, LiveCodeSettings(since="2025-02-01", until="2025-05-01"))] == [
        "p1",
        "p2",
    ]
    for since in ("2026-01-01", "May"):
        with pytest.raises(ConfigurationError):
            in_window(tasks, LiveCodeSettings(since=since))


def test_a_release_is_cumulative_or_a_slice() -> None:
    """`release_v6` holds all files up to the sixth, `v6` that one alone."""
    assert RELEASES["v6"] == ("test6.jsonl",)
    assert RELEASES["release_v6"] == ("test.jsonl", *(f"test{n}.jsonl" for n in range(2, 7)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nx=1\n```", "x=1\n"),
        ("```\na\n```\nbetter:\n```python\nb\n```\n", "b\n"),
        ("```python\ncut off", ""),
        ("```python\na\n```\n```python\ncut", "a\n"),
        ("no program", ""),
    ],
)
def test_the_last_closed_block_is_the_program(text: str, expected: str) -> None:
    """An open block was cut off."""
    assert program_in(text) == expected


@pytest.mark.parametrize(
    ("printed", "expected", "is_call", "is_same"),
    [
        ("3\n", "3", False, True),
        (" 3 \n\n", "3\n", False, True),
        ("1 2.0", "1.0 2", False, True),
        ("50000000000000001", "50000000000000000", False, False),
        ("yes", "YES", False, False),
        ("1\n2", "1 2", False, False),
        ("nan", "nan ", False, True),
        ("", "3", False, False),
        ("[1, 2]", "[1,2]", True, True),
        ('"a"', "a", True, False),
        ("oops", "1", True, False),
        ("1.0", "1", True, True),
    ],
)
def test_output_is_compared_as_published(printed: str, expected: str, is_call: bool, is_same: bool) -> None:
    """Lines without outer blanks, numbers exactly, values of calls as JSON."""
    assert passes(printed, Case("", expected), is_call=is_call) is is_same


def test_the_same_question_twice_is_refused(tmp_path: Path) -> None:
    """Files that overlap would count problems twice."""
    path = write_lines(tmp_path / "l.jsonl", [problem("same"), problem("same")])
    with pytest.raises(ConfigurationError, match="two questions"):
        read(LiveCodeSettings(paths=(path,)), "", (), task_of)


def test_the_files_are_named_with_their_hashes(tmp_path: Path) -> None:
    """So that two tables can be told to rest on the same questions; private tests may be plain JSON too."""
    path = write_lines(tmp_path / "l.jsonl", [problem("a"), problem("b", hidden=False)])
    found = read(LiveCodeSettings(paths=(path,), limit=1), "", (), task_of)
    assert found.info["n"] == 1
    assert len(found.info["files"]["l.jsonl"]) == 64
    assert json.loads(text_in(packed([]))) == []


def test_the_hub_needs_a_commit() -> None:
    """A branch is no pinned revision."""
    for revision in ("", "main"):
        with pytest.raises(ConfigurationError, match="revision"):
            read(LiveCodeSettings(revision=revision), "a/b", ("test.jsonl",), task_of)
