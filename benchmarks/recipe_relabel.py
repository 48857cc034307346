"""How much injected label noise `relabel` finds, and what is regained.

    python benchmarks/recipe_relabel.py [--data data] [--seeds 3] [--most 600] [--noise 0 0.1 0.2 0.3]

Rows of several sources of labelled prompts; their own labels count as true, though some of the sources call theirs
noisy. A quarter is kept aside to test, with its labels as they are. Noise is injected into the rest: symmetric turns
each label with the given probability; from Unsafe turns only Unsafe rows, with twice that, as tired annotators let
harm pass. Errors are shares of wrong labels; F1 is that of Unsafe by a classifier taught the labels.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardrail.bench.machine import cores, cpu_name
from guardrail.decision import Direction
from guardrail.evaluation.rows import Row, read_rows
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.crossing import survey
from guardrail.training.learners.learning import Lesson, Variant, open_learner
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.relabel.noise import changed, noise_of
from guardrail.training.relabel.rereading import Reread, Unread, reread
from guardrail.training.relabel.settings import RelabelSettings

SOURCES = (
    "catqa", "harmfulqa", "interpreter_abuse", "toxigen_statements", "safety_tuned_llamas", "questions_benign",
    "nq_open_benign", "cyber_benign", "coconot_contrast_train", "cold",
)  # fmt: skip
LEVELS = (RiskLevel.SAFE, RiskLevel.UNSAFE)
KINDS = ("symmetric", "from Unsafe")
RULES = ("auto", "confident", "full")
PACKAGES = ("guardrail-stream", "numpy", "scikit-learn")

Labels = NDArray[np.int8]


class Held(list[RecipeRow]):
    """Rows in memory; implements `Rows`."""

    counts: dict[str, int] = {}  # noqa: RUF012  # empty, and the protocol asks for it


@dataclass(frozen=True, slots=True)
class Figures:
    """What one rule did to one draw of noise.

    Attributes:
        values: by name of the column.
    """

    values: dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of labelled rows")
    parser.add_argument("--seeds", type=int, default=3, help="draws of noise, halves and test rows")
    parser.add_argument("--most", type=int, default=600, help="rows of a source and level")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3], help="shares of labels")
    options = parser.parse_args()
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(versions)}; seeds 0 to {options.seeds - 1}")
    rows = [row for name in SOURCES for row in sample(options.data / f"{name}.jsonl.gz", options.most)]
    n_unsafe = sum(row.risk is RiskLevel.UNSAFE for row in rows)
    print(f"{len(rows)} prompts of {', '.join(SOURCES)}; {n_unsafe} Unsafe\n")
    columns: list[str] = []
    for kind, noise in product(KINDS, options.noise):
        if kind != KINDS[0] and not noise:
            continue
        found = [measure(rows, kind, noise, seed) for seed in range(options.seeds)]
        if not columns:
            columns = list(found[0][RULES[0]].values)
            print(f"| noise | rule | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
        for rule in RULES:
            cells = [cell([one[rule].values[column] for one in found]) for column in columns]
            print(f"| {kind} {noise:.0%} | {rule} | {' | '.join(cells)} |", flush=True)


def sample(path: Path, most: int) -> Iterator[RecipeRow]:
    """Yield prompts of a source that are Safe or Unsafe, at most so many of each level, drawn by hash."""
    rows = [row for row in read_rows(path) if row.target is Direction.PROMPT and row.risk in LEVELS]
    for level in LEVELS:
        of_level = sorted((row for row in rows if row.risk is level), key=lambda row: place_of(row.id, "sample"))
        yield from map(made, of_level[:most])


def made(row: Row) -> RecipeRow:
    """Return a row as the recipe has it."""
    return RecipeRow(row.id, row.id, row.source, row.lang, row.messages, row.target, row.risk)


def measure(rows: Sequence[RecipeRow], kind: str, noise: float, seed: int) -> dict[str, Figures]:
    """Return the figures of each rule at one draw of noise."""
    is_test = np.array([place_of(row.id, f"test {seed}") < 0.25 for row in rows])
    test = [row for row, aside in zip(rows, is_test, strict=True) if aside]
    shown = [row for row, aside in zip(rows, is_test, strict=True) if not aside]
    true = labels_of(shown)
    given = injected(true, kind, noise, seed)
    settings = RelabelSettings(learner=LearnerSettings(max_rows=1_000_000), salt=f"halves {seed}", targets=("prompt",))
    found = read_again(shown, given, settings)
    before = f1_of(shown, given, test)
    return {rule: figures(shown, test, true, given, found, replace(settings, rule=rule), before) for rule in RULES}  # type: ignore[arg-type]  # one of the rules


def labels_of(rows: Sequence[RecipeRow]) -> Labels:
    """Return 1 for Unsafe, 0 for Safe."""
    return np.array([row.risk is RiskLevel.UNSAFE for row in rows], np.int8)


def injected(true: Labels, kind: str, noise: float, seed: int) -> Labels:
    """Return the labels with noise."""
    chance = np.random.default_rng([11, seed]).random(len(true))
    turned = chance < noise if kind == "symmetric" else (chance < 2 * noise) & (true == 1)
    return np.where(turned, 1 - true, true).astype(np.int8)


def relabelled(rows: Sequence[RecipeRow], labels: Labels) -> Held:
    """Return the rows with these labels."""
    return Held(replace(row, risk=LEVELS[label]) for row, label in zip(rows, labels, strict=True))


def read_again(rows: Sequence[RecipeRow], given: Labels, settings: RelabelSettings) -> Reread:
    """Return what the stage's teachers say."""
    held = relabelled(rows, given)
    learner = open_learner(settings.learner, Path(), 1)
    surveyed = survey(held, settings.salt)
    found = reread(Direction.PROMPT, held, surveyed, learner, settings, lambda *_: lambda _: None)
    if isinstance(found, Unread):
        raise SystemExit(found.why)
    return found


def figures(
    rows: Sequence[RecipeRow], test: Sequence[RecipeRow], true: Labels, given: Labels, found: Reread,
    settings: RelabelSettings, f1_before: float,
) -> Figures:  # fmt: skip
    """Return what a rule does."""
    after = changed(given, found.probabilities, LEVELS, settings)
    moved, wrong = after != given, given != true
    return Figures(
        {
            "estimated noise": noise_of(found.joint), "changed": float(moved.mean()),
            "of these wrong before": share((moved & wrong).sum(), moved.sum()),
            "of the wrong changed": share((moved & wrong).sum(), wrong.sum()),
            "error before": float(wrong.mean()), "error after": float((after != true).mean()),
            "F1 before": f1_before, "F1 after": f1_of(rows, after, test),
        }
    )  # fmt: skip


def share(part: np.integer, whole: np.integer) -> float:
    """Return a share; nan where there is nothing."""
    return float(part / whole) if whole else float("nan")


def f1_of(rows: Sequence[RecipeRow], labels: Labels, test: Sequence[RecipeRow]) -> float:
    """Return the F1 of Unsafe on the rows kept aside, by a classifier taught these labels as they come."""
    even = Variant("even", dict.fromkeys(LEVELS, 1.0), dict.fromkeys(LEVELS, 1.0))
    lessons = (Lesson(row, LEVELS[label]) for row, label in zip(rows, labels, strict=True))
    panel = open_learner(LearnerSettings(), Path(), 1).learn("test", lessons, LEVELS, [even])
    called, gold = panel.probabilities(test)[0].argmax(1) == 1, labels_of(test) == 1
    return float(2 * (gold & called).sum() / max(1, gold.sum() + called.sum()))


def cell(values: Sequence[float]) -> str:
    """Return a mean with its standard deviation over the seeds."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "-"
    spread = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{spread}"


if __name__ == "__main__":
    main()
