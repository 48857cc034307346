"""Which rows are translated to which languages."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.translate.languages import base_code
from guardrail.training.translate.settings import TranslateSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """Chooses by the place of a row's family, another one for each language.

    Attributes:
        settings: of the stage.
        seed: of the recipe.
        bounds: by language: families that stand before it are chosen.
    """

    settings: TranslateSettings
    seed: int
    bounds: Mapping[str, float]

    @classmethod
    def of(cls, settings: TranslateSettings, seed: int, rows: Iterable[RecipeRow]) -> "Choice":
        """Return the choice among rows; they are read only if a number of them is asked for."""
        bounds = {lang: settings.shares.get(lang, settings.share) for lang in settings.langs}
        if not settings.n_rows:
            return cls(settings, seed, bounds)
        everything = cls(settings, seed, dict.fromkeys(settings.langs, 1.0))
        places = {lang: array("d") for lang in settings.langs}
        for row in rows:
            for lang in everything.langs_of(row):
                places[lang].append(everything.place(row, lang))
        return cls(settings, seed, {lang: _bound(found, settings.n_rows) for lang, found in places.items()})

    def langs_of(self, row: RecipeRow) -> tuple[str, ...]:
        """Return the languages that a row is translated to."""
        wanted, own = self.settings, base_code(row.lang)
        if wanted.source_langs and own not in map(base_code, wanted.source_langs):
            return ()
        if sum(len(message.content) + len(message.reasoning or "") for message in row.messages) > wanted.max_chars:
            return ()
        langs = (lang for lang in wanted.langs if base_code(lang) != own)
        return tuple(lang for lang in langs if self.place(row, lang) < self.bounds[lang])

    def place(self, row: RecipeRow, lang: str) -> float:
        """Return where a row stands in [0, 1)."""
        return place_of(row.root if self.settings.by_family else row.id, f"translate {self.seed} {lang}")


def _bound(places: "array[float]", n: int) -> float:
    """Return what the `n` first places lie before."""
    if len(places) <= n:
        return 1.0
    return float(np.nextafter(np.partition(np.frombuffer(places), n - 1)[n - 1], 1.0))
