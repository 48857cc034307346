"""Rows of the data schema for tests of training."""

import gzip
import json
from pathlib import Path
from typing import Any


def prompt_row(text: str = "hello there", **changes: Any) -> dict[str, Any]:
    """A harmful prompt."""
    row = {
        "id": "1", "source": "made", "lang": "en", "messages": [{"role": "user", "content": text}],
        "target": "prompt", "risk": "unsafe", "category": ["violent"], "unsafe_start_char": None,
    }  # fmt: skip
    return {**row, **changes}


def answer_row(text: str, **changes: Any) -> dict[str, Any]:
    """A harmful answer."""
    messages = [{"role": "user", "content": "tell me"}, {"role": "assistant", "content": text}]
    return prompt_row(**{"messages": messages, "target": "response", **changes})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as gzipped JSON lines; return the path."""
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path
