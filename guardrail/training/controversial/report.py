"""What `controversial` reports: the whole search, the votes against the labels, and what changed where."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from guardrail.audit.pages.figures import Figure, Lines, Matrix, Summary, Table
from guardrail.decision import Direction
from guardrail.training.controversial.mining import Mined
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.controversial.voting import Point
from guardrail.training.learners.changing import Changes
from guardrail.training.learners.learning import LEVELS

MOST_CROSSED = 0.01
"""Crossed conflicts above which the report warns. Our choice."""

_NAMES = tuple(level.value for level in LEVELS)


def summarise(
    mined: Sequence[Mined], unlearned: Sequence[Direction], changes: Changes, settings: ControversialSettings
) -> Summary:
    """Return the report of a run.

    Args:
        mined: the kinds of rows that were voted on.
        unlearned: those that had too few rows to learn from.
        changes: what was changed.
        settings: of the stage.
    """
    values = {one.target.value: _values(one) for one in mined} | {"changed": changes.n_changed}
    figures = [figure for one in mined for figure in _figures(one)]
    if mined:
        figures += changes.tables()
    warnings = [warning for one in mined for warning in _warnings(one, settings)]
    warnings += [
        f"{target.value}s: fewer than {settings.least_rows} Safe or Unsafe rows in a half; none was voted on"
        for target in unlearned
    ]
    return Summary(values, tuple(figures), tuple(warnings))


def _values(one: Mined) -> dict[str, Any]:
    free = ~one.is_human
    after = np.bincount(one.after[free], minlength=len(LEVELS))
    return {
        "voted": int(free.sum()), "human": int(one.is_human.sum()), "safe_share": one.chosen.safe_share,
        "objective": one.objective, "conflict": _rounded(one.chosen.conflict), "crossed": _rounded(one.chosen.crossed),
        "changed": int((one.after != one.before).sum()),
        "agreed_against_label": int(_against_label(one).sum()),
        "macro_f1": _rounded(one.chosen.macro_f1),
        "after": {name.lower(): int(n) for name, n in zip(_NAMES, after, strict=True)},
        "curve": [_curve(point) for point in one.points],
    }  # fmt: skip


def _curve(point: Point) -> dict[str, float | None]:
    scores = dict(zip(_NAMES, point.f1 or (None,) * len(_NAMES), strict=True))
    return {
        "safe_share": point.safe_share, "conflict": _rounded(point.conflict), "crossed": _rounded(point.crossed),
        "macro_f1": _rounded(point.macro_f1), **{f"f1_{name.lower()}": _rounded(f1) for name, f1 in scores.items()},
    }  # fmt: skip


def _against_label(one: Mined) -> Any:
    """Return bool [voted row]: both agree on a level that is not the label."""
    return ~one.is_human & ~one.votes.is_conflict & (one.votes.level != one.before)


def _figures(one: Mined) -> Iterator[Figure]:
    kind = f"{one.target.value}s"
    curves = [_curve(point) for point in one.points]
    names = [name for name in curves[0] if name != "safe_share" and any(curve[name] is not None for curve in curves)]
    yield Lines(
        f"{kind}: share of Safe in the loose classifier's weight", [point.safe_share for point in one.points],
        {name.replace("_", " "): [curve[name] for curve in curves] for name in names}, "share of Safe",
        "share of rows, or F1", {"chosen": one.chosen.safe_share},
    )  # fmt: skip
    yield Table(
        f"{kind}: the search", [name.replace("_", " ") for name in curves[0]], [tuple(c.values()) for c in curves],
        "The strict classifier mirrors the share. The F1 of Controversial alone is no goal: it is often highest where "
        "most rows are in conflict (1:9) and Safe and Unsafe are ruined.",
    )  # fmt: skip
    free = ~one.is_human
    cells = np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    np.add.at(cells, (one.before[free], one.votes.level[free]), 1)
    yield Matrix(f"{kind}: label and vote", _NAMES, _NAMES, cells.tolist(), "label before", "vote")


def _warnings(one: Mined, settings: ControversialSettings) -> Iterator[str]:
    kind = f"{one.target.value}s"
    if one.chosen.crossed > MOST_CROSSED:
        yield (
            f"{kind}: {one.chosen.crossed:.1%} of the votes are crossed (the loose classifier says Unsafe, the strict "
            "one Safe): the two differ by more than their shares; teach them more rows, or use weights"
        )
    if not one.is_met:
        yield (
            f"{kind}: even the lowest share has more than {settings.most_controversial:.0%} conflicts; "
            "the classifiers tell little apart"
        )
    if one.objective == "share" != settings.objective:
        yield (
            f"{kind}: people's labels lack {settings.least_rows} rows of one of the three levels, so the share was not "
            "chosen by F1"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
