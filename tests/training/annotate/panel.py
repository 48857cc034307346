"""Rows and scripted annotators for tests of `annotate`."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardrail.audit.pages.figures import Summary
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import CallRefused
from guardrail.taxonomy import RiskLevel
from guardrail.training.annotate.ballots import LEVELS, NONE, Ballots
from guardrail.training.annotate.settings import Aggregate, AnnotateSettings, AnnotatorSettings
from guardrail.training.annotate.stage import Annotate, make
from guardrail.training.annotate.weighing import Labels, label, learn
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings
from tests.training.recipe_job import MemoryJob

SAFE, CONTROVERSIAL, UNSAFE = LEVELS

PANEL = ("a", "b", "c")


def prompt(number: int, **changes: Any) -> RecipeRow:
    """Return a row that asks for a judgement of a prompt, which says its own number."""
    values: dict[str, Any] = {
        "root": f"root {number}", "source": "made", "lang": "en", "messages": (Message(Role.USER, f"text {number}."),),
        "target": Direction.PROMPT,
    }  # fmt: skip
    return RecipeRow(f"row {number}", **{**values, **changes})


def answer(number: int, **changes: Any) -> RecipeRow:
    """Return a row that asks for a judgement of an answer."""
    turns = Message(Role.USER, f"text {number}."), Message(Role.ASSISTANT, "An answer.")
    return prompt(number, messages=turns, target=Direction.RESPONSE, **changes)


def said(risk: RiskLevel, *categories: str, refusal: bool | None = None) -> str:
    """Return an annotator's answer in JSON."""
    named = list(categories) or ([] if risk is SAFE else ["Violent"])
    values = {"risk": risk.value, "categories": named}
    return json.dumps(values if refusal is None else values | {"refusal": refusal})


class Scripted:
    """Answers each model's call on a row by the row's number.

    Attributes:
        calls: that were made.
    """

    def __init__(self, script: Mapping[str, Mapping[int, str | None]], default: str | None = None) -> None:
        """Take what each model says by row; None refuses the call."""
        self.script, self.default = script, default
        self.calls: list[Call] = []

    async def __call__(self, call: Call) -> Reply:
        """Answer; see `Ask`."""
        self.calls.append(call)
        found = next(m for message in call.messages if (m := re.search(r"text (\d+)\.", message.content)))
        text = self.script.get(call.model, {}).get(int(found[1]), self.default)
        if text is None:
            raise CallRefused("filtered")
        return Reply((Text(text),))


def stage_of(names: Sequence[str], **changes: Any) -> Annotate:
    """Return the stage with chat models of these names as its panel."""
    panel = {name: AnnotatorSettings() for name in names}
    models = {name: ModelSettings("function") for name in names}
    return make(AnnotateSettings(panel, **changes), RecipeSettings(Path("out"), models=models))


def ballots_of(votes: ArrayLike, people: ArrayLike, half: ArrayLike) -> Ballots:
    """Return the votes of prompts, each a family of its own."""
    cast, labels = np.array(votes, np.int8), np.array(people, np.int8)
    n = len(cast)
    names = tuple(f"annotator {i}" for i in range(cast.shape[1]))
    return Ballots(
        names, cast, np.ones(n, np.bool_), labels != NONE, labels, np.array(half, np.int8), np.zeros(n, np.bool_),
        np.arange(n, dtype=np.int32),
    )  # fmt: skip


def drawn_votes(
    n: int, accuracies: Sequence[float], seed: int = 1, shares: Sequence[float] = (0.5, 0.25, 0.25)
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return int8 [row, annotator] and int8 [row]: votes that are right so often, else drawn evenly, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=shares).astype(np.int8)
    votes = [np.where(rng.random(n) < share, truth, rng.integers(0, 3, n)) for share in accuracies]
    return np.stack(votes, axis=1).astype(np.int8), truth


def everything(row: RecipeRow) -> bool:
    """All rows were voted on."""
    return bool(row.meta)


def judged(
    n: int, n_people: int, accuracies: Sequence[float] = (0.9, 0.8, 0.7)
) -> tuple[list[RecipeRow], Scripted, Any]:
    """Return rows of which the first ones have people's label, a panel that errs, and the truth."""
    votes, truth = drawn_votes(n, accuracies)
    rows = [
        prompt(i, risk=LEVELS[truth[i]], is_human=True, meta={"note": i}) if i < n_people else prompt(i)
        for i in range(n)
    ]
    script = {name: {i: said(LEVELS[votes[i, k]]) for i in range(n)} for k, name in enumerate(PANEL)}
    return rows, Scripted(script), truth


def weighed(ballots: Ballots, aggregate: Aggregate) -> Labels:
    """Return what votes come to, with the levels' weights tuned."""
    settings = AnnotateSettings()
    return label(ballots, learn(ballots, aggregate, settings, tune=True, seed=1), settings.min_votes)


def run(
    folder: Path, rows: Sequence[RecipeRow], ask: Scripted, names: Sequence[str] = PANEL, **changes: Any
) -> tuple[MemoryJob, Summary]:
    """Run the stage."""
    job = MemoryJob(rows, folder, ask)
    return job, stage_of(names, **changes).run(job)
