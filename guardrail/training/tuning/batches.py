"""Examples to batches, and which rows each optimiser step takes: a function of the settings alone.

A step's rows do not depend on the number of processes or on gradient accumulation: both only cut the step into parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from guardrail.network import GuardNetwork
from guardrail.taxonomy import RiskLevel
from guardrail.training.examples import IGNORED, Example
from guardrail.training.lengths import by_length
from guardrail.training.losses import TERMS, Batch

N_RISKS = len(RiskLevel)

_ORDER_KEY = 1_000_003
"""Sets the draws of the order apart from those of the noise."""

_NOTHING = Example(np.zeros(1, np.int32), -1, IGNORED, IGNORED, np.full(1, IGNORED, np.int8), IGNORED, False)
"""Fills a part without rows: every process takes part in every pass."""


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples on the right; without any, return a batch without labels."""
    examples = examples or [_NOTHING]
    length = max(len(e.ids) for e in examples)
    ids = np.zeros((len(examples), length), np.int64)
    response = np.full((len(examples), length), IGNORED, np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        response[row, : len(example.ids)] = example.response_risk
    return Batch(
        torch.from_numpy(ids),
        torch.tensor([max(0, e.query_position) for e in examples]),
        torch.tensor([e.query_risk for e in examples]),
        torch.tensor([e.query_category for e in examples]),
        torch.from_numpy(response),
        torch.tensor([e.response_category for e in examples]),
        torch.tensor([e.teacher or (0.0,) * N_RISKS for e in examples]),
        torch.tensor([e.teacher_share for e in examples]),
        torch.tensor([e.query_share for e in examples]),
    )


def batches_by_length(examples: Sequence[Example], budget: int) -> list[list[int]]:
    """Group rows of like length into batches of at most `budget` padded tokens."""
    return by_length([len(e.ids) for e in examples], budget)


class StepPlan:
    """Which rows each step takes: epoch after epoch, rows of like length together, steps in random order.

    Attributes:
        n_steps: optimiser steps of the run.
        mean_rows: rows of an average step.
    """

    def __init__(self, examples: Sequence[Example], budget: int, epochs: float, seed: int) -> None:
        """Plan a run.

        Args:
            examples: to train on; at least one.
            budget: padded tokens a step.
            epochs: passes over the examples.
            seed: of the order.
        """
        self._lengths = np.array([len(e.ids) for e in examples])
        self._budget, self._seed = budget, seed
        self._ends: list[int] = []
        self._held: tuple[int, list[list[int]]] = (-1, [])
        n_first = len(self._epoch(0))
        self.n_steps = max(1, int(n_first * epochs))
        self.mean_rows = len(examples) / n_first

    def rows(self, step: int) -> list[int]:
        """Return the places of the rows that a step takes, short ones first."""
        while not self._ends or step >= self._ends[-1]:
            self._ends.append((self._ends[-1] if self._ends else 0) + len(self._epoch(len(self._ends))))
        epoch = int(np.searchsorted(self._ends, step, side="right"))
        return self._epoch(epoch)[step - (self._ends[epoch - 1] if epoch else 0)]

    def n_tokens(self, step: int) -> int:
        """Return the tokens of a step, padding left out."""
        return int(self._lengths[self.rows(step)].sum())

    def _epoch(self, epoch: int) -> list[list[int]]:
        if self._held[0] != epoch:
            rng = np.random.default_rng([self._seed, _ORDER_KEY, epoch])
            jitter = rng.uniform(0.9, 1.1, len(self._lengths))
            batches = by_length(self._lengths, self._budget, jitter)
            rng.shuffle(batches)
            self._held = (epoch, batches)
        return self._held[1]


@dataclass(frozen=True, slots=True)
class Share:
    """Which parts of each step are this process's.

    Attributes:
        rank: number of the process.
        n_processes: how many there are.
        n_passes: forward passes of each process a step.
    """

    rank: int = 0
    n_processes: int = 1
    n_passes: int = 1

    def cut(self, n_rows: int, number: int) -> slice:
        """Return the rows of a step that pass `number` of this process takes; all passes of all processes take each
        row once, and as many as the others, give or take one.
        """
        part, n_parts = number * self.n_processes + self.rank, self.n_passes * self.n_processes
        return slice(n_rows * part // n_parts, n_rows * (part + 1) // n_parts)


class TrainParts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """The forward passes of a run in order, as keyword arguments of `TunedGuard`."""

    def __init__(
        self,
        examples: Sequence[Example],
        plan: StepPlan,
        share: Share,
        network: GuardNetwork,
        *,
        noise: float,
        seed: int,
    ) -> None:
        """Set up.

        Args:
            examples: to train on.
            plan: made for them.
            share: of this process.
            network: to be trained.
            noise: share of tokens that are replaced by random ones, in [0, 1].
            seed: of the noise.
        """
        self._examples, self._plan, self._share = examples, plan, share
        self._vocab_size, self._noise, self._seed = network.config.vocab_size, noise, seed
        safe = network.config.response_labels.risks.index(RiskLevel.SAFE)
        self._terms = np.array([_terms(example, safe) for example in examples])

    def __len__(self) -> int:
        return self._plan.n_steps * self._share.n_passes

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        step, number = divmod(index, self._share.n_passes)
        rows = self._plan.rows(step)
        part = self._share.cut(len(rows), number)
        values = to_values(collate([self._examples[i] for i in rows[part]]))
        if self._noise and rows[part]:
            values["ids"] = self._with_noise(values["ids"], values["query_position"], step, rows, part)
        values["counts"] = torch.from_numpy(self._terms[rows].sum(0))
        values["weight"] = torch.tensor(len(rows) / self._plan.mean_rows)  # every row weighs the same, in every step
        return values

    def _with_noise(self, ids: Tensor, query_position: Tensor, step: int, rows: list[int], part: slice) -> Tensor:
        """Replace a share of the tokens by random ones, so that no single word decides; drawn for the whole step, so
        that its parts see the same noise however it is cut.
        """
        rng = np.random.default_rng([self._seed, step])
        shape = len(rows), max(len(self._examples[i].ids) for i in rows)
        hit = torch.from_numpy(rng.random(shape) < self._noise)[part, : ids.shape[1]]
        random_ids = torch.from_numpy(rng.integers(0, self._vocab_size, shape))[part, : ids.shape[1]]
        noisy = torch.where(hit, random_ids, ids)
        each = torch.arange(len(ids))
        noisy[each, query_position] = ids[each, query_position]
        return noisy


def held_out_parts(examples: Sequence[Example], budget: int, share: Share) -> Iterator[dict[str, Tensor]]:
    """Yield this process's forward passes over the held-out rows; every process has as many."""
    batches = batches_by_length(examples, budget)
    batches += [[] for _ in range(-len(batches) % share.n_processes)]
    for batch in batches[share.rank :: share.n_processes]:
        yield to_values(collate([examples[i] for i in batch]))


def _terms(example: Example, safe: int) -> tuple[bool, ...]:
    """Return which terms of the loss a row has, in the order of `TERMS`; `Losses.counts` says the same of a batch."""
    labelled = example.response_risk[example.response_risk != IGNORED]
    has_category = example.response_category != IGNORED and bool((labelled != safe).any())
    found = (
        example.query_risk != IGNORED, example.query_category != IGNORED, bool(len(labelled)), has_category,
    )  # fmt: skip
    assert len(found) == len(TERMS)  # noqa: S101 - the two are written down apart
    return found


def to_values(batch: Batch) -> dict[str, Tensor]:
    """Return a batch as keyword arguments."""
    return {field.name: getattr(batch, field.name) for field in fields(Batch)}
