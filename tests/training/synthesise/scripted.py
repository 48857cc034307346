"""Scripted models for tests of the stage, and a run of it in memory."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from guardrail.audit.pages.figures import Summary
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.synthesise.stage import make
from tests.training.recipe_job import MemoryJob

MODELS = {name: ModelSettings("function", function="m.py:f") for name in ("writer", "second", "guard")}
SETTINGS = SynthesiseSettings(("writer",), n_prompts=60, langs={"en": 2.0, "zh": 1.0}, human_examples=2)
SCRIPTS = {
    "English": [f"{a}{b} " for a in ("ka", "lo", "mi", "ten", "sur", "pel") for b in "abcdefghij"],
    "Chinese (Simplified)": list("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动"),
}  # fmt: skip


class Models:
    """Writes words at random, the same for the same call, and judges by a word; keeps what it was asked."""

    def __init__(self, *, n_known: int = 50, answers: Sequence[str | Exception] = ()) -> None:
        self.calls: list[Call] = []
        self._n_known, self._answers = n_known, answers

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        draw = random.Random(call.key("m"))
        await asyncio.sleep(0)
        if self._answers:
            answer = self._answers[(len(self.calls) - 1) % len(self._answers)]
            if isinstance(answer, Exception):
                raise answer
            return Reply((Text(answer),))
        if call.form == "guard":
            is_unsafe = "bomb" in call.messages[-1].content
            return Reply(
                (Text("Safety: Unsafe\nCategories: Violent" if is_unsafe else "Safety: Safe\nCategories: None"),)
            )
        asked = call.messages[-1].content
        lang = next(name for name in SCRIPTS if f"messages in {name} that" in asked)
        words = SCRIPTS[lang][: self._n_known]
        written = ["".join(draw.choices(words, k=9)).strip() for _ in range(7)]
        if '"pairs"' not in asked:
            return Reply((Text(json.dumps({"prompts": written})),))
        pairs = [{"unsafe": f"{text} bomb", "safe": f"{text} cake"} for text in written]
        return Reply((Text(f"Here you are:\n{json.dumps({'pairs': pairs})}"),))


def row(number: int, text: str, **values: object) -> RecipeRow:
    made = RecipeRow(
        f"in-{number}", f"in-{number}", "set", "en", (Message(Role.USER, text),), Direction.PROMPT, RiskLevel.UNSAFE,
        ("Violent",), is_human=True,
    )  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]  # fields by name


INPUT = [row(i, f"An input prompt about number {i} of {i * i}") for i in range(12)]


def run(
    folder: Path,
    settings: SynthesiseSettings = SETTINGS,
    models: Models | None = None,
    rows: Sequence[RecipeRow] = INPUT,
) -> tuple[list[RecipeRow], Summary]:
    """Return the rows that were made, the input rows in front left out, and the summary."""
    job = MemoryJob(rows, folder, models or Models())
    summary = make(settings, RecipeSettings(folder, models=MODELS)).run(job)
    assert job.output[: len(rows)] == list(rows)
    return job.output[len(rows) :], summary
