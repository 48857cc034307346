"""Which level the votes come to: an aggregate, and a weight for each level that is tuned on people's labels.

Prompts and answers are weighed apart where people labelled enough of both: annotators are told different things of them
and err differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guardrail.training.annotate import aggregates
from guardrail.training.annotate.aggregates import N_LEVELS, Floats
from guardrail.training.annotate.ballots import NONE, Ballots, Bools, Votes
from guardrail.training.annotate.settings import Aggregate, AnnotateSettings
from guardrail.training.annotate.tuning import choose, tune_weights

KINDS = {"prompts": False, "answers": True}
"""Kinds of text, and whether that is a response."""

N_FOLDS = 5
"""Parts of people's labels, each weighed by what the others teach while the levels' weights are tuned. Ours."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """How one kind of text is weighed.

    Attributes:
        aggregate: the votes' shares.
        weights: float64 [risk], logarithm of each level's weight; all 0: not tuned.
        n_people: people's labels that it was learned from.
    """

    aggregate: aggregates.Aggregate
    weights: Floats
    n_people: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What the votes of all rows come to.

    Attributes:
        levels: int8 [row], index into `LEVELS`; `NONE` where too few voted.
        confidence: float32 [row] in [0, 1], the aggregate's share of that level; 0 where there is none.
        weighings: by kind of text, where there is any of it.
    """

    levels: NDArray[np.int8]
    confidence: NDArray[np.float32]
    weighings: dict[str, Weighing]


def learn(
    ballots: Ballots, kind: Aggregate, settings: AnnotateSettings, *, tune: bool, seed: int
) -> dict[str, Weighing]:
    """Return how prompts and answers are weighed, from people's labels on half 0 and from nothing on half 1.

    Args:
        ballots: of all rows.
        kind: of aggregate.
        settings: its numbers.
        tune: whether the levels' weights are tuned; without people's labels they are not.
        seed: of the draw of rows that `dawid_skene` learns from.
    """
    found = {name: ballots.is_voted & (ballots.is_response == is_response) for name, is_response in KINDS.items()}
    return {
        name: _learn(ballots, rows, kind, settings, tune=tune, seed=seed) for name, rows in found.items() if rows.any()
    }


def label(ballots: Ballots, weighings: Mapping[str, Weighing], min_votes: int, only: Bools | None = None) -> Labels:
    """Return the level of every row.

    Args:
        ballots: of all rows.
        weighings: of each kind of text.
        min_votes: fewest votes that make a label.
        only: bool [row], rows whose level is asked for; None for all.
    """
    levels = np.full(len(ballots.votes), NONE, np.int8)
    confidence = np.zeros(len(levels), np.float32)
    asked = ballots.is_voted & (ballots.n_votes >= min_votes)
    for name, weighing in weighings.items():
        rows = asked & (ballots.is_response == KINDS[name])
        rows = rows if only is None else rows & only
        shares = weighing.aggregate.shares(ballots.votes[rows])
        chosen = choose(shares, weighing.weights)
        levels[rows], confidence[rows] = chosen, shares[np.arange(len(shares)), chosen]
    return Labels(levels, confidence, dict(weighings))


def untuned(weighings: Mapping[str, Weighing]) -> dict[str, Weighing]:
    """Return weighings in which all levels weigh the same."""
    return {name: replace(weighing, weights=np.zeros(N_LEVELS)) for name, weighing in weighings.items()}


def _learn(
    ballots: Ballots, rows: Bools, kind: Aggregate, settings: AnnotateSettings, *, tune: bool, seed: int
) -> Weighing:
    taught = ballots.known & (ballots.half == 0)
    if (taught & rows).sum() >= settings.min_human_rows:
        taught &= rows
    votes, people = ballots.votes[taught], ballots.people[taught]
    if kind == "dawid_skene":
        aggregate = _without_people(ballots.votes[rows], settings.dawid_skene_rows, seed)
        shares = aggregate.shares(votes)
    else:
        aggregate = _from_people(kind, votes, people, settings.smoothing)
        shares = crossed_shares(kind, votes, people, ballots.families[taught], settings.smoothing)
    counted = (votes != NONE).sum(axis=1) >= settings.min_votes
    weights = tune_weights(shares[counted], people[counted]) if tune and counted.any() else np.zeros(N_LEVELS)
    return Weighing(aggregate, weights, len(people))


def _without_people(votes: Votes, n_rows: int, seed: int) -> aggregates.Aggregate:
    from guardrail.training.annotate.dawid_skene import dawid_skene

    drawn = np.sort(np.random.default_rng([seed, len(votes)]).permutation(len(votes))[:n_rows])
    return dawid_skene(votes[drawn])


def _from_people(kind: Aggregate, votes: Votes, people: NDArray[np.int8], smoothing: float) -> aggregates.Aggregate:
    if kind == "majority":
        return aggregates.majority(votes.shape[1])
    if kind == "stacked":
        from guardrail.training.annotate.stacking import stacked

        return stacked(votes, people)
    learn = aggregates.weighted if kind == "weighted" else aggregates.calibrated
    return learn(votes, people, smoothing)


def crossed_shares(
    kind: Aggregate, votes: Votes, people: NDArray[np.int8], families: NDArray[np.int32], smoothing: float
) -> NDArray[np.float32]:
    """Return the shares of rows by what the rows of other families teach."""
    shares = np.empty((len(votes), N_LEVELS), np.float32)
    _, family = np.unique(families, return_inverse=True)
    for fold in range(N_FOLDS):
        inside = family % N_FOLDS == fold
        outside = ~inside if not inside.all() else inside
        shares[inside] = _from_people(kind, votes[outside], people[outside], smoothing).shares(votes[inside])
    return shares
