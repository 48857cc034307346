"""What a file of rows amounts to, before anything is trained on it: counts, and what is doubtful about them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardrail.decision import Direction
from guardrail.evaluation.rows import TARGETS, Row
from guardrail.taxonomy import RiskLevel
from guardrail.training.own.problems import Problem

FEW = 20
"""Rows of a kind below which little can be learned of it, and less be measured. Our choice."""

LEAST_ROWS = 12
"""Fewest rows that a run is made of. Our choice."""

SAID = {Direction.PROMPT: "prompts", Direction.RESPONSE: "answers"}


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts of rows.

    Attributes:
        by_kind: rows by direction, level and category; "" where none is named.
        warnings: what is doubtful, in words.
        problems: what keeps the whole from being learned.
    """

    by_kind: Counter[tuple[Direction, RiskLevel, str]]
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Survey":
        """Count rows."""
        kinds = Counter((row.target, row.risk, row.categories[0] if row.categories else "") for row in rows)
        return cls(kinds, tuple(_warnings(rows, kinds)), tuple(_problems(rows)))

    @property
    def categories(self) -> dict[Direction, tuple[str, ...]]:
        """Names of the categories by direction, those with most rows first."""
        found: dict[Direction, tuple[str, ...]] = {}
        for target in TARGETS:
            counts: Counter[str] = Counter()
            for (direction, _, name), n in self.by_kind.items():
                if direction is target and name:
                    counts[name] += n
            found[target] = tuple(sorted(counts, key=lambda name: (-counts[name], name)))
        return found


def _problems(rows: Sequence[Row]) -> Iterator[Problem]:
    if len(rows) < LEAST_ROWS:
        yield Problem(0, f"{len(rows)} usable rows", f"at least {LEAST_ROWS} are needed; a few hundred is a good start")
    levels = {row.risk for row in rows}
    if rows and RiskLevel.SAFE not in levels:
        yield Problem(0, "no row is safe", "add harmless rows, those that look like harmful ones above all")
    if rows and levels == {RiskLevel.SAFE}:
        yield Problem(0, "every row is safe", "add rows that break your policy")


def _warnings(rows: Sequence[Row], kinds: Counter[tuple[Direction, RiskLevel, str]]) -> Iterator[str]:
    for target in TARGETS:
        levels = {risk for direction, risk, _ in kinds if direction is target}
        said = SAID[target]
        if not levels:
            yield f"no {said}: what the model says of {said} is not trained"
        elif RiskLevel.SAFE not in levels:
            yield f"none of the {said} is safe: the model will learn to flag every one"
        elif levels == {RiskLevel.SAFE}:
            yield f"all {said} are safe: the model will learn to flag none"
        few = [
            f"{n} {risk.value.lower()}{f' of {name!r}' if name else ''}"
            for (direction, risk, name), n in sorted(kinds.items())
            if direction is target and n < FEW
        ]
        if few:
            yield f"few {said} of a kind, of which {FEW} or more are better: {', '.join(few)}"
    unnamed = sum(row.risk is not RiskLevel.SAFE and not row.categories for row in rows)
    if unnamed:
        yield f"{unnamed} rows that are not safe name no category: only their level is learned"
    yield from _alike({name for _, _, name in kinds if name})


def _alike(names: set[str]) -> Iterator[str]:
    by_letters: dict[str, list[str]] = {}
    for name in sorted(names):
        by_letters.setdefault("".join(char for char in name.casefold() if char.isalnum()), []).append(name)
    for same in by_letters.values():
        if len(same) > 1:
            yield f"categories that differ in spelling alone: {', '.join(map(repr, same))}"
