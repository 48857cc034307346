"""Runs the programs of models against the published tests, in the sandbox, and compares what they print."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from guardrail.abilities.asking import Answer, Asked, Asker, together
from guardrail.abilities.livecode import PRELUDE, SYSTEM, Case, Task, program_in
from guardrail.abilities.sampled import counted, shares_of
from guardrail.abilities.sandbox import Sandbox
from guardrail.abilities.scores import Score
from guardrail.abilities.settings import Candidate

_CALLER = """\
import json, sys
answer_to, sys.stdout = sys.stdout, sys.stderr
given = [json.loads(line) for line in sys.stdin.read().split("\\n")]
import solution
owner = solution.Solution() if hasattr(solution, "Solution") else solution
found = getattr(owner, {name!r})(*given)
print(json.dumps(found), file=answer_to)
"""
"""Calls the method that a problem names; what the solution prints meanwhile is no answer. What is expected never gets
into the sandbox."""


@dataclass(frozen=True, slots=True)
class Grade:
    """Of one program.

    Attributes:
        is_right: whether it passed all tests.
        why: how it failed: no_result, wrong, error, time, output; empty when it passed.
    """

    is_right: bool
    why: str = ""


async def measure(
    asker: Asker, model: Candidate, name: str, tasks: Sequence[Task], k: int, sandbox: Sandbox
) -> Score:  # fmt: skip
    """Return what a model reached, `k` programs a problem; a program is right when it passes all tests."""
    asked = [Asked(one.prompt(sample), sample, SYSTEM) for one in tasks for sample in range(k)]
    answers = await asker.answers(model, asked)
    grades = await grade_all(answers, [tasks[i // k] for i in range(len(answers))], sandbox)
    counts = Counter(grade.why for grade in grades if grade.why) + counted(answers)
    return Score(name, tuple(one.id for one in tasks), shares_of([one.is_right for one in grades], k), k, dict(counts))


async def grade_all(answers: Sequence[Answer], tasks: Sequence[Task], sandbox: Sandbox) -> list[Grade]:
    """Return the grades of answers, each to its problem; equal programs are run once."""
    programs = [program_in(answer.text) for answer in answers]
    keys = [(task.id, program) for task, program in zip(tasks, programs, strict=True)]
    jobs = dict(zip(keys, tasks, strict=True))
    found = await together(grade(program, task, sandbox) for (_, program), task in jobs.items())
    by_key = dict(zip(jobs, found, strict=True))
    return [by_key[key] for key in keys]


async def grade(program: str, task: Task, sandbox: Sandbox) -> Grade:
    """Return whether a program passes all tests of a problem; it stops at the first that it does not.

    Raises:
        ConfigurationError: programs cannot be shut in here; none was run.
    """
    if not program.strip():
        return Grade(is_right=False, why="no_result")
    whole = f"{PRELUDE}\n{program}"
    files = (
        {"main.py": _CALLER.format(name=task.function), "solution.py": whole} if task.function else {"main.py": whole}
    )
    for test in task.tests:
        outcome = await sandbox.run(files, test.given)
        if outcome.ended in ("time", "output"):
            return Grade(is_right=False, why=outcome.ended)
        if not outcome.is_well:
            return Grade(is_right=False, why="error")
        if not passes(outcome.stdout, test, is_call=bool(task.function)):
            return Grade(is_right=False, why="wrong")
    return Grade(is_right=True)


def passes(printed: str, test: Case, *, is_call: bool) -> bool:
    """Return whether what was printed is what a test expects.

    Of a call, the values are compared. Of a program, line by line without outer blanks: as text, else number by number
    as exact decimals. As in the published evaluation.
    """
    if is_call:
        try:
            return bool(json.loads(printed) == json.loads(test.expected))
        except (ValueError, RecursionError):
            return False
    said, wanted = ([line.strip() for line in text.strip().split("\n")] for text in (printed, test.expected))
    return len(said) == len(wanted) and all(map(_is_same_line, said, wanted))


def _is_same_line(said: str, wanted: str) -> bool:
    if said == wanted:
        return True
    numbers = _decimals(said)
    return numbers is not None and numbers == _decimals(wanted)


def _decimals(line: str) -> list[Decimal] | None:
    try:
        found = [Decimal(word) for word in line.split()]
    except InvalidOperation:
        return None
    return found if all(one.is_finite() for one in found) else None
