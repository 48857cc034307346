"""What `relabel` reports: estimated noise, what moved where, and the ids that a person may want to look at."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from guardrail.audit.pages.figures import Figure, Matrix, Summary, Table
from guardrail.training.learners.changing import Changes
from guardrail.training.recipe.stage import Rows
from guardrail.training.relabel.noise import noise_of
from guardrail.training.relabel.rereading import Reread, Unread
from guardrail.training.relabel.settings import RelabelSettings

MOST_CHANGED = 0.2
"""Share of changed labels above which the report warns. Our choice."""


def summarise(
    found: Sequence[Reread], unread: Sequence[Unread], changes: Changes, settings: RelabelSettings, rows: Rows
) -> Summary:
    """Return the report of a run.

    Args:
        found: the kinds of rows that were read.
        unread: those that were not.
        changes: what was changed.
        settings: of the stage.
        rows: the input, for the ids of the listed changes.
    """
    values = {one.target.value: _values(one) for one in found} | {"changed": changes.n_changed, "rule": settings.rule}
    figures: list[Figure] = [figure for one in found for figure in _figures(one)]
    if found:
        figures += [*changes.tables(), _listed(found, rows, settings.n_listed)]
    warnings = [warning for one in found for warning in _warnings(one)]
    warnings += [f"{one.target.value}s: {one.why}" for one in unread]
    return Summary(values, tuple(figures), tuple(warnings))


def _values(one: Reread) -> dict[str, Any]:
    return {
        "read": len(one.before), "changed": _n_changed(one),
        "estimated_noise": round(noise_of(one.joint), 4), "levels": [level.value.lower() for level in one.levels],
    }  # fmt: skip


def _n_changed(one: Reread) -> int:
    return int((one.after != one.before).sum())


def _figures(one: Reread) -> Iterator[Figure]:
    kind, names = f"{one.target.value}s", [level.value for level in one.levels]
    cells = np.zeros((len(names), len(names)), np.int64)
    np.add.at(cells, (one.before, one.after), 1)
    yield Matrix(f"{kind}: label before and after", names, names, cells.tolist(), "before", "after")
    yield Matrix(
        f"{kind}: estimated shares of given and true labels", names, names, one.joint.round(4).tolist(), "given",
        "true, by estimate",
    )  # fmt: skip


def _listed(found: Sequence[Reread], rows: Rows, most: int) -> Table:
    """Return the ids of the changes that the teachers are surest of; of equals the earlier row."""
    moved = [
        (-float(one.gain[i]), int(one.places[i]), one.levels[one.before[i]].value, one.levels[one.after[i]].value)
        for one in found
        for i in np.argsort(-one.gain, kind="stable")[:most]
        if one.after[i] != one.before[i]
    ]
    listed = sorted(moved)[:most]
    wanted = {place for _, place, _, _ in listed}
    ids = {place: row.id for place, row in enumerate(rows) if place in wanted}
    lines = [(ids[place], old, new, round(-gain, 4)) for gain, place, old, new in listed]
    return Table("the surest changes", ("id", "before", "after", "likelier by"), lines)


def _warnings(one: Reread) -> Iterator[str]:
    share = _n_changed(one) / max(1, len(one.before))
    if share > MOST_CHANGED:
        yield (
            f"{one.target.value}s: {share:.0%} of the labels changed: either they are very noisy or the teacher knows "
            "less than they do; look at the listed ids"
        )
