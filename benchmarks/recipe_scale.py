"""The data recipe at the reference's size, 1.19M samples: on paper, and the pipeline's own work by simulation.

    python benchmarks/recipe_scale.py paper [--speed MODEL=TOKENS_PER_S ...]
    python benchmarks/recipe_scale.py run [--rows 1190000] [--stage annotate --stage mix ...] [--folder runs/scale]

`paper` adds up what `recipe_full.toml` would ask of each model. `run` sends synthetic rows through the stages, each on
its own input of so many rows and in a process of its own, by the driver that `guardrail train` uses; its models answer
at once. Rows are drawn: prompts and answers, English and Chinese, one in twenty a near duplicate, one in
a hundred equal. CPU seconds (import and start of the process too) are what to go by on a machine that others use.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from recipe_scale_models import DOUBTFUL, ENGLISH, UNSAFE

from guardrail.bench.machine import cores, cpu_name
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.estimating import estimate
from guardrail.training.recipe.manifest import read_manifest
from guardrail.training.recipe.rows import SCHEMA, RecipeRow, to_values
from guardrail.training.recipe.running import RunOptions, run_stages
from guardrail.training.recipe.settings import STAGES, RecipeSettings, load_recipe
from guardrail.training.recipe.stages import stages_of

HERE = Path(__file__).parent
FULL = HERE / "recipe_full.toml"
PACKAGES = ("numpy", "pyarrow", "rapidfuzz", "scikit-learn")
BATCH = 1000
N_TEST = 2000
"""Rows of the evaluation set that `mix` is checked against."""

MODELS = "[models]\n" + "\n".join(
    f'{name} = {{ kind = "function", function = "recipe_scale_models.py:{function}", concurrency = 256 }}'
    for name, function in (
        ("writer", "write"), ("answerer", "answer"), ("base", "go_on"), ("a", "label"), ("b", "label_b"),
        ("c", "label_c"), ("guard", "guard"), ("judge", "read_prefix"), ("translator", "translate"),
        ("approver", "approve"),
    )
)  # fmt: skip
SECTIONS = {
    "synthesise": '[synthesise]\ngenerators = ["writer"]\njudge = "guard"\nn_prompts = {tenth}\nprompts_per_call = 20',
    "respond": '[respond]\nanswerers = [{{ model = "answerer" }}, {{ model = "base", mode = "base" }}]',
    "annotate": "[annotate]\nannotators = {{ a = {{}}, b = {{}}, c = {{}} }}",
    "translate": '[translate]\nmodel = "translator"\njudge = "approver"\nlangs = ["de"]\nshare = 0.5',
    "controversial": "[controversial]",
    "relabel": "[relabel]",
    "token_labels": '[token_labels]\nrollouts = [{{ model = "answerer" }}]\nguard = "guard"\njudge = "judge"',
    "mix": '[mix]\nmost.lang = {{ zh = {tenth} }}\nshares.risk = {{ safe = 0.6 }}\n'
    'evaluation = {{ held_out = "{folder}/held_out.parquet" }}',
}  # fmt: skip


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    paper = commands.add_parser("paper")
    paper.add_argument("--speed", action="append", default=[], metavar="MODEL=TOKENS_PER_S", help="of one GPU")
    run = commands.add_parser("run")
    run.add_argument("--rows", type=int, default=1_190_000)
    run.add_argument("--stage", action="append", choices=STAGES, help="default: all")
    run.add_argument("--folder", type=Path, default=Path("runs/scale"))
    run.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.command == "paper":
        on_paper(dict(one.split("=") for one in given.speed))
    elif given.inside:
        run_stage(given.folder, given.stage[0])
    else:
        simulate(given.rows, given.stage or list(STAGES), given.folder)


def on_paper(speeds: dict[str, str]) -> None:
    """Print calls, tokens and GPU hours of the full recipe."""
    recipe = load_recipe(FULL)
    models = {name: replace(model, gpu_tokens_per_s=float(speeds.get(name, model.gpu_tokens_per_s)))
              for name, model in recipe.models.items()}  # fmt: skip
    bill = estimate(replace(recipe, models=models), FULL.parent, stages_of(recipe))
    print("| stage | rows in | model | calls | tokens read | tokens written | tokens/s a GPU | GPU hours |")
    print("|---|---|---|---|---|---|---|---|")
    total = 0.0
    for cost in bill.costs:
        n_in, used, speed = bill.rows[cost.stage], cost.usage, models[cost.model].gpu_tokens_per_s
        total += cost.gpu_hours or 0
        print(
            f"| {cost.stage} | {n_in.n_prompts + n_in.n_responses:,.0f} | {cost.model} | {used.n_calls:,.0f} | "
            f"{used.n_input / 1e6:,.0f} M | {used.n_output / 1e6:,.0f} M | {speed:,.0f} | "
            f"{cost.gpu_hours or 0:,.0f} |"
        )
    last = bill.rows[stages_of(recipe)[-1]]
    print(f"\n{total:,.0f} GPU hours for {last.n_prompts:,.0f} prompts and {last.n_responses:,.0f} answers. Assumed:")
    for name, sentences in bill.assumptions.items():
        for sentence in sentences:
            print(f"- {sentence if sentence.startswith(name) else f'{name}: {sentence}'}")


def simulate(n_rows: int, stages: list[str], folder: Path) -> None:
    """Run each stage in a process and print what it took."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(versions)}\n\nSynthetic rows in: {n_rows:,}\n", flush=True)
    print("| stage | rows out | calls | import s | stage s | rows/s | calls/s | CPU s | rows a CPU s | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "held_out.parquet", N_TEST, seed=2, is_labelled=True)
    for stage in stages:
        is_labelled = stage not in ("respond", "annotate", "synthesise")
        source = folder / f"{'labelled' if is_labelled else 'unlabelled'}_{n_rows}.parquet"
        if not source.exists():
            write_rows(source, n_rows, seed=1, is_labelled=is_labelled)
        print(run_apart(folder, stage, source, n_rows).line(), flush=True)


@dataclass(frozen=True)
class Took:
    """What a stage took."""

    stage: str
    n_in: int
    n_out: int
    n_calls: int
    wall_s: float
    stage_s: float
    cpu_s: float
    peak_mib: float

    def line(self) -> str:
        """Return it as a table's row."""
        return (
            f"| {self.stage} | {self.n_out:,} | {self.n_calls:,} | {self.wall_s - self.stage_s:,.0f} | "
            f"{self.stage_s:,.0f} | {self.n_in / self.stage_s:,.0f} | {self.n_calls / self.stage_s:,.0f} | "
            f"{self.cpu_s:,.0f} | {self.n_in / self.cpu_s:,.0f} | {self.peak_mib:,.0f} |"
        )


def run_apart(folder: Path, stage: str, source: Path, n_rows: int) -> Took:
    """Run a stage in a process of its own."""
    place = folder / f"{stage}_{n_rows}"
    section = SECTIONS[stage].format(tenth=max(n_rows // 10, 1), folder=folder)
    head = f'output = "{place}"\n[[inputs]]\npath = "{source}"\n'
    (folder / f"{stage}.toml").write_text(f"{head}{MODELS}\n{section}\n")
    started = time.monotonic()
    command = [sys.executable, __file__, "run", "--folder", str(folder), "--stage", stage, "--inside"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s, manifest = time.monotonic() - started, read_manifest(place / stage)
    if process.returncode or manifest is None or manifest.rows is None:
        sys.exit(f"{stage} ended with {process.returncode}")
    n_calls = sum(one.asked + one.cached for one in manifest.calls.values())
    cpu_s, peak_mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    return Took(stage, manifest.n_in, manifest.rows.n_rows, n_calls, wall_s, manifest.seconds, cpu_s, peak_mib)


def run_stage(folder: Path, stage: str) -> None:
    """Run a stage here."""
    recipe: RecipeSettings = load_recipe(folder / f"{stage}.toml")
    run_stages(recipe, HERE, [stage], RunOptions(), lambda said: print(said, file=sys.stderr))


def write_rows(path: Path, n_rows: int, *, seed: int, is_labelled: bool) -> None:
    """Write synthetic rows."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        batch: list[RecipeRow] = []
        for row in drawn_rows(n_rows, seed):
            batch.append(row if is_labelled or row.is_human else replace(row, risk=None, categories=()))
            if len(batch) == BATCH:
                writer.write_table(pa.Table.from_pylist([to_values(one) for one in batch], schema=SCHEMA))
                batch = []
        writer.write_table(pa.Table.from_pylist([to_values(one) for one in batch], schema=SCHEMA))


def drawn_rows(n_rows: int, seed: int) -> Iterator[RecipeRow]:
    """Yield rows in the reference's shares of prompts and answers (41.2 to 58.8); one in a hundred a person's."""
    rng, words = np.random.default_rng(seed), Words(seed)
    last = ("", "")
    for start in range(0, n_rows, BATCH):
        n = min(BATCH, n_rows - start)
        draws = rng.random((n, 5))
        for i, (kind, lang, copy, risk, human) in enumerate(draws.tolist()):
            is_answer, is_chinese = kind >= 0.412, lang < 0.27
            level = RiskLevel.UNSAFE if risk < 0.25 else RiskLevel.CONTROVERSIAL if risk < 0.3 else RiskLevel.SAFE
            word = {RiskLevel.UNSAFE: UNSAFE, RiskLevel.CONTROVERSIAL: DOUBTFUL}.get(level, "")
            if copy < 0.01 and last[0]:
                asked, said = last
            elif copy < 0.06 and last[0]:
                asked, said = f"{last[0]} please", last[1] and f"{last[1]} please"
            else:
                asked = words.text(12, 30, is_chinese, "" if is_answer else word)
                said = words.text(40, 160, is_chinese, word) if is_answer else ""
            last = asked, said
            turns = [Message(Role.USER, asked), *([Message(Role.ASSISTANT, said)] if said else [])]
            target = Direction.RESPONSE if said else Direction.PROMPT
            number = start + i
            yield RecipeRow(
                f"r{number}", f"r{number}", f"set{number % 12}", "zh" if is_chinese else "en", tuple(turns), target,
                level, () if level is RiskLevel.SAFE else ("Violent",), is_human=human < 0.01,
            )  # fmt: skip


class Words:
    """Draws texts: a third of the words are common, the others of 20,000 made-up ones, the first of them more often."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        parts = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
        drawn = self._rng.integers(len(parts), size=(20_000, 3))
        made = ["".join(parts[i] for i in row) for row in drawn.tolist()]
        self._words = np.array(ENGLISH + made)
        weights = np.concatenate((np.full(len(ENGLISH), 0.33 / len(ENGLISH)), 0.67 * zipf(len(made))))
        self._bounds = np.cumsum(weights)
        self._chars = np.array([chr(0x4E00 + i) for i in range(3000)])
        self._char_bounds = np.cumsum(zipf(len(self._chars)))

    def text(self, least: int, most: int, is_chinese: bool, word: str) -> str:
        """Return a text of so many words, one of them given."""
        n = int(self._rng.integers(least, most))
        bounds, words = (self._char_bounds, self._chars) if is_chinese else (self._bounds, self._words)
        chosen = words[np.minimum(np.searchsorted(bounds, self._rng.random(n)), len(words) - 1)].tolist()
        if word:
            chosen.insert(n // 2, f" {word} " if is_chinese else word)
        return ("" if is_chinese else " ").join(chosen)


def zipf(n: int) -> np.ndarray:
    """Return probabilities that fall as one over the rank."""
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


if __name__ == "__main__":
    main()
