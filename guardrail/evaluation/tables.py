"""Reports as tables, judges side by side."""

from collections.abc import Iterator, Mapping

from guardrail.decision import Direction
from guardrail.evaluation.calibration import BINS
from guardrail.evaluation.categories import CategoryFigures, Confusion
from guardrail.evaluation.cells import Cells, found, percent, ratio, signed
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.pairing import Pairing
from guardrail.evaluation.report import Figures, Section
from guardrail.evaluation.rows import TARGETS
from guardrail.evaluation.streaming_tables import latency_table, published_tables, streaming_tables

SHOWN_IDS = 3
"""Rows on which two judges differ that a table names; all are in the JSON. Our choice."""

Judges = Mapping[str, Section]


def tables(report: Report) -> Iterator[Cells]:
    """Yield all tables of a report, prompts first."""
    if report.ordinary:
        yield _ordinary(report)
    for direction in TARGETS:
        if judged := report.by_judge(direction):
            yield from _tables(direction, judged)
    if report.pairings:
        yield from _pairings(report)
    yield from published_tables(report.published)


def _ordinary(report: Report) -> Cells:
    rows: list[tuple[str, ...]] = [
        (run.judge, str(one.false_stops.n), percent(one.false_positives), percent(one.false_stops))
        for run, one in zip(report.runs, report.ordinary_found, strict=True)
    ]
    title = f"Ordinary prompts ({', '.join(report.ordinary)})"
    return Cells(title, ("judge", "rows", "flagged or stopped", "stopped"), rows)


def _tables(direction: Direction, judged: Judges) -> Iterator[Cells]:
    name = direction.value.capitalize()
    overall = [(judge, *_figures(section.overall)) for judge, section in judged.items()]
    yield Cells(f"{name}s, all rows", ("judge", *_FIGURES), overall)
    yield _macro(name, judged)
    yield _ranking(name, judged)
    yield Cells(f"{name}s by source", ("source", "judge", *_FIGURES), _grouped(judged, "by_source"))
    yield Cells(f"{name}s by language", ("language", "judge", *_FIGURES), _grouped(judged, "by_language"))
    categories = [
        (key, judge, *_category(figures))
        for judge, section in judged.items()
        for key, figures in section.by_category.items()
    ]
    if categories:
        category_header = ("category", "judge", "rows", "recall", "stopped", "named right")
        yield Cells(f"{name}s by category (harmful rows)", category_header, sorted(categories))
    for judge, section in judged.items():
        if section.confusion:
            yield _confusion(f"{name}s, labelled category by named one, {judge}", section.confusion)
    refusals = [(j, str(s.refusal.f1.n), *found(s.refusal)) for j, s in judged.items() if s.refusal]
    if refusals:
        yield Cells(f"{name}s, refusals found", ("judge", "rows", "precision", "recall", "F1"), refusals)
    yield from latency_table(name, judged)
    yield from streaming_tables(name, judged)


_FIGURES = ("safe", "harmful", "AUC", "precision", "recall", "F1 strict", "F1 loose", "false positives", "failed")


def _figures(f: Figures) -> tuple[str, ...]:
    return (
        str(f.n_safe), str(f.n_controversial + f.n_unsafe), ratio(f.auc), percent(f.strict.precision),
        percent(f.strict.recall), ratio(f.strict.f1), ratio(f.loose.f1), percent(f.false_positives), str(f.n_failed),
    )  # fmt: skip


def _grouped(judged: Judges, attribute: str) -> list[tuple[str, ...]]:
    cells = [
        (key, name, *_figures(f)) for name, section in judged.items() for key, f in getattr(section, attribute).items()
    ]
    return sorted(cells)


def _macro(name: str, judged: Judges) -> Cells:
    header = ("judge", "sets", "AUC", "F1 strict", "F1 loose", "false positives", "F1 best mode (oracle)")
    rows = []
    for judge, section in judged.items():
        one = section.macro
        n_sets = f"{one.n_f1_sources} / {one.n_auc_sources} / {one.n_false_positive_sources}"
        rows.append((
            judge, n_sets, ratio(one.auc), ratio(one.f1_strict), ratio(one.f1_loose), percent(one.false_positives),
            ratio(one.f1_best_mode_oracle),
        ))  # fmt: skip
    note = (
        "Sets: with harmful rows (F1) / with both classes (AUC) / with Safe rows (false positives). Best mode takes "
        "the better of strict and loose for each set, by its test labels: whoever must choose before reaches less."
    )
    return Cells(f"{name}s, means over data sets (macro)", header, rows, note)


def _ranking(name: str, judged: Judges) -> Cells:
    header = (
        "judge",
        "average precision",
        "recall at 1 % false positives",
        f"calibration error ({BINS} bins)",
        "Brier",
    )
    rows: list[tuple[str, ...]] = [
        (judge, ratio(s.overall.average_precision), percent(s.overall.recall_at_1), ratio(s.calibration.error),
         ratio(s.calibration.brier))
        for judge, s in judged.items()
    ]  # fmt: skip
    return Cells(f"{name}s, ranking and calibration of p(Controversial) + p(Unsafe)", header, rows)


def _category(figures: CategoryFigures) -> tuple[str, ...]:
    return str(figures.recall.n), percent(figures.recall), percent(figures.stopped), percent(figures.named)


def _confusion(title: str, one: Confusion) -> Cells:
    rows = [(name, *map(str, counts)) for name, counts in zip(one.gold, one.counts, strict=True)]
    return Cells(title, ("labelled", *one.named), rows)


def _pairings(report: Report) -> Iterator[Cells]:
    header: tuple[str, ...] = ("rows", "second", "less first", "F1 strict", "F1 loose", "AUC", "false positives")
    less: list[tuple[str, ...]] = [
        (f"{direction.value}s, {one.n}", one.second, one.first, signed(one.f1_strict), signed(one.f1_loose),
         signed(one.auc), signed(one.false_positives))
        for direction, one in report.pairings
    ]  # fmt: skip
    note = "Paired 95 % intervals: both are measured on the same resamples. A star: the interval leaves 0 out."
    yield Cells("Judges on the same rows, differences", header, less, note)
    header = ("rows", "first", "second", "only first right", "only second right", "p", "same call", "same level",
              "same action", "differing rows")  # fmt: skip
    note = (
        "Right and call are read strictly. p: McNemar's test, rows taken as independent. The JSON names all differing "
        "rows."
    )
    rows = [(f"{direction.value}s, {one.n}", one.first, one.second, *_agreement(one))
            for direction, one in report.pairings]  # fmt: skip
    yield Cells("Judges on the same rows, agreement", header, rows, note)


def _agreement(one: Pairing) -> tuple[str, ...]:
    test = one.mcnemar
    ids = ", ".join(id_ for _, id_ in one.differing[:SHOWN_IDS])
    more = ", ..." if len(one.differing) > SHOWN_IDS else ""
    return (
        str(test.n_first), str(test.n_second), f"{test.p_value:.2g} ({test.test})", percent(one.same_call),
        percent(one.agreement), percent(one.same_action), f"{len(one.differing)}: {ids}{more}" if ids else "0",
    )  # fmt: skip
