"""Cross-fitting: what each half of the data is said to be by classifiers of the other half.

Halves go by the hash of the root, and copies of a question under other roots go with it, so that no family straddles
them: a teacher that has seen a copy repeats its label. Of a row only a few bytes are held; the rows are read again for
each half.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import LEVELS, FloatArray, Learner, Lesson, Levels, Panel, Progress, Variant
from guardrail.training.recipe.families import families_of, telling_text, text_hash
from guardrail.training.recipe.parts import cut, told
from guardrail.training.recipe.rows import RecipeRow, half_of, hash_of, place_of
from guardrail.training.recipe.stage import Rows

BoolArray = NDArray[np.bool_]

TARGETS = (Direction.PROMPT, Direction.RESPONSE)

UNLABELLED = -1
"""In place of a level's index."""

_BATCH = 512
"""Rows scored at once. Our choice."""

_COLUMNS = np.dtype(
    [
        ("target", np.int8), ("half", np.int8), ("level", np.int8), ("is_human", np.bool_), ("root", np.uint64),
        ("text", np.uint64),
    ]
)  # fmt: skip
"""What is taken down of a row: those of `Survey`, the half being that of its own root, and hashes for the families."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is held of every row, by its place.

    Attributes:
        target: int8 [row], index into `TARGETS`.
        half: int8 [row], 0 or 1.
        level: int8 [row], index into `LEVELS`, or `UNLABELLED`.
        is_human: bool [row], whether a person gave the label.
    """

    target: NDArray[np.int8]
    half: NDArray[np.int8]
    level: NDArray[np.int8]
    is_human: BoolArray

    @property
    def is_labelled(self) -> BoolArray:
        """Bool [row], whether there is a label."""
        return np.asarray(self.level != UNLABELLED)

    def of_target(self, target: Direction) -> BoolArray:
        """Return bool [row], whether that is what is judged."""
        return np.asarray(self.target == TARGETS.index(target))


@dataclass(frozen=True, slots=True)
class Weighing:
    """How one of several classifiers weighs the levels.

    Attributes:
        name: tells it from the others.
        shares: of the whole weight that each level has; None: as the rows come.
        is_relative: whether `shares` multiply what the rows have of each level, rather than replace it.
        is_drawn: whether rows are left out to come to these shares, in place of weights.
    """

    name: str
    shares: Mapping[RiskLevel, float] | None = None
    is_relative: bool = False
    is_drawn: bool = False


@dataclass(frozen=True, slots=True)
class Teaching:
    """Which rows teach: at most so many, as many of each level where there are.

    Attributes:
        name: tells it from others of the stage.
        taught: bool [row].
        max_rows: bound for each half.
        salt: of what is drawn.
    """

    name: str
    taught: BoolArray
    max_rows: int
    salt: str


def survey(rows: Iterable[RecipeRow], salt: str) -> Survey:
    """Return what is to be held of the rows; their halves are those of the salt.

    A family (see `families_of`) falls where the root with the smallest hash falls.
    """
    found = (
        (
            TARGETS.index(row.target),
            half_of(row.root, salt),
            LEVELS.index(row.risk) if row.risk else UNLABELLED,
            row.is_human,
            hash_of(row.root),
            text_hash(telling_text(row)),
        )
        for row in rows
    )
    table = np.fromiter(found, _COLUMNS)
    _, first = np.unique(table["root"], return_index=True)
    half = table["half"][first][families_of(table["root"], table["text"])]
    return Survey(table["target"].copy(), half, table["level"].copy(), table["is_human"].copy())


def levels_of(survey: Survey, taught: BoolArray, least: int) -> Levels:
    """Return the levels of which each half has enough rows to teach; fewer than two teach nothing."""
    counts = np.stack([_counts(survey, taught & (survey.half == half)) for half in (0, 1)])
    return tuple(level for level, n in zip(LEVELS, counts.min(0), strict=True) if n >= least)


def cross(
    learner: Learner, rows: Rows, survey: Survey, teaching: Teaching, scored: BoolArray, levels: Levels,
    weighings: Sequence[Weighing], progress: Progress,
) -> FloatArray:  # fmt: skip
    """Return what classifiers of the other half say: float32 [weighing, scored row, level], in the order of the rows.

    Args:
        learner: makes the classifiers.
        rows: all rows.
        survey: of the same rows.
        teaching: which of them teach; those of other levels than `levels` do not.
        scored: bool [row], which of them are asked about.
        levels: at least two; `levels_of` says which there are.
        weighings: a classifier each.
        progress: shows the rows read.
    """
    teaching = replace(teaching, taught=teaching.taught & np.isin(survey.level, [LEVELS.index(x) for x in levels]))
    found = np.zeros((len(weighings), int(scored.sum()), len(levels)), np.float32)
    for half in (0, 1):
        read = told(rows, progress(f"learn from half {half}", len(rows)))
        panel = _learn(learner, read, survey, teaching, half, levels, weighings)
        is_asked = scored & (survey.half != half)
        read = told(rows, progress(f"judge half {1 - half}", len(rows)))
        columns = iter(np.flatnonzero(is_asked[scored]))
        for batch in cut((row for row, asked in zip(read, is_asked, strict=True) if asked), _BATCH):
            found[:, list(islice(columns, len(batch)))] = panel.probabilities(batch)
    return found


def _learn(
    learner: Learner, rows: Iterable[RecipeRow], survey: Survey, teaching: Teaching, half: int, levels: Levels,
    weighings: Sequence[Weighing],
) -> Panel:  # fmt: skip
    """Let a half teach."""
    taught = teaching.taught & (survey.half == half)
    n_rows = {level: int((taught & (survey.level == LEVELS.index(level))).sum()) for level in levels}
    n_drawn = _allot(n_rows, teaching.max_rows)
    rates = {level: n_drawn[level] / n_rows[level] for level in levels}
    variants = [_variant(weighing, n_rows, n_drawn, teaching.salt) for weighing in weighings]
    chosen = (
        Lesson(row, level)
        for row, is_taught, index in zip(rows, taught, survey.level, strict=True)
        if is_taught and place_of(row.id, f"{teaching.salt}/drawn") < rates[level := LEVELS[index]]
    )
    return learner.learn(f"{teaching.name}-{half}", chosen, levels, variants)


def _allot(n_rows: Mapping[RiskLevel, int], most: int) -> dict[RiskLevel, int]:
    """Return how many rows of each level are drawn: alike, and what a rare one does not need goes to the others."""
    drawn: dict[RiskLevel, int] = {}
    for n_done, level in enumerate(sorted(n_rows, key=lambda level: (n_rows[level], level.rank))):
        drawn[level] = min(n_rows[level], max(1, (most - sum(drawn.values())) // (len(n_rows) - n_done)))
    return drawn


def _variant(
    weighing: Weighing, n_rows: Mapping[RiskLevel, int], n_drawn: Mapping[RiskLevel, int], salt: str
) -> Variant:
    """Return the weights, or the shares of rows, that bring the drawn rows to the wanted shares of the weight."""
    by_rows = weighing.shares is None or weighing.is_relative
    wanted = {
        level: (n if by_rows else 1) * (weighing.shares[level] if weighing.shares else 1) for level, n in n_rows.items()
    }
    mean = sum(n_drawn.values()) / sum(wanted.values())
    scale = {level: wanted[level] * mean / n_drawn[level] for level in n_rows}
    if not weighing.is_drawn:
        return Variant(weighing.name, scale, dict.fromkeys(n_rows, 1.0))
    highest = max(scale.values())
    kept = {level: value / highest for level, value in scale.items()}
    # One salt for all: what a narrower draw sees a wider one sees too, so that two differ by their shares alone.
    return Variant(weighing.name, dict.fromkeys(n_rows, 1.0), kept, f"{salt}/kept")


def _counts(survey: Survey, chosen: BoolArray) -> NDArray[np.int64]:
    """Return int64 [level]."""
    return np.bincount(survey.level[chosen & survey.is_labelled], minlength=len(LEVELS))
