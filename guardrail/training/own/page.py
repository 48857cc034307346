"""The page of a run, in its folder: what the model is, how good it is on held-out rows, how to use it."""

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from guardrail.evaluation.metrics import Estimate
from guardrail.training.own.measuring import NOTHING, OTHER, Measured
from guardrail.training.own.settings import OwnSettings
from guardrail.training.own.survey import SAID, Survey
from guardrail.whole_files import write_whole

if TYPE_CHECKING:
    from guardrail.training.own.stage import Outcome


def write_page(output: Path, rows: str, settings: OwnSettings, survey: Survey, outcome: "Outcome") -> None:
    """Write README.md into the folder of a run."""
    lines = [*_head(output, rows, settings), *_figures(outcome), *_rows(survey), _LIMITS]
    write_whole(output / "README.md", ("\n".join(lines) + "\n").encode("utf-8", "replace"))


def usage(output: Path) -> tuple[str, str, str]:
    """Return the lines with which the model is used: in Python, as a service, and on a text."""
    model, policy = output / "model", output / "policy.toml"
    options = f"--model {quote(str(model))} --policy {quote(str(policy))}"
    return (
        f'guard = Guard.load("{model}", policy="{policy}")',
        f"guardrail serve {options}",
        f'guardrail check {options} "a prompt"',
    )


def share(estimate: Estimate) -> str:
    """Return a figure with its interval, as text."""
    if estimate.value is None:
        return "-"
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


def figure_rows(outcome: "Outcome") -> Iterator[tuple[str, ...]]:
    """Yield the held-out figures, a row a direction, those of the start beneath."""
    before = {one.direction: one for one in outcome.before}
    for one in outcome.figures:
        yield _cells(SAID[one.direction].capitalize(), one)
        if one.direction in before:
            yield _cells("  the start, before", before[one.direction])


FIGURES = ("held-out rows", "safe", "harmful", "AUC", "F1", "harmful found", "unsafe found", "false positives")


def _cells(name: str, one: Measured) -> tuple[str, ...]:
    told = (one.auc, one.f1, one.recall, one.unsafe_recall, one.false_positives)
    return name, str(one.n_safe), str(one.n_harmful), *map(share, told)


def confusion_rows(one: Measured) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of a table: what rows are against what they are called."""
    named = {called for _, called in one.confusion}
    trues = sorted({true for true, _ in one.confusion})
    columns = [*(name for name in sorted(named | set(trues)) if name not in (NOTHING, OTHER)), OTHER, NOTHING]
    header = (f"{SAID[one.direction]} that are", *(f"called {name}" for name in columns[:-1]), NOTHING)
    return header, [(true, *(str(one.confusion.get((true, called), 0)) for called in columns)) for true in trues]


def _head(output: Path, rows: str, settings: OwnSettings) -> Iterator[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("guardrail-stream", "torch", "onnx"))
    yield f"# {output.name}"
    yield ""
    yield (
        f"A guard model for a policy of one's own, made by `guardrail train own` from {rows} ({versions}, Python "
        f"{platform.python_version()}). It started from `{settings.start}`: {settings.epochs:g} epochs, learning rate "
        f"{settings.learning_rate:g} (heads {settings.head_learning_rate:g}), seed {settings.seed}."
    )
    yield ""
    python, serve, check = usage(output)
    yield from ("```python", "from guardrail import Guard", "", python, "```", "", "```sh", serve, check, "```", "")
    yield (
        f"`model/` is the export ({settings.precision}), `training/checkpoint/` the checkpoint as published ones are, "
        "`policy.toml` the thresholds and a rule for each category, `rows/` the parts of the rows, `report.json` the "
        "figures below."
    )
    yield ""


def _figures(outcome: "Outcome") -> Iterator[str]:
    n = outcome.n_rows
    yield "## How good it is"
    yield ""
    yield (
        f"Trained on {n['training']} rows (but for one family in 50, which draws the curves of the training), "
        f"thresholds chosen on {n['thresholds']}, measured on {n['held_out']} others; "
        "near duplicates stand on one side. Under `policy.toml`, by the export; intervals are 95 %. Harmful is "
        "whatever is not safe; found is what is flagged or stopped. Few rows make wide intervals."
    )
    yield ""
    yield from _table(FIGURES, figure_rows(outcome))
    for one in outcome.figures:
        if one.confusion:
            header, cells = confusion_rows(one)
            yield from _table(header, cells)
    yield f"The export decides {outcome.agreement:.1%} of these rows as the trained network does."
    yield from ("", *(f"- {fact}" for fact in outcome.facts), "")


def _rows(survey: Survey) -> Iterator[str]:
    yield "## The rows"
    yield ""
    cells = [
        (SAID[target].capitalize(), risk.value, name or "-", str(n))
        for (target, risk, name), n in sorted(survey.by_kind.items())
    ]
    yield from _table(("what", "label", "category", "rows"), cells)
    yield from (f"- {warning}" for warning in survey.warnings)
    if survey.warnings:
        yield ""


_LIMITS = """\
## What it cannot do

It knows the policy from these rows alone. Texts that are worded, long or in languages unlike theirs may be judged
wrongly; so may texts that try to get past it. What the start knew of other harms was not trained and may have faded:
measure it with `guardrail evaluate`. Watch it in shadow mode (policy `shadow`) before it stops anything, and add the
rows that it got wrong."""


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_cell, header))} |"
    yield "|" + "---|" * len(header)
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
