"""Rows for tests of `mix`, and runs of it."""

import json
from pathlib import Path
from typing import Any

from guardrail.audit.pages.figures import Bars, Summary
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.mix.settings import MixSettings
from guardrail.training.mix.stage import MixStage
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.rows import RecipeRow
from tests.training.recipe_job import MemoryJob

WORDS = ["river", "stone", "bread", "lamp", "winter", "garden", "letter", "engine", "market", "silver", "forest"]


def sentence(number: int, n_words: int = 14) -> str:
    """Return a sentence that is like no other one: its words are drawn by its number, and most hold it."""
    return " ".join(f"{WORDS[(number * 7 + i * i) % len(WORDS)]}{number if i % 4 else ''}" for i in range(n_words))


def prompt(id_: str, text: str, **changes: Any) -> RecipeRow:
    """Return a row that asks for a judgement of a prompt."""
    values: dict[str, Any] = {
        "root": id_, "source": "made", "lang": "en", "messages": (Message(Role.USER, text),),
        "target": Direction.PROMPT, "risk": RiskLevel.SAFE,
    }  # fmt: skip
    return RecipeRow(id_, **{**values, **changes})


def answer(id_: str, asked: str, said: str, **changes: Any) -> RecipeRow:
    """Return a row that asks for a judgement of an answer."""
    turns = Message(Role.USER, asked), Message(Role.ASSISTANT, said)
    return prompt(id_, "", messages=turns, **{"target": Direction.RESPONSE, **changes})


UNSAFE, SAFE, CONTROVERSIAL = RiskLevel.UNSAFE, RiskLevel.SAFE, RiskLevel.CONTROVERSIAL


async def nobody(call: Call) -> Reply:
    """Fail: the stage asks no model."""
    raise AssertionError(call)


def mixed(rows: list[RecipeRow], folder: Path, *, seed: int = 1, **changes: Any) -> tuple[MemoryJob, Summary]:
    """Run the stage on rows."""
    job = MemoryJob(rows, folder, nobody, seed=seed)
    return job, MixStage(MixSettings(**changes)).run(job)


def ids(job: MemoryJob) -> list[str]:
    """Return the ids of what was handed on."""
    return [row.id for row in job.output]


def dropped(summary: Summary) -> dict[str, int]:
    """Return what the report says was left out."""
    bars = next(one for one in summary.figures if isinstance(one, Bars) and one.title == "Rows kept and left out")
    return {name: int(n) for name, n in zip(bars.labels, bars.series["rows"], strict=True)}


def evaluation_set(folder: Path, rows: list[RecipeRow]) -> Path:
    """Write rows as a file of the data schema."""
    path = folder / "held_out.jsonl"
    lines = [
        {"id": row.id, "source": "x", "lang": "en", "target": row.target.value, "risk": None, "category": [],
         "messages": [{"role": m.role.value, "content": m.content} for m in row.messages]}
        for row in rows
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))
    return path
