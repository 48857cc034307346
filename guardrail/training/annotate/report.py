"""What `annotate` says of its run: how good its labels are, where they err, and how far annotators agree."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from guardrail.audit.pages.figures import Bars, Figure, Lines, Matrix, Scalar, Summary, Table
from guardrail.evaluation.metrics import Estimate, rate, scores
from guardrail.training.annotate.aggregates import N_LEVELS, confusion
from guardrail.training.annotate.agreement import alpha, kappas
from guardrail.training.annotate.ballots import LEVELS, NONE, Ballots
from guardrail.training.annotate.comparing import Comparison, compare
from guardrail.training.annotate.measuring import calibration
from guardrail.training.annotate.settings import AnnotateSettings
from guardrail.training.annotate.weighing import Labels

NAMES = tuple(level.value for level in LEVELS)


def summarise(
    ballots: Ballots, labels: Labels, settings: AnnotateSettings, seed: int, counts: Mapping[str, int]
) -> Summary:
    """Return the report of a run.

    Args:
        ballots: the votes.
        labels: what they came to.
        settings: of the stage.
        seed: of the recipe.
        counts: what was counted while the rows were voted on and labelled.
    """
    compared = compare(ballots, labels, settings, seed)
    values = _values(ballots, labels, compared, settings) | {"counts": dict(sorted(counts.items()))}
    figures = [*_of_people(ballots, labels, compared), *_details(counts), *_of_votes(ballots, labels)]
    return Summary(values, tuple(figures), tuple(_warnings(ballots, compared, settings)))


def _values(ballots: Ballots, labels: Labels, compared: Comparison, settings: AnnotateSettings) -> dict[str, Any]:
    low = compared.chosen.low
    return {
        "aggregate": settings.aggregate,
        "macro_f1": _as_values(compared.chosen),
        "target_f1": settings.target_f1,
        "passed": None if low is None else low >= settings.target_f1,
        "n_people": {
            "to_learn_from": int((ballots.known & ~compared.rows).sum()),
            "measured": int(compared.rows.sum()),
        },
        "aggregates": {name: _as_values(found) for name, found in compared.aggregates.items()},
        "annotators": {name: _as_values(found) for name, found in compared.annotators.items()},
        "alpha": alpha(ballots.votes[ballots.is_voted]),
        "weights": {
            name: dict(zip(NAMES, np.exp(weighing.weights).round(4).tolist(), strict=True))
            for name, weighing in labels.weighings.items()
        },
    }


def _as_values(found: Estimate) -> dict[str, float | int | None]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def _of_people(ballots: Ballots, labels: Labels, compared: Comparison) -> Iterator[Figure]:
    """Yield what people's labels show; nothing without them."""
    rows = compared.rows
    if not rows.any():
        return
    people, called = ballots.people[rows], labels.levels[rows]
    rule = (
        f"Macro F1 over the levels that people gave, {rows.sum()} rows that nothing was learned from; 95 % intervals."
    )
    yield _ranking("Ways to put the votes together", "aggregate", compared.aggregates, rule)
    yield _ranking("Annotators alone", "annotator", compared.annotators, f"{rule} Rows without its vote do not count.")
    yield _levels(people, called)
    table = confusion(people, called).tolist()
    yield Matrix("People's label and the panel's", NAMES, NAMES, table, "people", "panel")
    curve = calibration(people, called, labels.confidence[rows])
    title = "Is the panel as right as it is sure?"
    series = {"right": curve.accuracy, "if it were": curve.centres}
    yield Lines(title, curve.centres, series, "confidence", "share that is right")


def _ranking(title: str, column: str, found: Mapping[str, Estimate], note: str) -> Table:
    rows: list[list[Scalar]] = [[name, e.value, e.low, e.high, e.n] for name, e in found.items()]
    return Table(title, (column, "macro F1", "from", "to", "rows"), rows, note)


def _levels(people: Any, called: Any) -> Table:
    rows: list[list[Scalar]] = []
    for level, name in enumerate(NAMES):
        found = scores((people == level) & (called != NONE), called == level)
        rows.append([name, found.precision.value, found.recall.value, found.f1.value, int((people == level).sum())])
    left = int((called == NONE).sum())
    note = f"{left} rows with too few votes have no level and do not count." if left else ""
    return Table("Levels", ("level", "precision", "recall", "F1", "people's"), rows, note)


def _details(counts: Mapping[str, int]) -> Iterator[Figure]:
    """Yield how often category and refusal are people's; nothing where people gave neither."""
    rows: list[list[Scalar]] = []
    for name in ("category", "refusal"):
        n_alike, n_unlike = (counts.get(f"{name}: {said}", 0) for said in ("as people say", "not as people say"))
        if n_alike + n_unlike:
            share = rate(n_alike, n_alike + n_unlike)
            rows.append([name, share.value, share.low, share.high, share.n])
    if rows:
        note = "Rows that people labelled, of both halves: nothing is learned of these. Wilson intervals, 95 %."
        yield Table("Category and refusal", ("", "as people say", "from", "to", "rows"), rows, note)


def _of_votes(ballots: Ballots, labels: Labels) -> Iterator[Figure]:
    """Yield what the votes alone show."""
    votes = ballots.votes[ballots.is_voted]
    by_annotator = {
        name: [int((votes[:, i] == level).sum()) for level in (*range(N_LEVELS), NONE)]
        for i, name in enumerate(ballots.names)
    }
    yield Bars("Votes", (*NAMES, "no vote"), by_annotator, "rows")
    given = labels.levels[ballots.is_voted & ~ballots.is_human]
    counts = [int((given == level).sum()) for level in (*range(N_LEVELS), NONE)]
    yield Bars("What the votes come to", (*NAMES, "needs review"), {"rows": counts}, "rows that people did not label")
    table = [
        [name, *(None if np.isnan(kappa) else float(kappa) for kappa in row)]
        for name, row in zip(ballots.names, kappas(votes), strict=True)
    ]
    found = alpha(votes)
    note = "Krippendorff's alpha of all: " + ("not defined." if found is None else f"{found:.3f}.")
    yield Table("Agreement of two annotators, Cohen's kappa", ("", *ballots.names), table, note)


def _warnings(ballots: Ballots, compared: Comparison, settings: AnnotateSettings) -> Iterator[str]:
    n_taught, n_measured = int((ballots.known & ~compared.rows).sum()), int(compared.rows.sum())
    if not n_taught + n_measured:
        yield "no row has people's label: nothing says how good these labels are"
        return
    if min(n_taught, n_measured) < settings.min_human_rows:
        yield (
            f"people labelled {n_taught} rows to learn from and {n_measured} to measure with, fewer than "
            f"{settings.min_human_rows}: take the figures as a hint"
        )
    found = compared.chosen
    if found.low is not None and found.low < settings.target_f1:
        yield (
            f"macro F1 on people's labels is {found.value:.3f} ({found.low:.3f} to {found.high:.3f}): "
            f"that is not surely {settings.target_f1:g}"
        )
    for name in compared.better:
        yield f"annotator {name} alone does surely better: macro F1 {compared.annotators[name].value:.3f}"
    people = ballots.people[ballots.known]
    missing = [name for level, name in enumerate(NAMES) if not (people == level).any()]
    if missing:
        yield f"people never said {' or '.join(missing)}: nothing is known of how annotators use it"
