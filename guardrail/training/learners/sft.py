"""The learner of the reference: the four-head model, fine-tuned on each half from one checkpoint.

A variant is one run of `sft` in a folder of its own, and goes on after a kill like any other.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.errors import MissingExtra
from guardrail.network import GuardNetwork
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.training import sft
from guardrail.training.examples import IGNORED, Example, to_example
from guardrail.training.learners.learning import FloatArray, Lesson, Levels, Variant
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow, to_values
from guardrail.training.tuning.batches import batches_by_length, collate
from guardrail.whole_files import write_whole

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "train") from error

_LESSONS = "lessons.jsonl"
_CLASS_WEIGHTS = (RiskLevel.SAFE, RiskLevel.UNSAFE, RiskLevel.CONTROVERSIAL)
"""Order of `SftSettings.class_weights`."""

_COLUMNS = ("id", "source", "lang", "target", "risk", "category", "refusal", "unsafe_start_char")


class SftLearner:
    """Implements `Learner`; not safe for two processes."""

    def __init__(self, settings: LearnerSettings, folder: Path, seed: int) -> None:
        self._settings, self._folder, self._seed = settings, folder, seed

    def learn(self, name: str, lessons: Iterable[Lesson], levels: Levels, variants: Sequence[Variant]) -> "SftPanel":
        """See `Learner`."""
        folders = [self._folder / name / variant.name for variant in variants]
        if not all(_is_done(folder) for folder in folders):
            _write_lessons(lessons, variants, folders)
        for variant, folder in zip(variants, folders, strict=True):
            if not _is_done(folder):
                self._train(variant, folder)
        return SftPanel([folder / "run" / "checkpoint" for folder in folders], levels, self._settings)

    def _train(self, variant: Variant, folder: Path) -> None:
        config = folder / "sft.toml"
        config.write_text(_toml(self._values(variant, folder)), "utf-8")
        sft.main(config, resume=True)
        write_whole(folder / "done", b"")

    def _values(self, variant: Variant, folder: Path) -> dict[str, Any]:
        settings = self._settings
        return {
            "data_dir": str(folder), "start": str(settings.start), "output": str(folder / "run"),
            "epochs": settings.epochs, "batch_tokens": settings.batch_tokens, "max_length": settings.max_length,
            "learning_rate": settings.learning_rate, "head_learning_rate": settings.head_learning_rate,
            "class_weights": [variant.weights.get(level, 1.0) for level in _CLASS_WEIGHTS], "seed": self._seed,
            "save_minutes": settings.save_minutes, "threads": settings.threads,
        }  # fmt: skip


class SftPanel:
    """Implements `Panel`; holds all networks of the panel. Not safe for two threads."""

    def __init__(self, checkpoints: Sequence[Path], levels: Levels, settings: LearnerSettings) -> None:
        self._levels, self._max_length, self._budget = levels, settings.max_length, settings.batch_tokens
        self._tokenizer = GuardTokenizer.from_file(checkpoints[0] / "tokenizer.json")
        self._networks = [GuardNetwork.from_checkpoint(folder) for folder in checkpoints]

    def probabilities(self, rows: Sequence[RecipeRow]) -> FloatArray:
        """See `Panel`; the levels that were not taught are left out of the sum."""
        examples = [to_example(self._tokenizer, _as_safe(row), self._max_length) for row in rows]
        is_prompt = [row.target is Direction.PROMPT for row in rows]
        found = np.zeros((len(self._networks), len(rows), len(self._levels)), np.float32)
        for number, network in enumerate(self._networks):
            for batch in batches_by_length(examples, self._budget):
                found[number, batch] = self._judge(network, [examples[i] for i in batch], [is_prompt[i] for i in batch])
        return found

    @torch.inference_mode()
    def _judge(self, network: GuardNetwork, examples: list[Example], is_prompt: list[bool]) -> FloatArray:
        """Return float32 [example, level]."""
        hidden = network.hidden_states(collate(examples).ids)
        found = [
            self._prompt(network, hidden[i, example.query_position])
            if is_prompt[i]
            else self._response(network, hidden[i], example)
            for i, example in enumerate(examples)
        ]
        return np.stack(found)

    def _prompt(self, network: GuardNetwork, state: torch.Tensor) -> FloatArray:
        logits = network.heads(state).query_risk_level_logits
        return self._softmax(logits, PROMPT_LABELS.risks)

    def _response(self, network: GuardNetwork, states: torch.Tensor, example: Example) -> FloatArray:
        """Mean over the second half of the answer's tokens: the first one may be harmless in a harmful answer. Ours."""
        places = np.flatnonzero(example.response_risk != IGNORED)
        if not len(places):  # an answer of white space alone
            places = np.array([len(example.ids) - 1])
        heads = network.heads(states[torch.from_numpy(places[len(places) // 2 :])])
        return self._softmax(heads.risk_level_logits, RESPONSE_LABELS.risks)

    def _softmax(self, logits: torch.Tensor, risks: Sequence[RiskLevel]) -> FloatArray:
        order = [risks.index(level) for level in self._levels]
        probabilities = logits[..., order].softmax(-1).reshape(-1, len(order)).mean(0)
        return np.asarray(probabilities.numpy(), np.float32)


def _is_done(folder: Path) -> bool:
    return (folder / "done").exists()


def _write_lessons(lessons: Iterable[Lesson], variants: Sequence[Variant], folders: Sequence[Path]) -> None:
    with ExitStack() as stack:
        files = []
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            files.append(stack.enter_context((folder / _LESSONS).open("w", encoding="utf-8")))
        for lesson in lessons:
            line = json.dumps({**_values(lesson.row), "risk": lesson.level.value.lower()}) + "\n"
            for variant, file in zip(variants, files, strict=True):
                if variant.sees(lesson):
                    file.write(line)


def _values(row: RecipeRow) -> dict[str, Any]:
    """Return a row as `sft` reads it: what a model thought before it answered is not judged and left out."""
    values = to_values(row)
    messages = [{"role": m["role"], "content": m["content"]} for m in values["messages"]]
    return {**{name: values[name] for name in _COLUMNS}, "messages": messages}


def _as_safe(row: RecipeRow) -> dict[str, Any]:
    """Return a row whose example marks all tokens of an answer, whatever its label and its onset."""
    return {**_values(row), "risk": "safe", "category": [], "unsafe_start_char": None}


def _toml(values: dict[str, Any]) -> str:
    # JSON's strings, numbers and arrays of numbers are TOML's too.
    lines: Iterator[str] = (f"{name} = {json.dumps(value)}" for name, value in values.items())
    return "\n".join([*lines, f'[sources."{_LESSONS}"]', ""])
