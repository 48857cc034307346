"""The translations behind their sources: what is left out at the end, and the sample that people get to see."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from guardrail.training.recipe.rows import RecipeRow, hash_of, place_of
from guardrail.training.translate.sheet import Entry, is_same
from guardrail.training.translate.translating import texts_of

MET, CHANGED = "rejected: met", "rejected: another translation now"
"""What became of the rows that people rejected, in the counts."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Puts translations behind the rows that they were made of, and leaves some out.

    Attributes:
        rejected: by id, the translations that people rejected, as their sheet shows them; "": whatever it is.
        needs_partner: whether a pair partner goes without the other one.
        counts: of the translating; what is left out and what is kept is added while rows are yielded.
    """

    rejected: Mapping[str, str]
    needs_partner: bool
    counts: Counter[str] = field(default_factory=Counter)

    def rows(
        self, rows: Iterable[RecipeRow], translations: Iterable[RecipeRow], partners: frozenset[int], sample: "Sample"
    ) -> Iterator[RecipeRow]:
        """Yield every row, and its translations that are kept.

        Args:
            rows: the stage's input.
            translations: of them, in the same order.
            partners: from `partners_of`.
            sample: takes what is kept.
        """
        left = iter(translations)
        one = next(left, None)
        for row in rows:
            yield row
            while one is not None and one.meta["parent"] == row.id:
                self._look_up(one)
                if flaw := self._flaw(one, partners):
                    self.counts[f"dropped: {flaw}"] += 1
                    self.counts[f"{flaw}: {one.lang}"] += 1
                else:
                    self.counts[f"made: {one.lang}"] += 1
                    sample.add(row, one)
                    yield one
                one = next(left, None)

    def partners_of(self, translations: Iterable[RecipeRow]) -> frozenset[int]:
        """Return which translations of pair partners there are and are not rejected, as hashes of their ids."""
        if not self.needs_partner:
            return frozenset()
        paired = (one for one in translations if "pair" in one.meta and not self._is_rejected(one))
        return frozenset(hash_of(one.id) for one in paired)

    def _flaw(self, row: RecipeRow, partners: frozenset[int]) -> str:
        if self._is_rejected(row):
            return "rejected by people"
        pair = row.meta.get("pair")
        if self.needs_partner and isinstance(pair, str) and hash_of(pair) not in partners:
            return "pair partner lost"
        return ""

    def _look_up(self, row: RecipeRow) -> None:
        """Count whether a rejected translation is met, and whether it is still the one that was rejected."""
        if row.id in self.rejected:
            self.counts[MET if self._is_rejected(row) else CHANGED] += 1

    def _is_rejected(self, row: RecipeRow) -> bool:
        text = self.rejected.get(row.id)
        return text is not None and (not text.strip() or is_same(text, shown(row)))


@dataclass(slots=True)
class Sample:
    """Draws `n` translations of each language by the place of their ids: the same ones in whatever order they come.

    Attributes:
        n: of each language.
        seed: of the recipe.
    """

    n: int
    seed: int
    _by_lang: dict[str, list[tuple[float, str, Entry]]] = field(default_factory=dict)

    def add(self, source: RecipeRow, translation: RecipeRow) -> None:
        """Take a translation if it is among the first `n` so far."""
        found = self._by_lang.setdefault(translation.lang, [])
        key = -place_of(translation.id, f"sheet {self.seed}"), translation.id
        if len(found) < self.n or (found and key > found[0][:2]):
            one = Entry(translation.id, translation.lang, shown(source), shown(translation))
            if len(found) < self.n:
                heapq.heappush(found, (*key, one))
            else:
                heapq.heapreplace(found, (*key, one))

    def entries(self) -> list[Entry]:
        """Return the sample: language by language, in the order of the draw, so that a part of it is a sample too."""
        return [one for lang in sorted(self._by_lang) for *_, one in sorted(self._by_lang[lang], key=_drawn)]


def _drawn(one: tuple[float, str, Entry]) -> tuple[float, str]:
    return -one[0], one[1]


def shown(row: RecipeRow) -> str:
    """Return a conversation as people read it; one text alone stands without its speaker."""
    texts = texts_of(row)
    return texts[0][1] if len(texts) == 1 else "\n\n".join(f"[{who}] {text}" for who, text in texts)
