"""The benchmarks as a table, for the terminal and for Markdown."""

from guardrail.evaluation.cells import Cells
from guardrail.evaluation.datasets.catalogue import DATASETS
from guardrail.evaluation.datasets.dataset import Dataset

_MANY = 4
"""Languages from which their number is told instead. Our choice."""


def table() -> Cells:
    """Return all benchmarks: name, target, rows as published, languages, licence and where they lie."""
    header = ("name", "target", "published", "measured", "harmful", "languages", "licence", "where")
    return Cells("Public benchmarks", header, [_cells(dataset) for dataset in DATASETS.values()])


def _cells(dataset: Dataset) -> tuple[str, ...]:
    n_rows, n_harmful = dataset.counted or (None, None)
    licence = f"{dataset.licence} (non-commercial)" if dataset.is_non_commercial else dataset.licence
    where = (dataset.hub_id or _repository(dataset.url)) + (" (gated)" if dataset.is_gated else "")
    return (
        dataset.name, dataset.target.value, _number(dataset.n_published), _number(n_rows), _number(n_harmful),
        _languages(dataset.languages), licence, where,
    )  # fmt: skip


def _number(n: int | None) -> str:
    return "?" if n is None else f"{n:,}"


def _languages(codes: tuple[str, ...]) -> str:
    return ", ".join(codes) if len(codes) < _MANY else f"{len(codes)} languages"


def _repository(url: str) -> str:
    return url.removeprefix("https://").split("/blob/")[0]
