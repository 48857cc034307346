"""The report of a run: curves of the losses and figures, settings and versions, from what the run folder holds."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guardrail.audit.pages.figures import Figure, Lines, Summary, Table
from guardrail.audit.pages.page import render
from guardrail.training.losses import TERMS
from guardrail.whole_files import write_whole

REPORT_FILE = "report.html"

_CURVES: Mapping[str, Mapping[str, str]] = {
    "Loss": {"loss": "training", "held_out": "held-out rows"},
    "Held-out loss by term": {f"held_out_{term}": term.replace("_", " ") for term in TERMS},
    "AUC on the held-out rows": {"query_auc": "prompts", "response_auc": "answers"},
    "F1 on the held-out rows": {"query_f1": "prompts", "response_f1": "answers"},
    "Learning rate": {"learning_rate": "backbone, or heads if it is frozen"},
    "Norm of the gradient": {"grad_norm": "before it is cut"},
    "Tokens a second": {"tokens_a_second": "all processes"},
}
"""Title -> key of the log -> name of the curve."""


def write_report(folder: Path) -> None:
    """Replace the report of a run folder."""
    lines = read_log(folder)
    settings = tomllib.loads((folder / "settings.toml").read_text("utf-8"))
    figures: list[Figure] = [figure for title, names in _CURVES.items() if (figure := _lines(title, names, lines))]
    figures.append(Table("Settings that were given", ("name", "value"), _rows(settings)))
    page = render("Training: sft", Summary(figures=tuple(figures)), _facts(lines))
    write_whole(folder / REPORT_FILE, page.encode())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the log; of steps that a resumed run took again, those of the last time."""
    lines: list[dict[str, Any]] = []
    for text in (folder / "log.jsonl").read_text("utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off by a kill
            continue
        if line.get("event") == "resumed":
            lines = [kept for kept in lines if kept.get("step", 0) <= line["step"] or "event" in kept]
        lines.append(line)
    return lines


def _lines(title: str, names: Mapping[str, str], log: Sequence[Mapping[str, Any]]) -> Lines | None:
    """Return the curves of some keys, as far as the log has them."""
    points: dict[int, dict[str, float]] = {}
    for line in log:
        if "step" in line and "event" not in line:
            points.setdefault(line["step"], {}).update({k: line[k] for k in names if line.get(k) is not None})
    points = {step: values for step, values in sorted(points.items()) if values}
    series = {
        said: [values.get(name) for values in points.values()]
        for name, said in names.items()
        if any(name in values for values in points.values())
    }
    return Lines(title, [float(step) for step in points], series, x_label="step") if series else None


def _facts(log: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in log:
        match line.get("event"):
            case "data":
                facts |= {"rows to train on": f"{line['rows']:,}", "held-out rows": f"{line['held_out']:,}"}
            case "end":
                facts |= {"steps": f"{line['step']:,}", "epochs": f"{line['epochs']:.3g}"}
            case "start":
                facts |= {name: str(value) for name, value in line.items() if name not in ("time", "event", "resume")}
    return facts


def _rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, json.dumps(value, ensure_ascii=False, default=str)) for name, value in settings.items()]
