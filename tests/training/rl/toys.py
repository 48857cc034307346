"""Settings of short toy runs, and what lies in their folders afterwards."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

TOY = ROOT / "examples" / "rl" / "toy.toml"


def write_config(folder: Path, name: str = "run", *, toy: str = "", top: str = "", **gspo: object) -> Path:
    """Write the settings of a toy run whose folder has the same name.

    Args:
        folder: of the file and of the run.
        name: of both.
        toy: lines of its section.
        top: lines above all sections.
        gspo: keys of that section, in place of those of a short run.
    """
    values = {
        "steps": 8, "learning_rate": 3e-4, "max_new_tokens": 12, "log_steps": 2, "save_steps": 4, **gspo,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    top = top or 'rewards = ["guard_only", "mixed"]'
    path = folder / f"{name}.toml"
    path.write_text(
        f'output = "{folder / name}"\nthreads = 1\ndevice = "cpu"\n{top}\n[toy]\n{toy}\n'
        f"[rollouts]\nthinks = [false]\n[measure]\nanswers = 16\nbatch = 512\n[gspo]\n" + "\n".join(lines),
        "utf-8",
    )
    return path


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def summary_of(folder: Path) -> dict[str, Any]:
    """What `summary.json` holds."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return found
