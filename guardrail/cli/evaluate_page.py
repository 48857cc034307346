"""What `guardrail evaluate` writes: tables in the terminal, the Markdown page, and what stands around them."""

import importlib.metadata
import platform
import sys

from rich.console import Console

from guardrail.evaluation.cells import Cells, to_markdown, to_rich
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.rows import Tally
from guardrail.evaluation.runner import Run
from guardrail.evaluation.tables import tables

_PIPED_WIDTH = 200


def print_report(report: Report, tally: Tally) -> None:
    """Print all tables and what was measured."""
    for cells in tables(report):
        print_cells(cells)
    _console().print(_summary(report, tally), highlight=False, markup=False)


def print_cells(cells: Cells) -> None:
    """Print one table; in a pipe it is as wide as it needs to be, within bounds."""
    _console().print(to_rich(cells))


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def counts(tally: Tally) -> dict[str, int]:
    """Return what was read."""
    return {"lines": tally.n_lines, "unlabelled_rows_left_out": tally.n_unlabelled, "bad_lines_left_out": tally.n_bad}


def facts(report: Report, tally: Tally) -> dict[str, str]:
    """Return what was run, by name, in order."""
    bad = {"First bad line": tally.first_bad} if tally.first_bad else {}
    return {
        "Command": _command(),
        "Versions": _versions(),
        "Read": ", ".join(_read(tally)),
        **bad,
        **{r.judge: _told(r) for r in report.runs},
    }


def page_of(report: Report, tally: Tally) -> str:
    """Return the Markdown page."""
    head = f"""\
# Results

Made by `{_command()}`: do not edit. {_versions()}.

Intervals are 95 %. AUC ranks by the probability of harm; F1 and false positives depend on the policy. F1 strict counts
Controversial as unsafe, F1 loose as safe. False positives are Safe rows that are flagged or stopped. What every figure
means: [evaluate.md](evaluate.md).

```
{_summary(report, tally)}
```
"""
    return "\n".join([head, *(to_markdown(cells) for cells in tables(report))])


def _summary(report: Report, tally: Tally) -> str:
    lines = _read(tally) + [f"{one.judge}: {_told(one)}" for one in report.runs]
    if tally.first_bad:
        lines.append(f"first bad line: {tally.first_bad}")
    return "\n".join(lines)


def _read(tally: Tally) -> list[str]:
    return [f"{n} {name.replace('_', ' ')}" for name, n in counts(tally).items()]


def _told(run: Run) -> str:
    identity = ", ".join(
        f"{key} {value[:16] if key.endswith('sha256') else value}" for key, value in run.identity.items()
    )
    return f"{len(run.rows)} rows in {run.seconds:.0f} s; {identity}"


def _command() -> str:
    return " ".join(["guardrail", *sys.argv[1:]])


def _versions() -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("guardrail-stream", "onnxruntime", "tokenizers", "numpy")
    )
    return f"{versions}, Python {platform.python_version()}, {platform.machine()}"
