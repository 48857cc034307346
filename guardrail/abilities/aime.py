"""AIME-25: the last boxed integer of an answer, from 0 to 999, compared exactly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.abilities.fields import text_of

HUB_ID, HUB_FILES = "math-ai/aime25", ("test.jsonl",)
N_PROBLEMS = 30

PROMPT = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
"""As the models' makers recommend for mathematics (Qwen3's card)."""

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SAID = re.compile(r"(?:final\s+)?answer\s*(?:is|:|=)[\s*$]*(\d{1,3})(?![\d.,]*\d)", re.IGNORECASE)
_LEFT_OUT = re.compile(r"\\text\{[^{}]*\}|\\[,;!: ]|\^\{?\\circ\}?|[\s$]|(?<=\d)\.$")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf)\{\s*(\d+)\s*\}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
        id: of it.
        problem: its text.
        answer: from 0 to 999.
    """

    id: str
    problem: str
    answer: int

    def prompt(self, _sample: int) -> str:
        """Return what a model is asked."""
        return PROMPT.format(problem=self.problem)

    def grade(self, text: str, _sample: int) -> bool | None:
        """Return whether an answer is right; None when it names none."""
        found = answer_in(text)
        return None if found is None else found == self.answer


def problem_of(values: Mapping[str, Any], index: int) -> Problem:
    """Return a problem from a line of the published file; some copies say `question`.

    Raises:
        ValueError: it does not follow the schema.
    """
    problem = text_of(values, "problem" if "problem" in values else "question")
    answer = _integer(str(values.get("answer", "")))
    if answer is None:
        raise ValueError("answer: no integer from 0 to 999")
    return Problem(str(values.get("id", index)), problem, answer)


def answer_in(text: str) -> int | None:
    """Return the integer that an answer ends in: the last boxed one, else the last one that is called the answer.

    A last box that holds something else is an answer too, a wrong one: -1.
    """
    boxed = _BOXED.findall(text)
    if boxed:
        found = _integer(boxed[-1])
        return -1 if found is None else found
    said = _SAID.findall(text)
    return _integer(said[-1]) if said else None


def _integer(text: str) -> int | None:
    plain = _LEFT_OUT.sub("", _WRAPPED.sub(r"\1", text))
    return int(plain) if re.fullmatch(r"0*\d{1,3}", plain, re.ASCII) else None
