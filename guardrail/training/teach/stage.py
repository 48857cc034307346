"""`guardrail train teach`: the labelled rows again, with `meta.teacher`, by teachers that have not seen a row's family.

The texts of a distillation may be taught beside them: a student that sees the teachers on the labelled rows alone
follows them there alone. Those of plain documents count as Safe, for the teachers too, which would else call harmful
what is merely unlike the labelled rows; where that is wrong, the teachers, which see most others, say so.

Ours, not in the technical report: a small network learns labels by heart, noise included, while the mean of teachers
that see words and of teachers that see a sentence encoder's vectors carries over to other sources. Answers that turn
harmful at a known place and tool results, where a few words among many decide, have no soft label.
"""

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import roc_auc_score

from guardrail.conversation import to_messages
from guardrail.errors import ConfigurationError
from guardrail.evaluation.judges import RISKS
from guardrail.scores import softmax
from guardrail.taxonomy import RiskLevel
from guardrail.training.corpus import family_of
from guardrail.training.distil.texts import Place, Unit
from guardrail.training.distil.vectors import UNITS_FILE, VECTORS_FOLDER, Halves, load_units, text_vectors
from guardrail.training.examples import select_rows
from guardrail.training.recipe.rows import place_of
from guardrail.training.settings import load_settings
from guardrail.training.teach.members import Floats, Lesson, Places, by_vectors, by_words
from guardrail.training.teach.settings import Member, TeachSettings
from guardrail.whole_files import write_whole

UNITS = "units.jsonl.gz"
"""File of the texts of a distillation, as rows without a label."""

_TARGETS = ("prompt", "response")
_LEVELS = {level.value.lower(): i for i, level in enumerate(RISKS)}


@dataclass(frozen=True, slots=True)
class Taught:
    """A row, and where it came from."""

    file: str
    row: dict[str, Any]

    @property
    def text(self) -> str:
        """What is judged."""
        content: str = self.row["messages"][-1]["content"]
        return content

    @property
    def known(self) -> list[str]:
        """Texts that its label says something about: what is judged, and what a safe answer answers."""
        messages = self.row["messages"] if self.row["risk"] == "safe" else self.row["messages"][-1:]
        return [message["content"] for message in messages]

    @property
    def is_taught(self) -> bool:
        """Whether teachers are asked about it."""
        last = self.row["messages"][-1]["role"]
        return last != "tool" and self.row["unsafe_start_char"] is None and bool(self.text.strip())


def main(config: Path) -> None:
    """Write the files that a TOML file describes."""
    run(load_settings(config, TeachSettings))


def run(settings: TeachSettings) -> None:
    """Write them.

    Raises:
        ConfigurationError: a member lacks its encoder, or a file cannot be read.
    """
    if "encoder" in settings.members and settings.encoder is None:
        raise ConfigurationError('the member "encoder" needs an [encoder]', hint="name its model there")
    torch.set_num_threads(settings.threads)
    rows = [
        Taught(name, row)
        for name, source in settings.sources.items()
        for row in select_rows(settings.data_dir / name, replace(source, as_answer=False), settings.seed)
    ]
    units = _units(settings)
    rows += _unit_rows(units, {text for one in rows for text in one.known})
    settings.output.mkdir(parents=True, exist_ok=True)
    said, figures = teach(rows, settings, units)
    _write(rows, said, settings.output)
    write_whole(settings.output / "teachers.json", json.dumps(figures, indent=1).encode())


def _units(settings: TeachSettings) -> list[Unit]:
    """Return the texts of the distillation, if one is named.

    Raises:
        ConfigurationError: there are none.
    """
    if settings.units is None:
        return []
    path = settings.units / UNITS_FILE
    if not path.is_file():
        raise ConfigurationError(
            f"{path} does not exist", hint="run `guardrail train distil` first, or leave `units` out"
        )
    return load_units(path)


def _unit_rows(units: Sequence[Unit], known: set[str]) -> list[Taught]:
    """Return the texts of a distillation that are not known from rows, each where it stands in a conversation."""
    return [Taught(UNITS, _unit_row(f"unit-{i}", unit)) for i, unit in enumerate(units) if unit.text not in known]


def _unit_row(name: str, unit: Unit) -> dict[str, Any]:
    target, role = ("prompt", "user") if unit.place is Place.PROMPT else ("response", "assistant")
    return {
        "id": name, "source": "units", "lang": "", "messages": [{"role": role, "content": unit.text}],
        "target": target, "risk": "safe" if unit.is_plain else None, "category": [], "unsafe_start_char": None,
    }  # fmt: skip


def teach(
    rows: Sequence[Taught], settings: TeachSettings, units: Sequence[Unit] = ()
) -> tuple[dict[int, list[float]], dict[str, Any]]:
    """Return the probabilities of Safe, Controversial and Unsafe by the place of the row, and how well each kind of
    teacher ranks the labelled rows that it has not seen: AUC by direction, member and source. A direction whose rows
    have one risk level alone has no teachers.

    Args:
        rows: to teach.
        settings: of the teachers.
        units: texts of the distillation, those among the rows and all others.
    """
    of_units = _unit_vectors(units, settings)
    found: dict[int, list[float]] = {}
    figures: dict[str, Any] = {}
    for target in _TARGETS:
        places = [i for i, one in enumerate(rows) if one.row["target"] == target and one.is_taught]
        if len({rows[i].row["risk"] for i in places} - {None}) < 2:
            continue
        asked = [rows[i] for i in places]
        lesson = _lesson(asked, settings, of_units)
        folds = np.array([_fold(one.row, settings.folds) for one in asked])
        with Console(stderr=True).status(f"teachers of {target}s: {len(places)} rows, {settings.folds} folds"):
            logits = {member: _out_of_fold(member, lesson, folds, settings) for member in settings.members}
        mean = np.mean(list(logits.values()), 0)
        found |= {i: [round(p, 5) for p in row] for i, row in zip(places, softmax(mean).tolist(), strict=True)}
        sources = [one.row["source"] for one in asked]
        figures[target] = {
            name: _areas(said, lesson.levels, sources) for name, said in (*logits.items(), ("all", mean))
        }
    return found, figures


def _unit_vectors(units: Sequence[Unit], settings: TeachSettings) -> dict[str, Halves]:
    """Return the encoder's vectors of the distillation's texts, kept beside it; none where no member reads them."""
    if not units or settings.units is None or settings.encoder is None or "encoder" not in settings.members:
        return {}
    texts = [unit.text for unit in units]
    found = text_vectors(texts, settings.encoder, settings.units / VECTORS_FOLDER)
    return dict(zip(texts, found, strict=True))


def _vectors(rows: Sequence[Taught], settings: TeachSettings, of_units: Mapping[str, Halves]) -> Floats | None:
    if settings.encoder is None or "encoder" not in settings.members:
        return None
    texts = list(dict.fromkeys(one.text for one in rows if one.file != UNITS))
    found = text_vectors(texts, settings.encoder, settings.vectors or settings.output / "vectors")
    by_text = {**of_units, **dict(zip(texts, found, strict=True))}
    return np.array([by_text[one.text] for one in rows], np.float32)


def _lesson(rows: Sequence[Taught], settings: TeachSettings, of_units: Mapping[str, Halves]) -> Lesson:
    levels = np.array([_LEVELS.get(one.row["risk"] or "", -1) for one in rows])
    groups = [(one.row["source"], one.row["risk"]) for one in rows]
    counts = Counter(groups)
    weights = np.array([counts[group] ** settings.source_power for group in groups])
    for is_harmful in (False, True):
        chosen = (levels > 0) == is_harmful
        weights[chosen] /= max(weights[chosen & (levels >= 0)].sum(), 1e-9)
    texts = [one.text for one in rows]
    return Lesson(texts, levels, (weights * len(rows)).astype(np.float32), _vectors(rows, settings, of_units))


def _out_of_fold(member: Member, lesson: Lesson, folds: NDArray[np.intp], settings: TeachSettings) -> Floats:
    """Return float32 [row, risk]: each labelled row by the teacher of its fold, others by the mean of all."""
    labelled = lesson.levels >= 0
    logits = np.zeros((len(folds), len(RISKS)), np.float32)
    for fold in range(settings.folds):
        learned = np.flatnonzero(labelled & (folds != fold))
        asked = np.flatnonzero(~labelled | (folds == fold))
        said = _ask(member, lesson, learned, asked, settings)
        logits[asked] += said / np.where(labelled[asked], 1, settings.folds)[:, None]
    return logits


def _ask(member: Member, lesson: Lesson, learned: Places, asked: Places, settings: TeachSettings) -> Floats:
    if member == "words":
        return by_words(lesson, learned, asked)
    return by_vectors(lesson, learned, asked, settings.strength)


def _fold(row: dict[str, Any], n: int) -> int:
    """Return the fold of a row's family, by which fine-tuning holds rows out too."""
    return int(n * place_of(family_of(to_messages(row["messages"])), "folds of teachers"))


def _areas(logits: Floats, levels: NDArray[np.int64], sources: Sequence[str]) -> dict[str, float]:
    """Return the AUC over all labelled rows and over those of each source that has both classes."""
    score = 1 - softmax(logits)[:, RISKS.index(RiskLevel.SAFE)]
    found = {}
    for name in ("", *sorted(set(sources))):
        chosen = (levels >= 0) & np.array([not name or source == name for source in sources])
        gold = levels[chosen] > 0
        if gold.any() and not gold.all():
            found[name or "all sources"] = round(float(roc_auc_score(gold, score[chosen])), 4)
    return found


def _write(rows: Sequence[Taught], said: dict[int, list[float]], folder: Path) -> None:
    by_file: dict[str, list[str]] = {}
    for i, one in enumerate(rows):
        row = one.row
        if i in said:
            row = {**row, "meta": {**(row.get("meta") or {}), "teacher": said[i]}}
        by_file.setdefault(one.file, []).append(json.dumps(row, ensure_ascii=False))
    for name, lines in by_file.items():
        path = folder / Path(name).name
        data = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
        write_whole(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
