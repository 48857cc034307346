"""How well a helpfulness model orders the answers of held-out requests."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from guardrail.training.rewards.classifier import encoded, scores_of
from guardrail.training.rewards.helpfulness import chat
from guardrail.training.rewards.learning.triples import PAIRS, Triple

ANSWERS = ("real", "shuffled", "refusal")


class Measurer:
    """Scores the answers of triples that were encoded once."""

    def __init__(self, tokenizer: Any, triples: Sequence[Triple], max_length: int, batch: int) -> None:
        """Encode.

        Args:
            tokenizer: with a chat template.
            triples: at least one.
            max_length: most tokens of a conversation.
            batch: conversations read at once.
        """
        self._pad, self._batch = tokenizer.pad_token_id, batch
        self._rows = {
            name: [encoded(tokenizer, chat(one.prompt, getattr(one, name)), max_length) for one in triples]
            for name in ANSWERS
        }

    def measure(self, model: Any) -> dict[str, float]:
        """Return the share of pairs in the right order, of all and of each kind, and the mean score of each answer."""
        scores = {name: self._scored(model, rows) for name, rows in self._rows.items()}
        better = {name: tuple(name.split("_over_")) for name in PAIRS}
        shares = {
            name: fmean(float(one > two) for one, two in zip(scores[good], scores[bad], strict=True))
            for name, (good, bad) in better.items()
        }
        means = {f"mean_{name}": fmean(values) for name, values in scores.items()}
        return {"in_order": fmean(shares.values()), **shares, **means}

    def _scored(self, model: Any, rows: Sequence[list[int]]) -> list[float]:
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found: dict[int, float] = {}
        with torch.inference_mode():
            for start in range(0, len(order), self._batch):
                some = order[start : start + self._batch]
                found |= zip(some, scores_of(model, [rows[i] for i in some], self._pad), strict=True)
        return [found[i] for i in range(len(rows))]
