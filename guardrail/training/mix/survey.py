"""What `mix` must know of every row: numbers in arrays, so that a million rows take a hundred megabytes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.mix.settings import DIMENSIONS
from guardrail.training.recipe.families import text_hash, user_turn
from guardrail.training.recipe.rows import RecipeRow, hash_of, place_of

RISKS = ("none", "safe", "controversial", "unsafe")
"""By their numbers in the arrays: the graver, the higher."""

NONE = "none"

_COLUMNS = np.dtype(
    [
        ("lang", np.int32), ("category", np.int32), ("risk", np.int8), ("source", np.int32), ("target", np.int8),
        ("is_human", np.bool_), ("has_onset", np.bool_),
        ("id", np.uint64), ("root", np.uint64), ("pair", np.uint64), ("turn", np.uint64),
        ("judged", np.uint64), ("context", np.uint64), ("split_place", np.float64), ("balance_place", np.float64),
    ]
)  # fmt: skip


@dataclass(slots=True)
class Survey:
    """All rows, by their place in the input.

    Attributes:
        columns: one record a row, fields as in `_COLUMNS`: numbers of names, hashes of texts (0: there is none), and
            places in [0, 1) by which families are split and left out.
        names: by dimension, the names that the numbers stand for.
        reasons: int16 [row]; 0 for rows that are kept, else the number of why they are not.
        reason_names: these, by number.
    """

    columns: NDArray[np.void]
    names: dict[str, list[str]]
    reasons: NDArray[np.int16] = field(init=False)
    reason_names: list[str] = field(default_factory=lambda: [""])

    def __post_init__(self) -> None:
        """Keep all rows at first."""
        self.reasons = np.zeros(len(self.columns), np.int16)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows are kept so far: bool [row]."""
        return np.equal(self.reasons, 0)

    def drop(self, places: NDArray[np.intp] | NDArray[np.bool_], reason: str) -> None:
        """Leave rows out, unless they are left out already."""
        if reason not in self.reason_names:
            self.reason_names.append(reason)
        mask = np.zeros(len(self), np.bool_)
        mask[places] = True
        self.reasons[mask & self.kept] = self.reason_names.index(reason)

    def dropped(self) -> dict[str, int]:
        """Return how many rows are left out, by reason, in the order in which the reasons came up."""
        counts = np.bincount(self.reasons, minlength=len(self.reason_names))
        return {name: int(n) for name, n in zip(self.reason_names[1:], counts[1:], strict=True) if n}


class Surveyor:
    """Takes down rows, one after the other."""

    def __init__(self, n_rows: int, seed: int) -> None:
        self._columns = np.zeros(n_rows, _COLUMNS)
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in DIMENSIONS}
        self._numbers["risk"] = {name: i for i, name in enumerate(RISKS)}
        self._numbers["target"] = {Direction.PROMPT.value: 0, Direction.RESPONSE.value: 1}
        self._salts = f"mix/split/{seed}", f"mix/balance/{seed}"
        self._n_met = 0

    def add(self, row: RecipeRow) -> None:
        """Take down a row."""
        category = row.categories[0] if row.categories and row.risk is not RiskLevel.SAFE else NONE
        pair, turn = row.meta.get("pair"), user_turn(row)
        self._columns[self._n_met] = (
            self._number("lang", row.lang), self._number("category", category),
            self._number("risk", row.risk.value.lower() if row.risk else NONE), self._number("source", row.source),
            self._number("target", row.target.value), row.is_human, row.unsafe_start_char is not None,
            hash_of(row.id), hash_of(row.root), hash_of(pair) if isinstance(pair, str) else 0,
            text_hash(turn) if turn else 0, text_hash(row.judged_text), text_hash(context_of(row)),
            *(place_of(row.root, salt) for salt in self._salts),
        )  # fmt: skip
        self._n_met += 1

    def survey(self) -> Survey:
        """Return what was taken down."""
        return Survey(self._columns[: self._n_met], {name: list(numbers) for name, numbers in self._numbers.items()})

    def _number(self, dimension: str, name: str) -> int:
        numbers = self._numbers[dimension]
        return numbers.setdefault(name, len(numbers))


def context_of(row: RecipeRow) -> str:
    """Return what stands before the last message."""
    return "\n".join(message.content for message in row.messages[:-1])
