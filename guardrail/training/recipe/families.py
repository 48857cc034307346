"""Families: rows that go back to one root, or to one question, must not stand on two sides of a split."""

import numpy as np
from numpy.typing import NDArray

from guardrail.conversation import Role
from guardrail.training.recipe.duplicates import tokens
from guardrail.training.recipe.rows import RecipeRow, hash_of

LEAST_TURN_TOKENS = 4
"""A user's turn of fewer tokens ("yes", "go on") says nothing of where a row comes from: it makes no families, and is
compared with evaluation sets only where it is what is judged. Our choice."""


def families_of(roots: NDArray[np.uint64], texts: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return each row's family, by the number of its smallest root: intp [row].

    A family is all rows of a root, and all roots that share a text.

    Args:
        roots: uint64 [row], hash of each row's root.
        texts: uint64 [row], hash of what tells its family besides; 0: nothing does.
    """
    names, labels = np.unique(roots, return_inverse=True)
    of_root = labels.copy()
    text_names, of_text = np.unique(texts, return_inverse=True)
    has_text = texts != 0
    while True:
        by_text = np.full(len(text_names), len(names))
        np.minimum.at(by_text, of_text, labels)
        joined = np.where(has_text, np.minimum(labels, by_text[of_text]), labels)
        by_root = np.full(len(names), len(names))
        np.minimum.at(by_root, of_root, joined)
        if (by_root[of_root] == labels).all():
            return labels
        labels = by_root[of_root]


def user_turn(row: RecipeRow) -> str:
    """Return the user's first turn, if it says enough to know a family by, else "". It is what the fine-tuning holds
    families out by, too.
    """
    first = next((message.content for message in row.messages if message.role is Role.USER), "")
    return first if has_tokens(first, LEAST_TURN_TOKENS) else ""


def has_tokens(text: str, least: int) -> bool:
    """Whether a text has so many tokens (see `duplicates.tokens`); of a long one the beginning is looked at."""
    return len(text) > least and len(tokens(text[: 50 * least])) >= least


def telling_text(row: RecipeRow) -> str:
    """Return what makes copies of a row one family: the user's first turn, or all turns if that says too little."""
    return user_turn(row) or "\n".join(message.content for message in row.messages)


def text_hash(text: str) -> int:
    """Return a hash of a text without case and spacing: 64 bits, never 0."""
    return hash_of(" ".join(text.casefold().split()))
