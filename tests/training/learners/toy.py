"""Toy rows: harmless and harmful words, and borderline ones on whose label chance decides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import FloatArray, Lesson, Levels, Variant
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.rows import RecipeRow

FILL = ["the", "of", "and", "with", "some", "near", "under", "one", "every", "which", "about", "again"]
WORDS = {
    RiskLevel.SAFE: ["garden", "bread", "song", "paint", "cat", "park", "tea", "train"],
    RiskLevel.CONTROVERSIAL: ["gamble", "whip", "duel", "vodka", "rifle"],
    RiskLevel.UNSAFE: ["poison", "stab", "bomb", "arson", "drown", "torture"],
}
"""Words that tell the kind of a toy text; those of Controversial are the borderline ones."""


class Held(list[RecipeRow]):
    """Rows in memory; implements `Rows`."""

    counts: Mapping[str, int] = {}  # empty, and the protocol asks for it


def toy_row(
    number: int, kind: RiskLevel, seed: int = 0, *, target: Direction = Direction.PROMPT, lang: str = "en"
) -> RecipeRow:
    """A row of a kind; a borderline one is labelled Safe or Unsafe by chance. `meta` holds the kind."""
    chance = Random(f"{seed} {number}")
    words = [*chance.choices(WORDS[kind], k=2), *chance.choices(FILL, k=4)]
    chance.shuffle(words)
    text = " ".join(words)
    label = kind
    if kind is RiskLevel.CONTROVERSIAL:
        label = RiskLevel.UNSAFE if chance.random() < 0.5 else RiskLevel.SAFE
    messages = [Message(Role.USER, text)]
    if target is Direction.RESPONSE:
        messages = [Message(Role.USER, "Go on."), Message(Role.ASSISTANT, text)]
    categories = () if label is RiskLevel.SAFE else ("Violent",)
    name = f"{target.value}-{number}"
    return RecipeRow(
        name, name, f"toy-{number % 3}", lang, tuple(messages), target, label, categories, meta={"kind": kind.value}
    )


def toy_rows(n: int = 300, seed: int = 0, *, target: Direction = Direction.PROMPT) -> Held:
    """Rows of the three kinds in turn."""
    kinds = tuple(WORDS)
    return Held(toy_row(i, kinds[i % 3], seed, target=target) for i in range(n))


def people_say(row: RecipeRow) -> RecipeRow:
    """The row as people label it: by its kind."""
    kind = RiskLevel(row.meta["kind"])
    return replace(row, risk=kind, is_human=True, categories=() if kind is RiskLevel.SAFE else ("Violent",))


async def nobody(call: Call) -> Reply:
    """Stands for the models, which these stages never ask."""
    raise AssertionError(f"{call.model} was asked")


def silent(title: str, n_steps: int) -> "Counted":
    """A bar that nobody sees."""
    return Counted(title, n_steps)


@dataclass
class Counted:
    """Counts the steps of a bar."""

    title: str
    n_steps: int
    n_done: int = 0

    def __call__(self, n: int) -> None:
        """Step."""
        self.n_done += n


@dataclass
class SpyLearner:
    """Implements `Learner`: notes what it was taught, and says of a row what its place in the hash of ids is.

    Attributes:
        panels: by name.
    """

    panels: dict[str, "SpyPanel"] = field(default_factory=dict)

    def learn(self, name: str, lessons: Iterable[Lesson], levels: Levels, variants: Sequence[Variant]) -> "SpyPanel":
        """See `Learner`."""
        self.panels[name] = SpyPanel(tuple(lessons), levels, tuple(variants))
        return self.panels[name]


@dataclass
class SpyPanel:
    """Implements `Panel`.

    Attributes:
        lessons: taught.
        levels: taught.
        variants: asked for.
        judged: rows, in order.
    """

    lessons: tuple[Lesson, ...]
    levels: Levels
    variants: tuple[Variant, ...]
    judged: list[RecipeRow] = field(default_factory=list)

    def probabilities(self, rows: Sequence[RecipeRow]) -> FloatArray:
        """The number in a row's id, in every cell."""
        self.judged += rows
        numbers = np.array([float(row.id.rpartition("-")[2]) for row in rows], np.float32)
        return np.tile(numbers[None, :, None], (len(self.variants), 1, len(self.levels)))
