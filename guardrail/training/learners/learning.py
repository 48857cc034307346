"""What a learner is: it is given labelled rows once and makes several classifiers of them, weighed differently."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow, place_of

LEVELS = tuple(sorted(RiskLevel, key=lambda level: level.rank))
"""Safe, Controversial, Unsafe: the order of whatever has an entry a level here."""

FloatArray = NDArray[np.float32]
Levels = tuple[RiskLevel, ...]

Progress = Callable[[str, int], Callable[[int], None]]
"""Shows a bar with a title and a number of steps; what it returns is called with the steps done since."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row to learn from, and what it teaches."""

    row: RecipeRow
    level: RiskLevel


@dataclass(frozen=True, slots=True)
class Variant:
    """How one of several classifiers of the same rows weighs them.

    Attributes:
        name: tells it from the others; also of its folder.
        weights: how much a row of each level counts, 1 on average.
        kept: share of each level's rows that it sees, in (0, 1].
        salt: of the draw of those.
    """

    name: str
    weights: Mapping[RiskLevel, float]
    kept: Mapping[RiskLevel, float]
    salt: str = ""

    def sees(self, lesson: Lesson) -> bool:
        """Return whether it learns from a row."""
        return place_of(lesson.row.id, self.salt) < self.kept[lesson.level]


class Panel(Protocol):
    """Classifiers that were taught the same rows."""

    def probabilities(self, rows: Sequence[RecipeRow]) -> FloatArray:
        """Return float32 [variant, row, level], rows summing to 1 over the levels that were taught."""


class Learner(Protocol):
    """Makes panels; the same lessons give the same panel."""

    def learn(self, name: str, lessons: Iterable[Lesson], levels: Levels, variants: Sequence[Variant]) -> Panel:
        """Return one classifier a variant.

        Args:
            name: of the panel; tells apart what is kept on the disk.
            lessons: at least one of each level that every variant sees; read once.
            levels: that occur, in the order of `LEVELS`.
            variants: how each classifier weighs the rows.
        """


def open_learner(settings: LearnerSettings, folder: Path, seed: int) -> Learner:
    """Return the learner of some settings; heavy libraries are loaded only here.

    Args:
        settings: of the learner.
        folder: where it may keep what it is at, to go on after a kill.
        seed: of whatever is drawn.
    """
    if settings.kind == "tfidf":
        from guardrail.training.learners.tfidf import TfidfLearner

        return TfidfLearner(settings)
    from guardrail.training.learners.sft import SftLearner

    return SftLearner(settings, folder, seed)


def check_learner(settings: LearnerSettings, stage: str) -> Mapping[str, str]:
    """Return the hashes of the files that a learner starts from.

    Raises:
        ConfigurationError: the learner needs a checkpoint that is not named or not there, or names one for nothing.
    """
    if settings.kind == "tfidf":
        if settings.start is not None:
            raise ConfigurationError(f'{stage}: learner.start is for kind = "sft"', hint="leave it out, or set kind")
        return {}
    if settings.start is None or not (settings.start / "config.json").is_file():
        raise ConfigurationError(
            f'{stage}: a learner of kind "sft" needs a checkpoint', hint="set learner.start to its folder"
        )
    files = [p for p in sorted(settings.start.iterdir()) if p.suffix in (".json", ".safetensors")]
    return {f"start/{path.name}": hash_file(path) for path in files}
