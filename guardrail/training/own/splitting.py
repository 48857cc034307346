"""Three parts of the rows: to train on, to choose thresholds on, and to measure on. What is alike stays together."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import gettempdir

import numpy as np

from guardrail.conversation import Role
from guardrail.evaluation.rows import Row
from guardrail.training.recipe.duplicate_groups import group_duplicates
from guardrail.training.recipe.families import families_of

ALIKE = 0.7
"""ROUGE-L from which on two texts are near duplicates, as in the recipe: of one template, say. Our choice."""


class Part(StrEnum):
    """What rows are for."""

    TRAINING = "training"
    THRESHOLDS = "thresholds"
    HELD_OUT = "held_out"


def split(rows: Sequence[Row], shares: Mapping[Part, float], seed: int) -> dict[Part, list[Row]]:
    """Return the rows of each part, in order; the same ones in every run.

    Of each kind of row (direction, label, category) every part gets its share, as near as whole families allow: rows of
    one question, and near duplicates, stand on one side. Training gets what is left.

    Args:
        rows: all.
        shares: of the parts but for training, each in [0, 1).
        seed: of the draw.
    """
    families = _families(rows)
    kinds: dict[tuple[str, ...], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, family in enumerate(families):
        kinds[kind_of(rows[family])][family].append(number)
    parts = [Part.TRAINING] * len(rows)
    for members in kinds.values():
        left = {part: share * sum(map(len, members.values())) for part, share in shares.items()}
        for family in sorted(members, key=lambda family: _draw(rows[family], seed)):
            # the part that lacks most takes the family, if it is not much too large for it
            part = max(left, key=lambda part: left[part])
            if len(members[family]) <= left[part] + 0.5:
                left[part] -= len(members[family])
                for number in members[family]:
                    parts[number] = part
    return {part: [row for row, its in zip(rows, parts, strict=True) if its is part] for part in Part}


def _families(rows: Sequence[Row]) -> list[int]:
    """Return each row's family, by the number of its first member."""
    groups = group_duplicates(map(question, rows), ALIKE, Path(gettempdir())).astype(np.uint64)
    answers = group_duplicates((row.judged_text for row in rows), ALIKE, Path(gettempdir())).astype(np.uint64)
    found: list[int] = np.unique(groups)[families_of(groups, answers + np.uint64(1))].tolist()
    return found


def question(row: Row) -> str:
    """Return the text that tells what a row is about: its first user message, else what is judged."""
    return next((m.content for m in row.messages if m.role is Role.USER), row.judged_text)


def kind_of(row: Row) -> tuple[str, ...]:
    """Return direction, level and first category of a row."""
    return row.target.value, row.risk.value, *row.categories[:1]


def _draw(row: Row, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{question(row)}\0{row.judged_text}".encode(errors="surrogatepass")).digest()
