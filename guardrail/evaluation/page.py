"""A report as one HTML file: curves, confusions and bars, and every table of the terminal."""

from collections.abc import Iterator, Mapping

from guardrail.audit.pages.figures import Bars, Curves, Figure, Matrix, Summary, Table
from guardrail.audit.pages.page import render
from guardrail.decision import Direction
from guardrail.evaluation.cells import Cells
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.report import Section
from guardrail.evaluation.rows import TARGETS
from guardrail.evaluation.tables import tables

_BINS = ("ahead", "hit", "1 to 32", "33 to 64", "65 to 128", "129 to 256", "later", "missed")


def to_html(report: Report, facts: Mapping[str, str]) -> str:
    """Return a page that shows a report; it needs no network, no other file and no script.

    Args:
        report: of all judges.
        facts: of the run, by name, in order.
    """
    pictures = [picture for direction in TARGETS for picture in _pictures(direction, report)]
    shown = Summary(figures=(*pictures, *(_table(cells) for cells in tables(report))))
    return render("Evaluation", shown, facts)


def _pictures(direction: Direction, report: Report) -> Iterator[Figure]:
    judged = report.by_judge(direction)
    name = f"{direction.value.capitalize()}s"
    if not judged:
        return
    yield from _curves(name, judged)
    for judge, section in judged.items():
        if one := section.confusion:
            title = f"{name}, categories: {judge}"
            yield Matrix(title, one.gold, one.named, one.counts, "labelled", "named")
    yield from _latency(name, judged)


def _curves(name: str, judged: Mapping[str, Section]) -> Iterator[Figure]:
    ranked = {judge: section for judge, section in judged.items() if section.curves.roc}
    if ranked:
        roc = {f"{judge}, AUC {s.overall.auc.value or 0:.3f}": s.curves.roc for judge, s in ranked.items()}
        yield Curves(
            f"{name}, ROC", roc, "share of harmless rows called harmful", "share of harmful rows found", "chance"
        )
        steps = {
            f"{judge}, average precision {s.overall.average_precision.value or 0:.3f}": s.curves.precision_recall
            for judge, s in ranked.items()
        }
        yield Curves(f"{name}, precision and recall", steps, "recall", "precision")
    reliable = {
        f"{judge}, error {s.calibration.error.value or 0:.3f}": [(b.score, b.harmful.value or 0.0) for b in
                                                                s.calibration.bins]
        for judge, s in judged.items()
        if s.calibration.bins
    }  # fmt: skip
    yield Curves(f"{name}, reliability", reliable, "probability of harm that is told, mean of a bin",
                 "share that is harmful", "a probability that is right")  # fmt: skip


def _latency(name: str, judged: Mapping[str, Section]) -> Iterator[Figure]:
    streams = {judge: section.streaming for judge, section in judged.items() if section.streaming}
    spans = {judge: one.policy_bins.counts for judge, one in streams.items() if one.policy_bins}
    if spans:
        yield Bars(f"{name}, stops by tokens from the end of the risky span", _BINS, spans, "answers")
    onsets = {judge: one.onset_bins.counts for judge, one in streams.items() if one.onset_bins}
    if onsets:
        yield Bars(f"{name}, stops by tokens from the first risky one", _BINS, onsets, "answers")


def _table(cells: Cells) -> Table:
    return Table(cells.title, cells.header, cells.rows, cells.note)
