"""Small recipes that tests write and run, and what lies on the disk afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from guardrail.training.recipe.manifest import Manifest
from guardrail.training.recipe.running import RunOptions, run_stages
from guardrail.training.recipe.settings import RecipeSettings, load_recipe
from guardrail.training.recipe.stages import stages_of

SERVER = Path(__file__).with_name("server.py")

FUNCTION = '''
"""A model of a recipe: it writes down that it was asked, and answers with a text that hangs on the question alone."""

import hashlib
from pathlib import Path

LOG = Path(__file__).with_name("asked.log")


def answer(call):
    if Path(__file__).with_name("down").exists():
        raise RuntimeError("down")
    name = hashlib.sha256(repr((call.messages, call.prompt, call.sample)).encode()).hexdigest()[:16]
    with LOG.open("a") as file:
        file.write(name + "\\n")
    return [f"Answer {name} {i}" for i in range(call.n)]
'''


def row(row_id: str, text: str = "", **changes: Any) -> dict[str, Any]:
    """Return a prompt of the data schema."""
    messages = [{"role": "user", "content": text or f"How do I bake bread of kind {row_id}?"}]
    values = {"id": row_id, "source": "made", "lang": "en", "messages": messages, "target": "prompt", "risk": None}
    return values | changes


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def write_recipe(folder: Path, *, n_rows: int = 30, part_rows: int = 7, samples: int = 2, model: str = "") -> Path:
    """Write a recipe with one stage, `respond`, whose model is a function unless another one is given."""
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(FUNCTION, "utf-8")
    write_rows(folder / "rows.jsonl", (row(f"r{i}") for i in range(n_rows)))
    path = folder / "recipe.toml"
    path.write_text(
        f"""
        output = "{folder / "out"}"
        part_rows = {part_rows}
        inputs = [{{path = "{folder / "rows.jsonl"}"}}]
        [models.small]
        {model or 'kind = "function"' + chr(10) + 'function = "model.py:answer"'}
        [[respond.answerers]]
        model = "small"
        samples = {samples}
        """,
        "utf-8",
    )
    return path


def run(path: Path, *names: str, **options: Any) -> tuple[list[Manifest], list[str]]:
    """Run stages of a recipe file, all unless named; return their manifests and what was said."""
    recipe, said = load_recipe(path), list[str]()
    found = run_stages(recipe, path.parent, names or stages_of(recipe), RunOptions(**options), said.append)
    return found, said


def recipe_of(path: Path) -> RecipeSettings:
    """Return the recipe of a file."""
    return load_recipe(path)


def data_files(folder: Path) -> dict[str, bytes]:
    """Return what no clock and no kill may change: all files but manifests, reports, the cache and the lock."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_apart = name.name in ("manifest.json", "report.html") or name.name.startswith((".", "calls.sqlite"))
        if path.is_file() and not is_apart:
            kept[str(name)] = path.read_bytes()
    return kept


def n_asked(folder: Path) -> int:
    """Return how often the function was asked."""
    log = folder / "asked.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


class Served:
    """The counting server as a process. What comes after `hold_after` requests waits for `release`."""

    def __init__(
        self, log: Path, *, delay_s: float = 0.0, fail_after: int = 0, hold_after: int = 0, program: Path = SERVER
    ) -> None:
        self._log = log
        command = [sys.executable, str(program), str(log), str(delay_s), str(fail_after), str(hold_after)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def release(self) -> None:
        """Answer what waits, and whatever comes."""
        self._log.with_name(f"{self._log.name}.go").touch()

    def model(self, *, concurrency: int = 4) -> str:
        """Return the settings of a model that this server is."""
        return "\n".join(
            ('kind = "endpoint"', 'model = "m"', f'base_urls = ["http://127.0.0.1:{self.port}/v1"]',
             f"concurrency = {concurrency}")
        )  # fmt: skip

    def events(self) -> list[tuple[str, str]]:
        """Return what happened, in order: received or answered, and which request."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(what, name) for what, _, name in (line.partition(" ") for line in lines)]
