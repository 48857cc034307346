"""GPQA: the letter of one of four choices, whose order is drawn."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.abilities.fields import text_of

HUB_ID = "Idavidrein/gpqa"
N_QUESTIONS = {"diamond": 198, "main": 448, "extended": 546}
LETTERS = "ABCD"

PROMPT = """\
Answer the following multiple choice question. Think step by step. The last line of your answer should be of the form \
"ANSWER: LETTER" (without quotes), where LETTER is one of ABCD.

{question}

A) {a}
B) {b}
C) {c}
D) {d}"""
"""In our words; the form of the last line is that of the usual evaluations of reasoning models."""

_RIGHT = "Correct Answer"
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_SAID = re.compile(
    r"answer(?:\s+is)?\s*[*_]*\s*[:=]?\s*[*_$]*\s*(?:\\boxed\{)?(?:\\text\{)?\(?([ABCD])\b", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\{)?\(?([ABCD])\)?[^A-Za-z]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """One question.

    Attributes:
        id: of it.
        question: its text.
        right: the right choice.
        wrong: the three others.
        seed: of the orders.
    """

    id: str
    question: str
    right: str
    wrong: tuple[str, ...]
    seed: int

    def order(self, sample: int) -> list[str]:
        """Return the choices in the order of a sample: the same for every model, another one for each sample."""
        choices = [self.right, *self.wrong]
        random.Random(f"{self.seed}/{self.id}/{sample}").shuffle(choices)
        return choices

    def prompt(self, sample: int) -> str:
        """Return what a model is asked."""
        a, b, c, d = self.order(sample)
        return PROMPT.format(question=self.question, a=a, b=b, c=c, d=d)

    def grade(self, text: str, sample: int) -> bool | None:
        """Return whether an answer names the right letter; None when it names none."""
        letter = letter_in(text)
        return None if letter is None else self.order(sample)[LETTERS.index(letter)] == self.right


def choice_of(values: Mapping[str, Any], index: int, seed: int) -> Choice:
    """Return a question from a line of the published file.

    Raises:
        ValueError: it does not follow the schema.
    """
    right, *wrong = (text_of(values, name).strip() for name in (_RIGHT, *_WRONG))
    question = text_of(values, "Question").strip()
    return Choice(str(values.get("Record ID") or index), question, right, tuple(wrong), seed)


def letter_in(text: str) -> str | None:
    """Return the letter that an answer ends in: the last one that is called the answer, or that is boxed."""
    found = [(match.start(), match[1]) for pattern in (_SAID, _BOXED) for match in pattern.finditer(f"{text}\n")]
    return max(found)[1].upper() if found else None
