"""The leak check: rows that stand in an evaluation set, or nearly do."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from guardrail.conversation import Role
from guardrail.decision import Direction
from guardrail.training.mix.survey import Survey
from guardrail.training.recipe.duplicates import PROMPTS, TEXTS, NearDuplicates, tokens
from guardrail.training.recipe.input_rows import read_values, to_recipe_row
from guardrail.training.recipe.rows import RecipeRow

_LEAST_TURN_TOKENS = 4
_LEAST_ANSWER_TOKENS = 20
"""An answer's question of fewer tokens ("go on") and a shorter answer ("I cannot help with that.") are everybody's: by
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
        self._asked = NearDuplicates(threshold, PROMPTS)
        self._answered = NearDuplicates(threshold, TEXTS)
        for number, (name, path) in enumerate(sets.items()):
            self._read(name, number, path)
        self._find_asked = lru_cache(_CACHED)(lambda text: _find(self._asked, text))

    def find(self, row: RecipeRow) -> tuple[str, bool] | None:
        """Return the set that a row stands in, and whether equally (or else nearly); None if in none."""
        asked, answered = texts_of(row)
        found = self._find_asked(asked) if asked else None
        if (found is None or not found[1]) and answered:
            found = _find(self._answered, answered) or found
        return None if found is None else (self.names[found[0]], found[1])

    def _read(self, name: str, number: int, path: Path) -> None:
        met: set[str] = set()
        self.n_rows[name] = 0
        for where, values in read_values(path):
            self.n_rows[name] += 1
            for index, text in zip((self._asked, self._answered), texts_of(to_recipe_row(where, values)), strict=True):
                if text and text not in met:
                    met.add(text)
                    index.add(number, text)


def texts_of(row: RecipeRow) -> tuple[str, str]:
    """Return what is asked and what is answered in a row, each empty where it says too little to be anybody's own."""
    if row.target is Direction.PROMPT:
        return row.judged_text, ""
    turns = [message.content for message in row.messages if message.role is Role.USER]
    asked = turns[-1] if turns and _has_tokens(turns[-1], _LEAST_TURN_TOKENS) else ""
    return asked, row.judged_text if _has_tokens(row.judged_text, _LEAST_ANSWER_TOKENS) else ""


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


def _has_tokens(text: str, n: int) -> bool:
    return len(text) > n and len(tokens(text[: 50 * n])) >= n
