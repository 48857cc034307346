"""The report of a run: what each reward did, before and after, and curves of the training, from the run's folders."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guardrail.audit.pages.figures import Figure, Lines, Scalar, Summary, Table
from guardrail.audit.pages.page import render
from guardrail.training.rl.summary import CLIPPED, FIGURES, MEASURED
from guardrail.training.tuning.page import REPORT_FILE, read_log
from guardrail.whole_files import write_whole

Log = Sequence[Mapping[str, Any]]

_HELD_OUT: Mapping[str, str] = {
    "unsafe": "Held out: unsafe answers to harmful prompts", "refusal_harmful": "Held out: refusals of harmful prompts",
    "refusal_benign": "Held out: refusals of benign prompts", "helpfulness": "Held out: helpfulness",
    "tokens": "Held out: tokens an answer",
}  # fmt: skip
_TRAINING: Mapping[str, str] = {
    "reward": "Reward", "unsafe": "Unsafe answers to harmful prompts", "refusal_harmful": "Refusals of harmful prompts",
    "refusal_benign": "Refusals of benign prompts", "helpfulness": "Helpfulness",
    "completions/mean_length": "Tokens an answer", "kl": "Divergence from the start model, nats a token",
    CLIPPED: "Share of sequences that are clipped", "frac_reward_zero_std": "Share of groups whose rewards are equal",
    "entropy": "Entropy, nats a token", "failed": "Answers that could not be judged",
}  # fmt: skip
"""Key of the log -> title."""


def write_report(folder: Path, trainings: Sequence[Path]) -> None:
    """Replace the report of a run.

    Args:
        folder: of the run.
        trainings: folders within it, one a reward and seed; those that have not begun are passed over.
    """
    logs = {path.name: read_log(path) for path in trainings if (path / "log.jsonl").is_file()}
    settings = tomllib.loads((folder / "settings.toml").read_text("utf-8"))
    figures: list[Figure] = [_before_and_after(logs)]
    for names, event in ((_HELD_OUT, MEASURED), (_TRAINING, None)):
        figures += [lines for key, title in names.items() if (lines := _lines(title, key, logs, event))]
    rows = [(name, json.dumps(value, ensure_ascii=False, default=str)) for name, value in settings.items()]
    figures.append(Table("Settings that were given", ("name", "value"), rows))
    page = render("Training: rl", Summary(figures=tuple(figures)), _facts(read_log(folder)))
    write_whole(folder / REPORT_FILE, page.encode())


def _before_and_after(logs: Mapping[str, Log]) -> Table:
    """Return the first and the last figures of each training."""
    rows: list[tuple[Scalar, ...]] = []
    for name, log in logs.items():
        measured = [line for line in log if line.get("event") == MEASURED]
        ends = [measured[0], measured[-1]][: len(measured)] if measured else []
        rows += [(name, line["step"], *(_rounded(line.get(key)) for key in FIGURES)) for line in ends]
    return Table("Held-out prompts, first and last", ("training", "step", *FIGURES), rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _lines(title: str, key: str, logs: Mapping[str, Log], event: str | None) -> Lines | None:
    """Return the curves of one figure, one a training; None where no log has it."""
    curves = {
        name: {line["step"]: line[key] for line in log if line.get("event") == event and line.get(key) is not None}
        for name, log in logs.items()
    }
    steps = sorted({step for curve in curves.values() for step in curve})
    series = {name: [curve.get(step) for step in steps] for name, curve in curves.items() if curve}
    return Lines(title, [float(step) for step in steps], series, x_label="step") if series else None


def _facts(log: Log) -> dict[str, str]:
    """Return versions, judges and counts of prompts."""
    left_out = ("time", "event", "resume")
    return {
        name: str(value)
        for line in log
        if line.get("event") in ("start", "judges", "prompts")
        for name, value in line.items()
        if name not in left_out
    }
