"""What `mix` reports: what was left out and why, and what is left."""

import numpy as np
from numpy.typing import NDArray

from guardrail.audit.pages.figures import Bars, Figure, Matrix, Scalar, Summary, Table
from guardrail.training.mix.card import Cleaning
from guardrail.training.mix.counts import SHOWN_RISKS, MixCounts
from guardrail.training.mix.repeats import EQUAL, NEAR
from guardrail.training.mix.settings import MixSettings
from guardrail.training.mix.splits import SPLITS
from guardrail.training.mix.survey import RISKS, Survey

_MOST_NAMES = 30
"""Values of a dimension that are drawn; the data card lists all. Our choice."""


def summarise(
    survey: Survey, counts: MixCounts, cleaning: Cleaning, met: NDArray[np.int64], warnings: list[str]
) -> Summary:
    """Return the report on a mix."""
    values = {
        "rows": counts.n_rows, "families": counts.n_families, "by_split": counts.by_split,
        "by_risk": counts.by_risk["risk"], "human": counts.n_human, "conflicts": cleaning.n_conflicts,
        "cleared": cleaning.n_cleared,
        "duplicates": sum(cleaning.dropped.get(reason, 0) for reason in (EQUAL, NEAR)),
        "leaks": sum(n for reason, n in cleaning.dropped.items() if reason.startswith("leak: ")),
    }  # fmt: skip
    figures: list[Figure] = [
        _left_out(cleaning), _costs(survey),
        *(_by_split(title, counts, dimension) for title, dimension in
          (("Languages", "lang"), ("Risk levels", "risk"), ("Kinds of harm", "category"), ("Sources", "source"))),
        _languages(counts), _conflicts(met),
    ]  # fmt: skip
    return Summary(values, tuple(figures), tuple(warnings))


def warnings_of(counts: MixCounts, settings: MixSettings) -> list[str]:
    """Return what the user should look at."""
    said = [] if settings.evaluation else ["No evaluation set is named ([mix.evaluation]): leaks were not looked for."]
    wanted = {
        "train": 1 - settings.validation - settings.test,
        "validation": settings.validation,
        "test": settings.test,
    }
    said += [f"Nothing fell into {name}." for name, share in wanted.items() if share > 0 and not counts.by_split[name]]
    return said


def _left_out(cleaning: Cleaning) -> Bars:
    kept = cleaning.n_in - sum(cleaning.dropped.values())
    return Bars(
        "Rows kept and left out", ["kept", *cleaning.dropped], {"rows": [kept, *cleaning.dropped.values()]}, "rows"
    )


def _costs(survey: Survey) -> Table:
    """Return what each reason cost, by the risk level of the rows."""
    rows: list[list[Scalar]] = []
    for number, reason in enumerate(survey.reason_names):
        by_risk = np.bincount(survey.columns["risk"][survey.reasons == number], minlength=len(RISKS))
        if by_risk.any():
            rows.append(
                [reason or "kept", *(int(by_risk[RISKS.index(risk)]) for risk in SHOWN_RISKS), int(by_risk.sum())]
            )
    return Table(
        "What that cost, by risk level", ["", *SHOWN_RISKS[:-1], "no label", "all"], rows,
        "Rows are only left out, never taken twice. A row is counted once, for the first reason that held.",
    )  # fmt: skip


def _by_split(title: str, counts: MixCounts, dimension: str) -> Bars:
    found = list(counts.by_split_of[dimension].items())[:_MOST_NAMES]
    more = len(counts.by_split_of[dimension]) - len(found)
    series = {split: [by[i] for _, by in found] for i, split in enumerate(SPLITS)}
    title = f"{title} (the largest {_MOST_NAMES} of {_MOST_NAMES + more})" if more else title
    return Bars(title, [name for name, _ in found], series, "rows")


def _languages(counts: MixCounts) -> Matrix:
    found = list(counts.by_risk["lang"].items())[:_MOST_NAMES]
    return Matrix(
        "Risk levels by language", [name for name, _ in found], [*SHOWN_RISKS[:-1], "no label"],
        [by for _, by in found], "language", "risk",
    )  # fmt: skip


def _conflicts(met: NDArray[np.int64]) -> Matrix:
    numbers = [RISKS.index(risk) for risk in SHOWN_RISKS]
    values = [[int(met[row, column]) for column in numbers] for row in numbers]
    names = [*SHOWN_RISKS[:-1], "no label"]
    return Matrix("Labels of duplicates", names, names, values, "kept", "left out")
