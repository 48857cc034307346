"""LiveCodeBench: problems, what a model is asked, and the program in its answer."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from guardrail.abilities.fields import text_of
from guardrail.abilities.pickled import text_in
from guardrail.abilities.settings import LiveCodeSettings
from guardrail.errors import ConfigurationError

HUB_ID = "livecodebench/code_generation_lite"
RELEASES = {
    **{f"release_v{n}": tuple(f"test{i if i > 1 else ''}.jsonl" for i in range(1, n + 1)) for n in range(1, 7)},
    **{f"v{n}": (f"test{n if n > 1 else ''}.jsonl",) for n in range(1, 7)},
}
"""Release to the hub's files. `release_vN` holds all problems up to then, `vN` only those that came with it."""

SYSTEM = "You are an expert Python programmer. You solve problems by correct, complete and fast programs."
_WITH_STARTER = "Complete the starter code below. Give the whole program in one block of code:"
_WITHOUT_STARTER = (
    "Write a program that reads the input from stdin and prints the answer to stdout, and nothing else. Give the whole"
    " program in one block of code, like this:"
)
"""In our words: the published ones ask for the same, one block of code, with other sentences."""

_STAR = ("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics",
         "itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing")  # fmt: skip
PRELUDE = "".join(
    [*(f"from {name} import *\n" for name in _STAR),
     *(f"import {name}\n" for name in _STAR if name not in ("builtins", "typing")), "sys.setrecursionlimit(50000)\n"]
)  # fmt: skip
"""What stands in front of every program, as in the published evaluation: models leave imports out."""

_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """One published test.

    Attributes:
        given: what is read from stdin, or one JSON value a line, the arguments.
        expected: what is to be printed, or returned, as JSON.
    """

    given: str
    expected: str


@dataclass(frozen=True, slots=True)
class Task:
    """One problem.

    Attributes:
        id: of it.
        text: its statement.
        starter: code to begin with; empty when a whole program is asked for.
        function: name of the method that is called; empty when the program reads stdin.
        tests: public ones first.
        day: of the contest, YYYY-MM-DD.
        difficulty: easy, medium or hard.
    """

    id: str
    text: str
    starter: str
    function: str
    tests: tuple[Case, ...]
    day: str
    difficulty: str

    def prompt(self, _sample: int) -> str:
        """Return what a model is asked."""
        form, code = (_WITH_STARTER, self.starter) if self.starter else (_WITHOUT_STARTER, "# your program")
        return f"{self.text}\n\n{form}\n```python\n{code}\n```\n"


def task_of(values: Mapping[str, Any], _index: int) -> Task:
    """Return a problem from a line of the published file.

    Raises:
        ValueError: it does not follow the schema.
    """
    metadata = values.get("metadata") or "{}"
    known = json.loads(metadata) if isinstance(metadata, str) else metadata
    tests = [*_tests(values, "public_test_cases"), *_tests(values, "private_test_cases")]
    if not tests:
        raise ValueError("public_test_cases: no test")
    starter = values.get("starter_code") or ""
    kinds = {kind for _, kind in tests}
    function = str(known.get("func_name") or "")
    if len(kinds) > 1 or ("functional" in kinds) != bool(function):
        raise ValueError("metadata: func_name goes with functional tests, and only with them")
    day = date.fromisoformat(str(values.get("contest_date", ""))[:10]).isoformat()
    return Task(
        text_of(values, "question_id"), text_of(values, "question_content"), str(starter), function,
        tuple(test for test, _ in tests), day, str(values.get("difficulty", "")),
    )  # fmt: skip


def in_window(tasks: tuple[Task, ...], settings: LiveCodeSettings) -> tuple[Task, ...]:
    """Return the problems of the days that are measured.

    Raises:
        ConfigurationError: a day is no date, or there is no problem left.
    """
    try:
        first, last = (date.fromisoformat(day) if day else None for day in (settings.since, settings.until))
    except ValueError as error:
        raise ConfigurationError("[livecodebench]: since and until are dates, YYYY-MM-DD") from error
    found = tuple(
        one for one in tasks
        if (first is None or one.day >= first.isoformat()) and (last is None or one.day <= last.isoformat())
    )  # fmt: skip
    if not found:
        raise ConfigurationError(f"no problem from {settings.since or 'ever'} to {settings.until or 'now'}")
    return found


def program_in(text: str) -> str:
    """Return the last fenced block of an answer; empty without one that is closed."""
    fences = [*_FENCE.finditer(text)]
    closed = fences[: len(fences) // 2 * 2]
    return text[closed[-2].end() + 1 : closed[-1].start()] if closed else ""


def _tests(values: Mapping[str, Any], name: str) -> list[tuple[Case, str]]:
    packed = values.get(name) or "[]"
    if isinstance(packed, str):
        packed = json.loads(packed if packed.lstrip().startswith("[") else text_in(packed))
    try:
        return [(Case(str(one["input"]), str(one["output"])), str(one["testtype"])) for one in packed]
    except (TypeError, LookupError) as error:
        raise ValueError(f"{name}: no list of tests with input, output and testtype") from error
