"""`summary.json`: what each reward did to the policy model, before and after, as means over the seeds."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from guardrail.whole_files import write_whole

SUMMARY = "summary.json"

MEASURED = "measured"
"""Event of a training's log that holds the figures of held-out prompts."""

CLIPPED = "clip_ratio/region_mean"
"""TRL's name of the share of sequences whose ratio was clipped, in the log."""

FIGURES = ("unsafe", "refusal_harmful", "refusal_benign", "helpfulness")
"""Named first; the others are by name."""


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return by reward the means over seeds of what was measured before and after.

    Args:
        results: of each training.
    """
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(result["reward"] for result in results):
        of_kind = [result for result in results if result["reward"] == kind]
        found[kind] = {when: _means([result[when] for result in of_kind]) for when in ("before", "after")}
        found[kind]["clip_fraction"] = sum(result["clip_fraction"] for result in of_kind) / len(of_kind)
    return found


def write_summary(folder: Path, results: Sequence[Mapping[str, Any]], packages: Sequence[str]) -> None:
    """Replace the summary of a run folder.

    Args:
        folder: of the run.
        results: of each training, also listed one by one.
        packages: whose versions are named.
    """
    values = {
        **summarise(results),
        "seeds": sorted({result["seed"] for result in results}),
        "steps": max(result["steps"] for result in results),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "runs": list(results),
    }
    write_whole(folder / SUMMARY, (json.dumps(values, indent=2) + "\n").encode())


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over those that have it."""
    names = [name for name in FIGURES if any(name in one for one in figures)]
    names += sorted({name for one in figures for name in one} - set(FIGURES))
    return {name: _mean([one[name] for one in figures if name in one]) for name in names}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
