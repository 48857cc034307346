"""Every aggregate and every annotator against people's labels that none of them has seen."""

from dataclasses import dataclass

import numpy as np

from guardrail.evaluation.metrics import Estimate
from guardrail.training.annotate.ballots import Ballots, Bools
from guardrail.training.annotate.measuring import macro_f1s
from guardrail.training.annotate.settings import AGGREGATES, AnnotateSettings
from guardrail.training.annotate.weighing import Labels, label, learn, untuned


@dataclass(frozen=True, slots=True)
class Comparison:
    """Macro F1 on people's labels of half 1.

    Attributes:
        chosen: of the labels that the stage hands on.
        aggregates: of all ways, by name; those whose levels' weights are tuned as "NAME, tuned".
        annotators: of each alone, by name, on the rows that it voted on.
        better: names of the annotators that are surely better alone than the labels that the stage hands on.
        rows: bool [row], the rows that were measured.
    """

    chosen: Estimate
    aggregates: dict[str, Estimate]
    annotators: dict[str, Estimate]
    better: tuple[str, ...]
    rows: Bools


def compare(ballots: Ballots, labels: Labels, settings: AnnotateSettings, seed: int) -> Comparison:
    """Return how good each way is; without people's labels on half 0 no way learns from them, and none is compared."""
    rows = ballots.known & (ballots.half == 1)
    called = {"chosen": labels.levels}
    if rows.any() and (ballots.known & ~rows).any():
        for kind in AGGREGATES:
            tuned = learn(ballots, kind, settings, tune=True, seed=seed)
            called[kind] = label(ballots, untuned(tuned), settings.min_votes, rows).levels
            called[f"{kind}, tuned"] = label(ballots, tuned, settings.min_votes, rows).levels
    n_ways = len(called)
    alone = {f"annotator {name}": ballots.votes[:, i] for i, name in enumerate(ballots.names)}
    measured = {name: levels[rows] for name, levels in (called | alone).items()}
    estimates, drawn = macro_f1s(ballots.people[rows], measured, ballots.families[rows])
    found = list(estimates.values())
    least = np.quantile(drawn[:, n_ways:] - drawn[:, :1], 0.025, axis=0) if len(drawn) else np.zeros(len(alone))
    return Comparison(
        found[0],
        dict(zip(list(called)[1:], found[1:n_ways], strict=True)),
        dict(zip(ballots.names, found[n_ways:], strict=True)),
        tuple(name for name, low in zip(ballots.names, least, strict=True) if low > 0),
        np.asarray(rows, np.bool_),
    )
