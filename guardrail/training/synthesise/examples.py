"""Prompts that generators are shown: input rows, and what was made before."""

import json
from collections import defaultdict, deque
from heapq import heappush, heappushpop

import numpy as np

from guardrail.conversation import Role
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.synthesise.writing import Texts

_MOST = 300
"""Prompts of a category and language that are at hand. Our choice."""


class Examples:
    """Harmful prompts by category and language: a sample of the input rows, and the latest ones that were made."""

    def __init__(self, seed: int) -> None:
        self._salt = f"synthesise example {seed}"
        self._human: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
        self._made: dict[tuple[str, str, bool], deque[str]] = defaultdict(lambda: deque(maxlen=_MOST))

    def meet(self, row: RecipeRow, text: str) -> None:
        """Take an input prompt into account; those that are labelled as not Safe with a category are of use.

        Args:
            row: an input row.
            text: of the prompt, of a length that may be shown.
        """
        if row.risk in (None, RiskLevel.SAFE) or [m.role for m in row.messages] != [Role.USER]:
            return
        for category in row.categories:
            held, found = (
                self._human[category, row.lang],
                (place_of(row.id, self._salt), json.dumps(text, ensure_ascii=False)),
            )
            if len(held) < _MOST:
                heappush(held, found)
            else:
                heappushpop(held, found)

    def add(self, category: str, lang: str, unit: Texts) -> None:
        """Take what was made and kept."""
        values = dict(zip(("unsafe", "safe"), unit, strict=True)) if len(unit) == 2 else unit[0]
        self._made[category, lang, len(unit) == 2].append(json.dumps(values, ensure_ascii=False))

    def draw(
        self, random: np.random.Generator, category: str, lang: str, *, n_human: int, n_made: int, is_pair: bool
    ) -> list[str]:
        """Return examples as JSON, in the language; English input rows where it has none."""
        human = [
            text for _, text in sorted(self._human.get((category, lang)) or self._human.get((category, "en")) or ())
        ]
        made = list(self._made.get((category, lang, is_pair), ()))
        return _some(random, human, n_human) + _some(random, made, n_made)


def _some(random: np.random.Generator, texts: list[str], n: int) -> list[str]:
    return [texts[i] for i in random.permutation(len(texts))[:n]]
