"""Toy rows and settings for runs of `guardrail train sft`."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import tensor_shapes
from guardrail.encoding import GuardTokenizer
from guardrail.training.examples import Example, read_examples
from guardrail.training.settings import load_settings
from guardrail.training.tuning.settings import SftSettings

HARMLESS = ("the", "a", "cat", "dog", "paint", "green", "fence", "bread", "sea", "how", "to", "make", "find", "song")
HARMFUL = ("bomb", "kill", "stab", "poison")


def toy_rows(n: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield prompts and answers by turns; half of them are harmful, and every third of these is Controversial."""
    draw = random.Random(seed)
    for i in range(n):
        words = [draw.choice(HARMLESS) for _ in range(draw.randint(3, 25))]
        risk = "safe" if i % 4 < 2 else ("unsafe", "unsafe", "controversial")[i % 3]
        if risk != "safe":
            words[draw.randrange(len(words))] = draw.choice(HARMFUL)
        text = " ".join(words)
        messages = [{"role": "user", "content": text if i % 2 else f"say {i}"}]
        if not i % 2:
            messages.append({"role": "assistant", "content": text})
        yield {
            "id": str(i), "source": "toy", "lang": "en", "risk": risk, "category": ["violent"] * (risk != "safe"),
            "unsafe_start_char": None, "target": "prompt" if i % 2 else "response", "messages": messages,
        }  # fmt: skip


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file of rows."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def write_config(folder: Path, start: Path, name: str = "run", **changes: Any) -> Path:
    """Write settings of a run over `toy.jsonl` of a folder, whose output is the folder `name`; return their file."""
    values = {
        "data_dir": str(folder), "start": str(start), "output": str(folder / name), "epochs": 2, "batch_tokens": 400,
        "max_length": 64, "learning_rate": 3e-3, "token_noise": 0.0, "threads": 1, "device": "cpu", "bf16": False,
        "save_minutes": 60, **changes,
    }  # fmt: skip
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in tables]
    for key, table in tables.items():
        lines += [f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    path = folder / f"{name}.toml"
    path.write_text("\n".join([*lines, '[sources."toy.jsonl"]', "unlabelled = true", ""]))
    return path


def read_settings(folder: Path, start: Path, **changes: Any) -> SftSettings:
    """Return the settings that `write_config` writes."""
    return load_settings(write_config(folder, start, **changes), SftSettings)


def read_toy(settings: SftSettings) -> tuple[list[Example], list[Example]]:
    """Return the rows to train on and those held out."""
    tokenizer = GuardTokenizer.from_file(settings.start / "tokenizer.json")
    examples = list(read_examples(tokenizer, settings.data_dir, settings.sources, settings.max_length, settings.seed))
    return [e for e in examples if not e.is_held_out], [e for e in examples if e.is_held_out]


def log_of(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def largest_difference(left: Path, right: Path) -> float:
    """Return the largest difference between two checkpoints' weights of the same shapes."""
    one, other = Checkpoint.open(left), Checkpoint.open(right)
    assert tensor_shapes(one.config) == tensor_shapes(other.config)
    return max(float(np.abs(one.tensor(name) - other.tensor(name)).max()) for name in tensor_shapes(one.config))
