"""Tasks with a right answer: several samples a problem, each right or wrong."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from guardrail.abilities.asking import Answer, Asked, Asker
from guardrail.abilities.scores import Score
from guardrail.abilities.settings import Candidate


class Question(Protocol):
    """A problem that can be put and graded."""

    @property
    def id(self) -> str:
        """What it is called."""

    def prompt(self, sample: int) -> str:
        """Return what a model is asked."""

    def grade(self, text: str, sample: int) -> bool | None:
        """Return whether an answer is right; None when there is none in it."""


async def measure(asker: Asker, model: Candidate, name: str, questions: Sequence[Question], k: int) -> Score:
    """Return what a model reached, `k` samples a question. What cannot be read, or was not answered, is wrong."""
    asked = [Asked(one.prompt(sample), sample) for one in questions for sample in range(k)]
    answers = await asker.answers(model, asked)
    grades = [questions[i // k].grade(answer.text, i % k) if answer.text else None for i, answer in enumerate(answers)]
    counts = Counter(no_result=sum(grade is None for grade in grades)) + counted(answers)
    return Score(name, tuple(one.id for one in questions), shares_of(grades, k), k, dict(counts))


def shares_of(grades: Sequence[bool | None], k: int) -> tuple[float, ...]:
    """Return the share of the samples of each question that are right, of grades that stand question by question."""
    return tuple(sum(grade is True for grade in grades[i : i + k]) / k for i in range(0, len(grades), k))


def counted(answers: Sequence[Answer]) -> Counter[str]:
    """Return how many answers were cut off, and how many the server refused."""
    return Counter(cut_off=sum(one.is_cut for one in answers), refused=sum(one.is_refused for one in answers))
