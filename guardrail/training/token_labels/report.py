"""What the stage reports, from its counts alone: cost, where onsets lie, agreement with the exact mode, spans."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardrail.audit.pages.figures import Bars, Figure, Summary, Table
from guardrail.training.token_labels.onsets import N_BINS
from guardrail.training.token_labels.settings import TokenLabelsSettings

MOST_DROPPED = 0.2
LEAST_AGREEMENT = 0.95
MOST_UNREADABLE = 0.05
"""Shares from which on the user is warned. Our choice."""

_WHERE = ("same token", "earlier", "later", "tokens earlier", "tokens later")


def summarise(counts: Mapping[str, int], settings: TokenLabelsSettings) -> Summary:
    """Return the report of a run."""
    n_rows = counts.get("rows asked about", 0)
    n_found = counts.get("onsets found", 0)
    values: dict[str, Any] = {
        "rows_asked_about": n_rows,
        "onsets_found": n_found,
        "dropped_no_onset": counts.get("dropped: no onset", 0),
        "dropped_refused": counts.get("dropped: a call was refused", 0),
        "places_read_per_row": _per(counts.get("places read by the judge", 0), n_rows),
        "places_rolled_out_per_row": _per(counts.get("places rolled out", 0), n_rows),
        "calls_per_row": _per(sum(n for _, n in _by_model(counts, "calls")), n_rows),
        "unreadable_judgements": _per(counts.get("unreadable judgements of rollouts", 0), counts.get("rollouts", 0)),
        "unreadable_readings": _per(
            counts.get("unreadable answers of the judge", 0), counts.get("places read by the judge", 0)
        ),
        "agreement": agreement(counts),
        "compared": counts.get("compared", 0),
    }
    figures: list[Figure] = [_cost(counts, n_rows), _histogram(counts, n_found)]
    if counts.get("compared"):
        figures.append(_comparison(counts, settings))
    if counts.get("spans"):
        figures.append(_spans(counts))
    return Summary(values, tuple(figures), tuple(_warnings(values, settings)))


def agreement(counts: Mapping[str, int]) -> float | None:
    """Return the share of compared rows in which both modes find the same token, or both none; None without any."""
    same = counts.get("compared: same token", 0) + counts.get("compared: neither finds an onset", 0)
    return same / counts["compared"] if counts.get("compared") else None


def _cost(counts: Mapping[str, int], n_rows: int) -> Table:
    kinds = ("calls", "tokens read", "tokens written")
    columns = ["model", *(name for kind in kinds for name in (kind, "a row"))]
    rows: list[list[str | int | float | None]] = []
    for model, _ in _by_model(counts, "calls"):
        totals = [counts.get(f"{kind}: {model}", 0) for kind in kinds]
        rows.append([model, *(value for total in totals for value in (total, _per(total, n_rows)))])
    note = "All questions, those answered by the cache included; rows are those asked about."
    return Table("Cost", columns, rows, note)


def _histogram(counts: Mapping[str, int], n_found: int) -> Bars:
    labels = [f"{100 * i // N_BINS}-{100 * (i + 1) // N_BINS} %" for i in range(N_BINS)]
    shares = [(counts.get(f"onset: {i}", 0) / n_found if n_found else 0.0) for i in range(N_BINS)]
    return Bars("Where in the answer the onset lies", labels, {"onsets": shares}, "share of rows")


def _comparison(counts: Mapping[str, int], settings: TokenLabelsSettings) -> Table:
    n = counts["compared"]
    names = ["compared: same token", "compared: neither finds an onset", "compared: earlier", "compared: later"]
    names += ["compared: only mode exact finds one", "compared: only the chosen mode finds one"]
    rows: list[Sequence[str | int | float | None]] = [
        [name.removeprefix("compared: "), counts.get(name, 0), _per(counts.get(name, 0), n)] for name in names
    ]
    early, late = counts.get("compared: tokens earlier", 0), counts.get("compared: tokens later", 0)
    rows.append(["mean of found less exact, in tokens", None, _per(late - early, _n_both(counts, "compared"))])
    rows.append(
        [f"calls in mode {settings.mode}", counts.get("compared: calls", 0), _per(counts["compared: calls"], n)]
    )
    exact = counts.get("compared: calls in mode exact", 0)
    rows.append(["calls in mode exact", exact, _per(exact, n)])
    note = f"{n} rows drawn by hash were done in both modes."
    return Table(f"Mode {settings.mode} beside mode exact", ["", "rows", "a row"], rows, note)


def _spans(counts: Mapping[str, int]) -> Table:
    n = counts["spans"]
    rows: list[Sequence[str | int | float | None]] = [
        [name, counts.get(f"spans: {name}", 0), _per(counts.get(f"spans: {name}", 0), n)] for name in _WHERE[:3]
    ]
    early, late = counts.get("spans: tokens earlier", 0), counts.get("spans: tokens later", 0)
    rows.append(["mean of found less given, in tokens", None, _per(late - early, n)])
    missed = "spans without an onset: "
    rows += [[name.removeprefix(missed), n, None] for name, n in sorted(counts.items()) if name.startswith(missed)]
    return Table("Found onset beside the given one", ["", "rows", "a row"], rows, "Rows that brought an onset.")


def _warnings(values: Mapping[str, Any], settings: TokenLabelsSettings) -> list[str]:
    found = []
    dropped = _per(values["dropped_no_onset"] + values["dropped_refused"], values["rows_asked_about"]) or 0
    if dropped > MOST_DROPPED:
        found.append(
            f"{dropped:.0%} of the rows asked about were dropped: look at the judge, the guard and the labels."
        )
    if values["agreement"] is not None and values["agreement"] < LEAST_AGREEMENT:
        found.append(
            f"mode {settings.mode!r} agrees with 'exact' on {values['agreement']:.0%} of the compared rows only: "
            "what turns risky does not stay so inside a stretch; take shorter ones, or mode 'exact'."
        )
    if settings.mode != "exact" and not values["compared"]:
        found.append(
            f"nothing says how far mode {settings.mode!r} agrees with 'exact': set compare to some hundred rows."
        )
    for name, what in (
        ("unreadable_judgements", "the guard's judgements"),
        ("unreadable_readings", "the judge's answers"),
    ):
        if (values[name] or 0) > MOST_UNREADABLE:
            found.append(f"{values[name]:.0%} of {what} could not be read; they count as neither safe nor risky.")
    return found


def _by_model(counts: Mapping[str, int], kind: str) -> list[tuple[str, int]]:
    return [(name.removeprefix(f"{kind}: "), n) for name, n in sorted(counts.items()) if name.startswith(f"{kind}: ")]


def _n_both(counts: Mapping[str, int], name: str) -> int:
    return sum(counts.get(f"{name}: {where}", 0) for where in _WHERE[:3])


def _per(n: float, of: float) -> float | None:
    return round(n / of, 4) if of else None
