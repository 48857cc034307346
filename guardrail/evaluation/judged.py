"""Rows and what a judge said about them as arrays, which the figures are worked out from."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.actions import Action
from guardrail.conversation import Role
from guardrail.evaluation.judges import Judgement
from guardrail.evaluation.metrics import BoolArray, FloatArray, IntArray, independent
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import RiskLevel


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of one direction with one judge's judgements; arrays are by row.

    Attributes:
        rows: the rows.
        judgements: one a row.
        gold: int64, rank of the label: 0 Safe, 1 Controversial, 2 Unsafe.
        level: int64, rank of the judge's level.
        score: float64, probability of harm in [0, 1].
        clusters: int64, rows with the same number do not count as independent.
    """

    rows: Sequence[Row]
    judgements: Sequence[Judgement]
    gold: IntArray
    level: IntArray
    score: FloatArray
    clusters: IntArray

    @classmethod
    def of(cls, rows: Sequence[Row], judgements: Sequence[Judgement], *, is_clustered: bool = True) -> "Judged":
        """Make the arrays.

        Args:
            rows: of one direction.
            judgements: one a row, in order.
            is_clustered: whether rows that share a question are drawn together; see `cluster_key`.
        """
        keys: dict[tuple[str, ...], int] = {}
        clusters = [keys.setdefault(cluster_key(row, i), len(keys)) for i, row in enumerate(rows)]
        return cls(
            rows,
            judgements,
            np.array([row.risk.rank for row in rows], np.int64),
            np.array([one.level.rank for one in judgements], np.int64),
            np.array([one.score for one in judgements], np.float64),
            np.array(clusters, np.int64) if is_clustered else independent(len(rows)),
        )

    def at(self, places: Sequence[int] | IntArray) -> "Judged":
        """Return some of the rows."""
        chosen = np.asarray(places, np.int64)
        return Judged(
            [self.rows[i] for i in chosen], [self.judgements[i] for i in chosen],
            self.gold[chosen], self.level[chosen], self.score[chosen], self.clusters[chosen],
        )  # fmt: skip

    def grouped(self, names: Sequence[str]) -> "dict[str, Judged]":
        """Return the rows by a name each has, names in order."""
        places: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            places.setdefault(name, []).append(i)
        return {name: self.at(places[name]) for name in sorted(places)}

    def by_source(self) -> "dict[str, Judged]":
        """Return the rows of each data set."""
        return self.grouped([row.source for row in self.rows])

    def by_language(self) -> "dict[str, Judged]":
        """Return the rows of each language."""
        return self.grouped([row.lang for row in self.rows])

    @property
    def is_harmful(self) -> BoolArray:
        """Whether the label, read strictly, is harmful: Controversial counts as unsafe."""
        return self.gold >= RiskLevel.CONTROVERSIAL.rank

    @property
    def is_unsafe(self) -> BoolArray:
        """Whether the label, read loosely, is harmful: Controversial counts as safe."""
        return self.gold >= RiskLevel.UNSAFE.rank

    @property
    def calls_harmful(self) -> BoolArray:
        """Whether the judge, read strictly, calls the row harmful."""
        return self.level >= RiskLevel.CONTROVERSIAL.rank

    @property
    def calls_unsafe(self) -> BoolArray:
        """Whether the judge, read loosely, calls the row harmful."""
        return self.level >= RiskLevel.UNSAFE.rank

    @property
    def is_hit(self) -> BoolArray:
        """Whether the policy does not simply allow the row."""
        return self.having(lambda one: one.action is not Action.ALLOW)

    @property
    def is_stopped(self) -> BoolArray:
        """Whether the policy stops the row."""
        return self.having(lambda one: one.action is Action.STOP)

    def having(self, says: Callable[[Judgement], bool]) -> BoolArray:
        """Return bool [row]: whether something holds of the judgement."""
        found: NDArray[np.bool_] = np.array([says(one) for one in self.judgements], np.bool_)
        return found


def cluster_key(row: Row, place: int) -> tuple[str, ...]:
    """Return what rows have in common that tell the same: `cluster` in their meta, else the first user message (spaces
    and capitals apart) of the same source, else nothing.

    Args:
        row: a row.
        place: a number that no other row has, for rows that have nothing in common with others.
    """
    if (named := row.meta.get("cluster")) is not None:
        return "meta", row.source, str(named)
    question = next((m.content for m in row.messages if m.role is Role.USER), None)
    if question is None:
        return "row", str(place)
    return "question", row.source, " ".join(question.casefold().split())


def seed_of(name: str) -> int:
    """Return a seed for the resamples of one source, so that sources are drawn independently of each other."""
    return zlib.crc32(name.encode())
