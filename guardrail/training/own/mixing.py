"""More rows out of few: halves of two texts of one kind, joined.

Few rows are soon known by heart, by how their sentences are built rather than by what they are about. In a joined text
the sentence is broken, and what is left to go by are words and phrases, which other sentences have too.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from guardrail.evaluation.rows import Row
from guardrail.training.own.splitting import kind_of

_LEAST_WORDS = 4
"""Texts of fewer words, and those of scripts without spaces, are halved by characters."""


def mixed(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return a row for each row: half of it, and half of another one of its kind (direction, level, category).

    The order of the two is drawn, and so are the places that the halves come from. Everything but the judged text, and
    where it turns harmful, is the first row's.
    """
    rng = random.Random(seed)
    kinds: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        kinds[kind_of(row)].append(row)
    return [_joined(row, rng.choice(kinds[kind_of(row)]), rng) for row in rows]


def _joined(row: Row, other: Row, rng: random.Random) -> Row:
    halves = [_half(one.messages[-1].content, rng) for one in (row, other)]
    rng.shuffle(halves)
    message = replace(row.messages[-1], content=" ".join(halves))
    meta = {**row.meta, "mixed_with": other.id}
    return replace(
        row,
        id=f"{row.id} mixed",
        messages=(*row.messages[:-1], message),
        unsafe_start_char=None,
        refusal=None,
        meta=meta,
    )


def _half(text: str, rng: random.Random) -> str:
    words = text.split()
    parts, between = (words, " ") if len(words) >= _LEAST_WORDS else (list(text.strip()), "")
    length = max(1, len(parts) // 2)
    start = rng.randint(0, len(parts) - length)
    return between.join(parts[start : start + length])
