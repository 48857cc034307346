"""Tiny Gen checkpoints to start from, labelled rows, and settings files that train on them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.generative.examples import EXAMPLES, Example
from tests.generative.tiny_gen import write_gen

Rows = Sequence[dict[str, Any]]
WriteRows = Callable[[Rows], None]
WriteConfig = Callable[..., Path]

_LEVELS = {"safe": "unsafe", "unsafe": "controversial", "controversial": "safe"}
_CATEGORIES = {"unsafe": ["Copyright Violation"], "controversial": ["Politically Sensitive Topics"], "safe": []}


def row_of(example: Example, number: int = 0) -> dict[str, Any]:
    """An example as a row of the data schema."""
    said = dict(line.split(": ") for line in example.written.split("\n"))
    return {
        "id": f"{number}", "source": "toy", "lang": "en", "messages": example.messages,
        "target": "prompt" if example.response is None else "response", "risk": said["Safety"].lower(),
        "category": [] if said["Categories"] == "None" else [said["Categories"]],
        "refusal": {"Yes": True, "No": False}.get(said.get("Refusal", "")), "unsafe_start_char": None, "meta": {},
    }  # fmt: skip


ROWS = [row_of(example, i) for i, example in enumerate(EXAMPLES)]


def otherwise(row: dict[str, Any]) -> dict[str, Any]:
    """The same row with other labels throughout."""
    level = _LEVELS[row["risk"]]
    refusal = None if row["refusal"] is None else not row["refusal"]
    return {**row, "risk": level, "category": _CATEGORIES[level], "refusal": refusal}


@pytest.fixture(scope="session")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("untaught") / "gen"
    write_gen(folder)
    return folder


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Writes the rows that the settings name."""

    def write(rows: Rows) -> None:
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    return write


@pytest.fixture
def config(tmp_path: Path, untaught: Path, write_rows: WriteRows) -> WriteConfig:
    """Writes a settings file of a short run on the examples, in a folder of the same name."""
    write_rows(ROWS)

    def write(name: str = "run", *, lora: str = "", source: str = "", **changes: object) -> Path:
        values = {
            "data_dir": str(tmp_path), "start": str(untaught), "output": str(tmp_path / name), "max_steps": 2,
            "tune": "lora" if lora else "full", "learning_rate": 3e-3, "batch": 4, "gradient_accumulation": 1,
            "max_length": 600, "log_steps": 1, "threads": 1, "dtype": "f32", "bf16": False, **changes,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        tables = [f"[lora]\n{lora}"] if lora else []
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join([*lines, *tables, f'[sources."rows.jsonl"]\n{source}']))
        return path

    return write
