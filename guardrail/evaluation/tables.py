"""Reports as tables, one set of cells for the terminal and for Markdown, judges side by side; and as JSON values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from guardrail.actions import Action
from guardrail.decision import Direction
from guardrail.evaluation.metrics import Estimate, rate
from guardrail.evaluation.report import CategoryFigures, Figures, Section, sections
from guardrail.evaluation.rows import TARGETS
from guardrail.evaluation.runner import Run
from guardrail.taxonomy import RiskLevel

Sections = dict[Direction, Section]


@dataclass(frozen=True, slots=True)
class Cells:
    """One table.

    Attributes:
        title: what it shows.
        header: column names.
        rows: cells as text.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """Runs of several judges on the same rows, with all figures.

    Attributes:
        runs: one a judge.
        found: the figures of each run.
        ordinary: sources of ordinary requests.
    """

    runs: tuple[Run, ...]
    found: tuple[Sections, ...]
    ordinary: tuple[str, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run], ordinary: tuple[str, ...] = ()) -> "Report":
        """Work out all figures."""
        return cls(tuple(runs), tuple(sections(run) for run in runs), ordinary)

    def tables(self) -> Iterator[Cells]:
        """Yield all tables, prompts first."""
        if self.ordinary:
            yield self._ordinary()
        for direction in TARGETS:
            judged = {r.judge: s[direction] for r, s in zip(self.runs, self.found, strict=True) if direction in s}
            if judged:
                yield from _tables(direction.value.capitalize(), judged)

    def _ordinary(self) -> Cells:
        rows: list[tuple[str, ...]] = [
            (run.judge, str(found.false_stops.n), percent(found.false_positives), percent(found.false_stops))
            for run in self.runs
            for found in (_ordinary(run, self.ordinary),)
        ]
        title = f"Ordinary prompts ({', '.join(self.ordinary)})"
        return Cells(title, ("judge", "rows", "flagged or stopped", "stopped"), rows)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values: judge -> identity, seconds, rows, a section a direction, and where sources
        of ordinary requests are named, the false positives on their prompts.
        """
        return {
            run.judge: {
                "identity": run.identity,
                "seconds": round(run.seconds, 3),
                "rows": len(run.rows),
                **({"ordinary": asdict(_ordinary(run, self.ordinary))} if self.ordinary else {}),
                **{direction.value: asdict(section) for direction, section in found.items()},
            }
            for run, found in zip(self.runs, self.found, strict=True)
        }


@dataclass(frozen=True, slots=True)
class _Ordinary:
    """Safe prompts of the sources of ordinary requests: share flagged or stopped, share stopped."""

    false_positives: Estimate
    false_stops: Estimate


def _ordinary(run: Run, sources: Collection[str]) -> _Ordinary:
    actions = [
        judgement.action
        for row, judgement in zip(run.rows, run.judgements, strict=True)
        if row.source in sources and row.target is Direction.PROMPT and row.risk is RiskLevel.SAFE
    ]
    n, n_stopped = len(actions), actions.count(Action.STOP)
    return _Ordinary(rate(n - actions.count(Action.ALLOW), n), rate(n_stopped, n))


def _tables(direction: str, judged: Mapping[str, Section]) -> Iterator[Cells]:
    overall = [(name, *_figures(section.overall)) for name, section in judged.items()]
    yield Cells(f"{direction}s, all rows", ("judge", *_FIGURES), overall)
    yield Cells(f"{direction}s by source", ("source", "judge", *_FIGURES), _grouped(judged, "by_source"))
    yield Cells(f"{direction}s by language", ("language", "judge", *_FIGURES), _grouped(judged, "by_language"))
    categories = [
        (key, name, *_category(figures))
        for name, section in judged.items()
        for key, figures in section.by_category.items()
    ]
    if categories:
        category_header = ("category", "judge", "rows", "recall", "stopped", "named right")
        yield Cells(f"{direction}s by category (harmful rows)", category_header, sorted(categories))
    latency: list[tuple[str, ...]] = [(name, *_latency(section)) for name, section in judged.items() if section.latency]
    if latency:
        header = ("judge", "rows", "ahead", "hit", "late", "missed", "hits", "first 128", "median", "p90")
        yield Cells(f"{direction}s, detection latency in tokens from the labelled onset", header, latency)


_FIGURES = ("safe", "harmful", "AUC", "precision", "recall", "F1 strict", "F1 loose", "false positives", "failed")


def _figures(f: Figures) -> tuple[str, ...]:
    return (
        str(f.n_safe), str(f.n_controversial + f.n_unsafe), ratio(f.auc), percent(f.strict.precision),
        percent(f.strict.recall), ratio(f.strict.f1), ratio(f.loose.f1), percent(f.false_positives), str(f.n_failed),
    )  # fmt: skip


def _grouped(judged: Mapping[str, Section], attribute: str) -> list[tuple[str, ...]]:
    cells = [
        (key, name, *_figures(f)) for name, section in judged.items() for key, f in getattr(section, attribute).items()
    ]
    return sorted(cells)


def _category(figures: CategoryFigures) -> tuple[str, ...]:
    return str(figures.recall.n), percent(figures.recall), percent(figures.stopped), percent(figures.named)


def _latency(section: Section) -> tuple[str, ...]:
    found = section.latency
    if found is None:
        return ()
    counts = (found.n, found.n_ahead, found.n_hit, found.n_late, found.n_missed)
    quantiles = ("-" if q is None else f"{q:.0f}" for q in (found.median_tokens, found.p90_tokens))
    return (*map(str, counts), percent(found.hits), percent(found.first_128), *quantiles)


def ratio(estimate: Estimate) -> str:
    """Return a figure in [0, 1] with its interval, three digits."""
    if estimate.value is None:
        return "-"
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def percent(estimate: Estimate) -> str:
    """Return a share with its interval, in percent."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"


def to_rich(cells: Cells) -> Table:
    """Return a table for the terminal."""
    table = Table(title=cells.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in cells.header:
        table.add_column(name)
    for row in cells.rows:
        table.add_row(*row)
    return table


def to_markdown(cells: Cells) -> str:
    """Return a table for a page."""
    lines = [cells.header, tuple("---" for _ in cells.header), *cells.rows]
    return f"## {cells.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
