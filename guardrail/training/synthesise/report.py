"""What `synthesise` reports: what was made of what was asked for, what was left out, and how new it is."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardrail.audit.pages.figures import Bars, Figure, Lines, Matrix, Summary, Table
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.synthesise.cells import MODES, Cell
from guardrail.training.synthesise.growing import Grown
from guardrail.training.synthesise.settings import SynthesiseSettings

_BINS = 10
"""Bins of the histogram of likeness. Our choice."""

_MUCH = 0.2
"""Share of calls or prompts from which on a loss is worth a warning. Our choice."""

_REPEATED = ("dropped: too like another", "dropped: equal to another")


@dataclass(slots=True)
class Tale:
    """Takes down a run, and tells it.

    Attributes:
        settings: of the stage.
        cells: what was wanted.
        counts: what was counted in all rounds.
        rounds: for each: calls, prompts written, kept in all up to its end.
    """

    settings: SynthesiseSettings
    cells: Sequence[Cell]
    counts: Counter[str] = field(default_factory=Counter)
    rounds: list[tuple[int, int, int]] = field(default_factory=list)
    _made: Counter[tuple[str, str]] = field(default_factory=Counter)
    _likeness: list[int] = field(default_factory=lambda: [0] * _BINS)

    def add_round(self, counts: Mapping[str, int], grown: Iterable[Grown]) -> None:
        """Take down a round, with what there is after it."""
        self.counts.update(counts)
        n_kept = sum(one.n_kept * _prompts(one.cell) for one in grown)
        self.rounds.append((counts.get("calls", 0), counts.get("written", 0), n_kept))

    def met(self, rows: Iterable[RecipeRow]) -> Iterator[RecipeRow]:
        """Yield the rows that were made, and take them down."""
        for row in rows:
            names = {"mode": row.meta["mode"], "model": row.meta["model"], "lang": row.lang}
            intended = row.meta["intended"]
            for dimension, name in (*names.items(), ("intended", intended["risk"])):
                self._made[dimension, name] += 1
            self._likeness[min(_BINS - 1, int(row.meta["likeness"] * _BINS))] += 1
            yield row

    def summary(self, grown: Sequence[Grown]) -> Summary:
        """Return the summary."""
        n_wanted = sum(cell.n_units * _prompts(cell) for cell in self.cells)
        n_made = self.rounds[-1][2] if self.rounds else 0
        n_repeated = sum(self.counts[name] for name in _REPEATED)
        values: dict[str, Any] = {
            "wanted": n_wanted, "made": n_made, "rounds": len(self.rounds),
            "pairs": sum(one.n_kept for one in grown if one.cell.mode == "pair"),
            "written": self.counts["written"], "distinct_share": _share(n_made, n_made + n_repeated),
            "left_out": {name: n for name, n in sorted(self.counts.items()) if name.startswith("dropped: ")},
            "by": {dimension: self._by(dimension) for dimension in ("intended", "mode", "lang", "model")},
            "by_category": {name: sum(n.values()) for name, n in _by_category(grown).items()},
        }  # fmt: skip
        return Summary(values, self._figures(grown), tuple(self._warnings(grown, n_wanted, n_made)))

    def _by(self, dimension: str) -> dict[str, int]:
        return {name: n for (of, name), n in sorted(self._made.items()) if of == dimension}

    def _figures(self, grown: Sequence[Grown]) -> tuple[Figure, ...]:
        names = [name for name in sorted(self.counts) if name.startswith(("dropped: ", "calls: "))]
        by_category, by_lang = _by_category(grown), self._by("lang")
        bins = [f"{i / _BINS:g} to {(i + 1) / _BINS:g}" for i in range(_BINS)]
        return (
            Matrix(
                "Prompts by category and way", list(by_category), MODES,
                [[n[mode] for mode in MODES] for n in by_category.values()], "category that was asked for", "way",
            ),
            Bars("Prompts by language", list(by_lang), {"prompts": list(by_lang.values())}, "prompts"),
            Lines(
                "Rounds", range(1, len(self.rounds) + 1),
                {"prompts kept up to its end": [n for _, _, n in self.rounds],
                 "prompts written in it": [n for _, n, _ in self.rounds]}, "round",
            ),
            Bars(
                "ROUGE-L to the most like candidate (0: there was none)", bins,
                {"prompts kept": self._likeness}, "prompts",
            ),
            Table("What was left out", ("reason", "prompts or calls"), [(name, self.counts[name]) for name in names]),
            Table("Prompts by subtopic", ("category", "subtopic", "wanted", "made"), _by_subtopic(grown)),
        )  # fmt: skip

    def _warnings(self, grown: Sequence[Grown], n_wanted: int, n_made: int) -> Iterator[str]:
        if n_made < n_wanted:
            n_closed = sum(one.n_kept < one.cell.n_units and not one.is_open for one in grown)
            end = f"kinds of prompt given up for bringing too little that was new: {n_closed} of {len(grown)}"
            if any(one.is_open for one in grown):
                end = f"it ended after {self.settings.max_rounds} rounds"
            yield f"{n_made} of {n_wanted} prompts were made: {end}. Another generator may bring more."
        lost = self.counts["calls: not JSON"] + self.counts["calls: refused"]
        if lost > _MUCH * self.counts["calls"]:
            yield f"{lost} of {self.counts['calls']} calls brought no JSON or were refused: try another generator."
        if (n := self.counts["dropped: pair not judged"]) > _MUCH * max(1, self.counts["written"]):
            yield f"{n} prompts were left out because the judge's answers could not be read."


def _prompts(cell: Cell) -> int:
    return 2 if cell.mode == "pair" else 1


def _by_category(grown: Sequence[Grown]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for one in grown:
        found.setdefault(one.cell.topics.name, Counter())[one.cell.mode] += one.n_kept * _prompts(one.cell)
    return found


def _by_subtopic(grown: Sequence[Grown]) -> list[tuple[str, str, int, int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for one in grown:
        numbers = found.setdefault((one.cell.topics.name, one.cell.subtopic), [0, 0])
        numbers[0] += one.cell.n_units * _prompts(one.cell)
        numbers[1] += one.n_kept * _prompts(one.cell)
    order = list(_by_category(grown))
    ordered = sorted(found.items(), key=lambda one: order.index(one[0][0]))
    return [(category, subtopic, wanted, made) for (category, subtopic), (wanted, made) in ordered]


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
