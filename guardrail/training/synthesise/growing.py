"""Rounds of Self-Instruct: what a round asks for, and what of its prompts is new enough to be kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import ceil

import numpy as np
from numpy.typing import NDArray

from guardrail.training.recipe.duplicates import NearDuplicates
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.stage import Rows
from guardrail.training.synthesise.cells import Cell
from guardrail.training.synthesise.examples import Examples
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.synthesise.taxonomy import definition_of
from guardrail.training.synthesise.writing import Order, Texts
from guardrail.training.translate.languages import name_of

_PATIENCE = 3
"""Rounds in a row that bring a cell too little before it is given up. Our choice."""


@dataclass(slots=True)
class Grown:
    """What became of one kind of prompt so far.

    Attributes:
        cell: what is wanted.
        n_kept: prompts, or pairs, that were kept.
        n_calls: that were made for it.
        n_poor: rounds in a row that brought too little.
    """

    cell: Cell
    n_kept: int = 0
    n_calls: int = 0
    n_poor: int = 0

    @property
    def is_open(self) -> bool:
        """Whether more is to be made of it."""
        return self.n_kept < self.cell.n_units and self.n_poor < _PATIENCE


@dataclass(frozen=True, slots=True)
class Round:
    """One round: which cells it asks, and for how many prompts or pairs in each call.

    Attributes:
        number: from 1.
        asked: for each call: place of its cell, and what it asks for.
    """

    number: int
    asked: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Growth:
    """Makes orders and sifts what they bring. For one thread; the same rows in the same order give the same result.

    Attributes:
        settings: of the stage.
        prompts: that generators are sent.
        seed: of the recipe.
        prefix: of the ids of new rows.
        known: all prompts that new ones are held against.
        examples: that generators are shown.
        grown: cells and what became of them.
        counts: of what was left out here.
    """

    settings: SynthesiseSettings
    prompts: Prompts
    seed: int
    prefix: str
    known: NearDuplicates
    examples: Examples
    grown: Sequence[Grown]
    counts: Counter[str] = field(default_factory=Counter)

    def plan(self, number: int) -> Round:
        """Return what a round asks for; nothing when all is there or given up."""
        asked = []
        for place, one in enumerate(self.grown):
            if one.is_open:
                each = self.settings.prompts_per_call
                most = max(each, ceil(one.cell.n_units * self.settings.round_share))
                n_units = min(one.cell.n_units - one.n_kept, most)
                asked += [(place, min(each, n_units - done)) for done in range(0, n_units, each)]
        return Round(number, tuple(asked))

    def orders(self, round_: Round) -> Iterator[Order]:
        """Yield the orders of a round; call it again before the next one is sifted and it yields the same."""
        n_calls = [one.n_calls for one in self.grown]
        for number, (place, n_units) in enumerate(round_.asked):
            yield self._order(round_.number, number, place, n_units, n_calls[place])
            n_calls[place] += 1

    def sift(self, round_: Round, rows: Rows) -> NDArray[np.float32]:
        """Keep what is new: float32 [row], ROUGE-L to what is most like it; NaN for rows that are not kept."""
        measures = np.full(len(rows), np.nan, np.float32)
        asked, kept, start = Counter[int](), Counter[int](), 0
        for place, n_units in round_.asked:
            asked[place] += n_units
            self.grown[place].n_calls += 1
        for root, members in groupby(rows, key=lambda row: row.root):
            unit = list(members)
            nearest = [self.known.nearest(row.judged_text)[1] for row in unit]
            if max(nearest) < self.settings.novelty:
                measures[start : start + len(unit)] = nearest
                place = round_.asked[int(root.rsplit("-", 2)[1])][0]
                self._keep(place, unit)
                kept[place] += 1
            else:
                self.counts[f"dropped: {'equal to' if max(nearest) == 1 else 'too like'} another"] += len(unit)
            start += len(unit)
        for place, n_units in asked.items():
            one = self.grown[place]
            one.n_kept += kept[place]
            one.n_poor = one.n_poor + 1 if kept[place] < max(1, self.settings.least_new * n_units) else 0
        return measures

    def _keep(self, place: int, unit: Sequence[RecipeRow]) -> None:
        texts: Texts = tuple(row.judged_text for row in unit)
        for text in texts:
            self.known.add(len(self.known), text)
        cell = self.grown[place].cell
        self.examples.add(cell.topics.name, cell.lang, texts)

    def _order(self, round_: int, number: int, place: int, n_units: int, n_before: int) -> Order:
        cell, settings = self.grown[place].cell, self.settings
        random = np.random.default_rng([self.seed, round_, number])
        intended = {"category": cell.topics.name, "subtopic": cell.subtopic}
        values = {"n": str(n_units), "language": name_of(cell.lang) or cell.lang, **intended}
        values |= {"definition": definition_of(cell.topics), "about": cell.topics.subtopics[cell.subtopic]}
        if cell.keywords:
            words, twins = cell.keywords.words, cell.keywords.twins
            # every word in turn, from a place of its own in each cell
            intended["keyword"] = values["keyword"] = words[(place + n_before) % len(words)]
            values["twin"] = twins[int(random.integers(len(twins)))]
        shown = self.examples.draw(
            random, cell.topics.name, cell.lang,
            n_human=settings.human_examples, n_made=settings.made_examples, is_pair=cell.mode == "pair",
        )  # fmt: skip
        values["examples"] = "\n".join([self.prompts.fill("examples"), *shown, ""]) if shown else ""
        model = settings.generators[n_before % len(settings.generators)]
        id_ = f"{self.prefix}/{round_}-{number}"
        text = self.prompts.fill(cell.mode, **values)
        return Order(id_, model, cell.mode, cell.lang, intended, n_units, n_before, text)


def kept_rows(rows: Rows, measures: NDArray[np.float32]) -> Iterator[RecipeRow]:
    """Yield the rows of a round that were kept, with what is most like them."""
    for row, measure in zip(rows, measures, strict=True):
        if not np.isnan(measure):
            yield replace(row, meta={**row.meta, "likeness": round(float(measure), 3)})
