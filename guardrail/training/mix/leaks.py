"""The leak check: rows that stand in an evaluation set, or nearly do."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from guardrail.conversation import Role
from guardrail.decision import Direction
from guardrail.training.mix.survey import Survey
from guardrail.training.recipe.duplicates import NearDuplicates
from guardrail.training.recipe.families import LEAST_TURN_TOKENS, has_tokens
from guardrail.training.recipe.input_rows import read_values, to_recipe_row
from guardrail.training.recipe.rows import RecipeRow

LEAST_ANSWER_TOKENS = 20
"""A shorter answer ("I cannot help with that.") is everybody's, as a turn of fewer than `LEAST_TURN_TOKENS` is: by
themselves they are no leak. What a prompt row judges is compared whatever its length. Our choice."""

_CACHED = 1 << 15
"""Texts whose finding is remembered: several answers follow one question. Our choice."""


class EvaluationTexts:
    """The texts of evaluation sets: what is asked in them, and what is answered. For one thread."""

    def __init__(self, sets: Mapping[str, Path], threshold: float) -> None:
        """Read the sets, rows without a label too.

        Args:
            sets: files of the data schema by name.
            threshold: ROUGE-L from which on a text is one of theirs.

        Raises:
            ConfigurationError: a file cannot be read, or holds what is no row.
        """
        self.names = list(sets)
        self.n_rows: dict[str, int] = {}
        self._asked, self._answered = NearDuplicates(threshold), NearDuplicates(threshold)
        for number, (name, path) in enumerate(sets.items()):
            self._read(name, number, path)
        self._find_asked = lru_cache(_CACHED)(lambda text: _find(self._asked, text))

    def find(self, row: RecipeRow) -> tuple[str, bool] | None:
        """Return the set that a row stands in, and whether equally (or else nearly); None if in none."""
        asked, answered = texts_of(row)
        nearly = None
        for found in chain(map(self._find_asked, asked), (_find(self._answered, text) for text in answered)):
            if found and found[1]:
                return self.names[found[0]], True
            nearly = nearly or found
        return None if nearly is None else (self.names[nearly[0]], False)

    def _read(self, name: str, number: int, path: Path) -> None:
        met = set[tuple[int, str]]()
        framed = Counter[str]()
        self.n_rows[name] = 0
        for where, values in read_values(path):
            self.n_rows[name] += 1
            row = to_recipe_row(where, values)
            framed.update(set(_frames(row)))
            for place, texts in enumerate((_asked(row), _answers(row))):
                for text in texts:
                    if (place, text) not in met:
                        met.add((place, text))
                        (self._asked, self._answered)[place].add(number, text)
        for text, n in framed.items():
            # what several rows are framed by, such as "You are a helpful assistant.", is everybody's
            if n == 1 and (0, text) not in met:
                self._asked.add(number, text)


def texts_of(row: RecipeRow) -> tuple[list[str], list[str]]:
    """Return what is asked in a row, by users and in system prompts, and what is answered: whatever says enough to be
    anybody's own.
    """
    return _asked(row) + _frames(row), _answers(row)


def _asked(row: RecipeRow) -> list[str]:
    turns = _turns(row, Role.USER, LEAST_TURN_TOKENS)
    judged = row.judged_text if row.target is Direction.PROMPT else ""
    return turns if not judged or judged in turns else [*turns, judged]


def _frames(row: RecipeRow) -> list[str]:
    return _turns(row, Role.SYSTEM, LEAST_TURN_TOKENS)


def _answers(row: RecipeRow) -> list[str]:
    return _turns(row, Role.ASSISTANT, LEAST_ANSWER_TOKENS)


def _turns(row: RecipeRow, role: Role, least: int) -> list[str]:
    return [one.content for one in row.messages if one.role is role and has_tokens(one.content, least)]


def drop_families(survey: Survey) -> None:
    """Leave out the families of rows that were left out as leaks: their translations, partners and other answers."""
    for number, reason in enumerate(survey.reason_names[:]):
        if reason.startswith("leak: "):
            roots = np.unique(survey.columns["root"][survey.reasons == number])
            name = reason.removeprefix("leak: ").rpartition(" (")[0]
            survey.drop(np.isin(survey.columns["root"], roots), f"leak: {name} (family)")


def leak_reason(name: str, is_equal: bool) -> str:
    """Return why a row is left out that stands in a set."""
    return f"leak: {name} ({'equal' if is_equal else 'near'})"


def _find(index: NearDuplicates, text: str) -> tuple[int, bool] | None:
    """Return the number of the set that holds a text like this one, and whether its tokens are the same."""
    number, likeness = index.nearest(text)
    return (number, likeness == 1) if number is not None and likeness >= index.threshold else None
