"""The data card: what the mix holds, how it was made and what is wrong with it, written from the data alone.

It says nothing of the time or the machine, so that equal data has an equal card.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.training.mix.counts import SHOWN_RISKS, MixCounts
from guardrail.training.mix.leaks import LEAST_ANSWER_TOKENS
from guardrail.training.mix.settings import MixSettings
from guardrail.training.mix.splits import SPLITS
from guardrail.training.recipe.duplicates import banding_for
from guardrail.training.recipe.families import LEAST_TURN_TOKENS
from guardrail.training.recipe.manifest import FILE, Manifest, read_manifest

_SMALL = 100
"""Languages and kinds of harm with fewer rows are named as limits. Our choice."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What was left out of the mix, and what was met.

    Attributes:
        n_in: rows before.
        dropped: rows that were left out, by reason.
        n_conflicts: rows left out as duplicates of a row with another label.
        evaluation: rows of the evaluation sets, by name.
        n_cleared: safe rows that named a kind of harm.
    """

    n_in: int
    dropped: Mapping[str, int]
    n_conflicts: int
    evaluation: Mapping[str, int]
    n_cleared: int = 0


def write_card(counts: MixCounts, cleaning: Cleaning, settings: MixSettings, stages: Sequence[Manifest]) -> str:
    """Return the card as Markdown."""
    return "\n".join([
        "# Data card", "",
        "Conversations labelled for safety, made by `guardrail train mix` to train and to measure a guard model.", "",
        *_contents(counts), *_origin(counts, settings), *_making(stages), *_cleaning(cleaning, settings),
        *_limits(counts, cleaning, settings),
    ])  # fmt: skip


def manifests_beside(folder: Path, before: Iterable[str]) -> list[Manifest]:
    """Return the manifests of the stages that stand beside a stage's folder, of those that were made."""
    found = (read_manifest(folder.parent / name) for name in before if (folder.parent / name / FILE).exists())
    return [manifest for manifest in found if manifest is not None]


def _contents(counts: MixCounts) -> list[str]:
    columns = (
        "id, root, source, lang, messages, target, risk, category, refusal, unsafe_start_char, is_human, split, meta"
    )
    said = (
        f"{counts.n_rows:,} rows of {counts.n_families:,} families. {counts.n_human:,} labels are marked as people's; "
        f"{counts.n_onsets:,} rows say where they turn risky. A family (a row, what was made of it, and what begins "
        "with the same question) stands in one split."
    )
    return [
        "## Contents", "",
        *_table(["split", "file", "rows"], [[s, f"`{s}.parquet`", n] for s, n in counts.by_split.items()]),
        said, "", f"Columns: {columns}.", "",
        *_by_risk("Language", counts.by_risk["lang"]), *_by_risk("What is judged", counts.by_risk["target"]),
        *_by_risk("Kind of harm", counts.by_risk["category"]),
    ]  # fmt: skip


def _origin(counts: MixCounts, settings: MixSettings) -> list[str]:
    rows: list[list[str | int | None]] = [
        [name, settings.licences.get(name, "not stated"), *of_split]
        for name, of_split in counts.by_split_of["source"].items()
    ]
    return ["## Sources", "", *_table(["source", "licence", *SPLITS], rows)]


def _making(stages: Sequence[Manifest]) -> list[str]:
    rows: list[list[str | int | None]] = [
        [one.plan.stage, one.digest[:12], one.plan.seed, ", ".join(f"{name} ({identity[:40]})" for name, identity in
         sorted(one.plan.models.items())) or "none", one.n_in, one.rows.n_rows if one.rows else None, one.n_dropped]
        for one in stages
    ]  # fmt: skip
    head = ["stage", "plan", "seed", "models asked", "rows in", "rows out", "left out"]
    said = "The plan is the SHA-256 of the stage's settings, models, prompts and inputs; its manifest holds it in full."
    if not rows:
        return ["## How it was made", "", "No stage ran before this one: the rows are the recipe's inputs.", ""]
    return ["## How it was made", "", *_table(head, rows), said, ""]


def _cleaning(cleaning: Cleaning, settings: MixSettings) -> list[str]:
    checked = ", ".join(f"{name} ({n:,} rows)" for name, n in cleaning.evaluation.items())
    leaks = (
        f"Checked against {checked}: rows of which a user's turn, a system prompt or an answer has a ROUGE-L of "
        f"{settings.leak_threshold:g} or more with one of theirs were left out, with their families. "
        f"{_expected(settings.leak_threshold)} Short turns (fewer than {LEAST_TURN_TOKENS} tokens) that are not judged "
        f"themselves, short answers (fewer than {LEAST_ANSWER_TOKENS}) and system prompts that several rows of a set "
        "share were not compared."
        if checked
        else "No evaluation set was named: the mix was not checked for leaks."
    )
    said = (
        f"Of {cleaning.n_in:,} rows. Duplicates are rows whose judged text and context are equal, or have a ROUGE-L of "
        f"{settings.duplicate_threshold:g} or more; {cleaning.n_conflicts:,} of them had another label than the row "
        f"that was kept. {_expected(settings.duplicate_threshold)}"
    )
    if cleaning.n_cleared:
        said += (
            f" {cleaning.n_cleared:,} rows that are kept were labelled Safe and named a kind of harm: it was cleared."
        )
    return [
        "## What was left out", "",
        *_table(["reason", "rows"], [[reason, n] for reason, n in cleaning.dropped.items()]),
        said, "", leaks, "",
    ]  # fmt: skip


def _expected(threshold: float) -> str:
    """Return how many near duplicates were found, as far as one can know without comparing all pairs."""
    if threshold == 1:
        return "All of these are expected to be found."
    share = math.floor(1000 * banding_for(threshold).recall(threshold)) / 10
    return f"Of pairs at {threshold:g} itself {share:g} % or more are expected to be found, of those above it more."


def _limits(counts: MixCounts, cleaning: Cleaning, settings: MixSettings) -> list[str]:
    n = max(counts.n_rows, 1)
    said = [
        f"{100 * (1 - counts.n_human / n):.1f} % of the labels are not marked as people's: they carry models' errors.",
        "Near duplicates are found by hashing: a few are missed. Paraphrases and translations are none.",
    ]
    said.append(
        "A text of an evaluation set that stands inside a longer one is not found."
        if settings.evaluation
        else "No leak check was made."
    )
    if cleaning.n_conflicts:
        said.append(f"{cleaning.n_conflicts:,} duplicates contradicted each other: labels as these are not certain.")
    for what, dimension in (("Languages", "lang"), ("Kinds of harm", "category")):
        if few := [name for name, by in counts.by_risk[dimension].items() if sum(by) < _SMALL and name != "none"]:
            said.append(f"{what} with fewer than {_SMALL} rows: {', '.join(few)}.")
    if unnamed := [name for name in counts.by_risk["source"] if name not in settings.licences]:
        said.append(f"{len(unnamed)} of {len(counts.by_risk['source'])} sources have no licence stated here.")
    return ["## Known limits", "", *(f"- {one}" for one in said), ""]


def _by_risk(title: str, by: Mapping[str, Sequence[int]]) -> list[str]:
    shown = [i for i in range(len(SHOWN_RISKS)) if any(n[i] for n in by.values())]
    head = [title.lower(), *(SHOWN_RISKS[i] if SHOWN_RISKS[i] != "none" else "no label" for i in shown), "all"]
    return _table(head, [[name, *(n[i] for i in shown), sum(n)] for name, n in by.items()])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> list[str]:
    written = [[f"{value:,}" if isinstance(value, int) else _plain(value) for value in row] for row in rows]
    lines = [list(columns), ["---"] * len(columns), *written]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _plain(text: str | None) -> str:
    """Return a name as a cell holds it: one line, no bar."""
    return "–" if text is None else " ".join(text.split()).replace("|", "\\|")
