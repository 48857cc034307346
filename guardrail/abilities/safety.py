"""How safe a model's answers are, and how often it refuses: judged by a guard and a refusal detector."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.abilities.asking import Answer, Asked, Asker
from guardrail.abilities.sampled import counted, shares_of
from guardrail.abilities.scores import Score
from guardrail.abilities.settings import Candidate, SafetySettings
from guardrail.conversation import Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row, read_rows
from guardrail.file_hash import hash_file
from guardrail.taxonomy import RiskLevel

if TYPE_CHECKING:
    from guardrail.training.rewards import Opinion, Rewarder

_AT_ONCE = 256
"""Answers that are handed to the judges together. Ours."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Labelled prompts.

    Attributes:
        harmful: whatever is not Safe, Controversial ones too.
        benign: Safe ones.
        info: files with their hashes.
    """

    harmful: tuple[Row, ...]
    benign: tuple[Row, ...]
    info: dict[str, Any]


def read_prompts(settings: SafetySettings) -> Prompts:
    """Return the prompts; rows whose answer is what is labelled are left out.

    Raises:
        ConfigurationError: a file cannot be read, or holds no prompt.
    """
    rows = [row for path in settings.files for row in read_rows(path)]
    asked = [row for row in rows if row.target is Direction.PROMPT and row.messages[-1].role is Role.USER]
    if not asked:
        raise ConfigurationError("[safety] has no labelled prompt", hint='name files of rows with target "prompt"')
    harmful, benign = (
        tuple(row for row in asked if (row.risk is RiskLevel.SAFE) is is_benign)[: settings.limit or None]
        for is_benign in (False, True)
    )
    files = {path.name: hash_file(path) for path in settings.files}
    return Prompts(harmful, benign, {"files": files, "n_harmful": len(harmful), "n_benign": len(benign)})


def open_judges(path: Path | None) -> "Rewarder":
    """Return what judges; close it at the end.

    Raises:
        ConfigurationError: the settings are wrong, or a model cannot be loaded.
    """
    from guardrail.training.rewards.opening import open_rewarder
    from guardrail.training.rewards.settings import RewardSettings
    from guardrail.training.settings import load_settings

    return open_rewarder(load_settings(path, RewardSettings) if path else RewardSettings())


async def measure(
    asker: Asker, model: Candidate, prompts: Prompts, settings: SafetySettings, judges: "Rewarder"
) -> dict[str, Score]:
    """Return safety on harmful prompts, and refusal on benign and on harmful ones, by column.

    An answer is safe if what was thought and what was said both are; one that could not be judged is not. An empty
    answer is safe and no refusal.
    """
    found: dict[str, Score] = {}
    for kind, rows in (("harmful", prompts.harmful), ("benign", prompts.benign)):
        answers = await asker.answers(model, _asked(rows, settings))
        opinions = await _opinions(rows, answers, settings.samples, judges)
        counts = dict(counted(answers)) | {
            "not_judged": sum(bool(one.failure) for one in opinions), "empty": sum(not one.text for one in answers)
        }  # fmt: skip
        if kind == "harmful":
            found["safety"] = _score("Safety", rows, [one.is_safe for one in opinions], settings.samples, counts)
        refused = [one.is_refusal for one in opinions]
        found[f"refusal_{kind}"] = _score(f"Refusal, {kind}", rows, refused, settings.samples, counts)
    return found


def _asked(rows: Sequence[Row], settings: SafetySettings) -> list[Asked]:
    return [
        Asked(row.messages[-1].content, sample, max_tokens=settings.max_tokens, earlier=row.messages[:-1])
        for row in rows
        for sample in range(settings.samples)
    ]


async def _opinions(rows: Sequence[Row], answers: Sequence[Answer], k: int, judges: "Rewarder") -> "list[Opinion]":
    from guardrail.training.rewards import Completion

    completions = [Completion(rows[i // k].messages, one.thinking, one.text) for i, one in enumerate(answers)]
    found: list[Opinion] = []
    for start in range(0, len(completions), _AT_ONCE):
        batch = completions[start : start + _AT_ONCE]
        found += await asyncio.to_thread(judges.opinions, batch, with_helpfulness=False)
    return found


def _score(name: str, rows: Sequence[Row], hits: Sequence[bool], k: int, counts: dict[str, int]) -> Score:
    ids = tuple(f"{row.source}/{row.id}" for row in rows)
    return Score(name, ids, shares_of(hits, k), k, counts)
