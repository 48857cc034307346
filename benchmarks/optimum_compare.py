"""Our export against Optimum's, of one checkpoint, interleaved in one process; prints Markdown tables.

    make optimum-test                                                  # makes .venvs/optimum
    .venvs/optimum/bin/python benchmarks/optimum_compare.py [--checkpoint FOLDER] [--keep FOLDER] [--agreement]

Without a checkpoint, one of the 0.6B shape with random weights is made. Each export runs in a process of its own, so
that its time and peak memory are its own; with --keep they are made once. Needs 12 GB of memory and 10 GB of disk.

Times are of `Engine.step` alone: rolling back, which costs Optimum's graph a copy of its cache and ours nothing, is not
counted. Ratios are of neighbours in one round; in brackets the 10th and the 90th percentile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from guardrail.bench.machine import cores, described
from guardrail.bench.shape_06b import SHAPE_06B, random_checkpoint
from guardrail.bench.timing import Spread, seconds_of, unwatched
from guardrail.checkpoint import CONFIG_FILE, Checkpoint, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Engine, Feed, Session
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.exported import read_manifest
from guardrail.onnx_export.optimum_engine import OptimumEngine
from guardrail.onnx_export.optimum_verify import verify_optimum
from guardrail.onnx_export.verify import verify_checkpoint

EXPORT = """
import json, resource, sys, time
from guardrail.onnx_export import export_checkpoint as export
source, target, way, precision = sys.argv[1:]
if way != "ours":
    from guardrail.onnx_export.optimum import export_with_optimum as export
started = time.monotonic()
export(source, target, precision=precision, **{"with_activations": True} if way == "ready" else {})
seconds = time.monotonic() - started
print(json.dumps({"seconds": seconds, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
"""
"""One export; Linux counts the peak in KiB."""

NAMES = {
    ("ours", "fp32"): "ours, fp32",
    ("optimum", "fp32"): "Optimum, fp32",
    ("ours", "int8"): "ours, int8",
    ("optimum", "int8"): "ORTQuantizer, int8",
}
READY = {("ready", "int8"): "ORTQuantizer, int8, ready configuration"}
"""Compared for its verdicts only."""

PACKAGES = ("guardrail-stream", "onnxruntime", "optimum", "optimum-onnx", "transformers", "torch", "onnx", "numpy")

Key = tuple[str, str]
"""Way of exporting and precision."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call that is timed: `n_new` tokens behind `context` others."""

    name: str
    n_new: int
    context: int


CASES = (
    Case("1 token at context 256, ms", 1, 256),
    Case("1 token at context 1024, ms", 1, 1024),
    Case("8 tokens at context 256, ms", 8, 256),
    Case("prefill of 256 tokens, ms", 256, 0),
)

Times = dict[tuple[Case, Key], list[float]]
"""Milliseconds of each round."""


@dataclass(frozen=True, slots=True)
class Made:
    """An export: where it lies, and what it took."""

    folder: Path
    seconds: float
    peak_gib: float

    @property
    def megabytes(self) -> float:
        """Size of graph and weights, without tokenizer and descriptions."""
        return sum(path.stat().st_size for path in self.folder.glob("*.onnx*")) / 1e6


def main() -> None:
    """Export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="in the published format; otherwise one is made")
    parser.add_argument("--keep", type=Path, help="folder in which exports are kept, and found again")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--agreement", action="store_true", help="compare verdicts with torch instead of times")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        checkpoint = options.checkpoint or random_checkpoint(place / "checkpoint", SHAPE_06B, unwatched)
        made = {key: export(checkpoint, place, key) for key in (NAMES | READY if options.agreement else NAMES)}
        print(described(Checkpoint.open(checkpoint).config, PACKAGES))
        if options.agreement:
            print(agreement_table(checkpoint, made))
            return
        engines = {key: load(key, of.folder, options.threads) for key, of in made.items()}
        print(f"{options.threads} threads, {options.rounds} rounds\n")
        print(table(made, measure(engines, options.rounds)))


def export(checkpoint: Path, place: Path, key: Key) -> Made:
    """Export in a process of its own, or return what an earlier run kept."""
    folder = place / "-".join(key)
    taken = folder.with_suffix(".json")
    if not taken.exists():
        print(f"exporting: {(NAMES | READY)[key]}", file=sys.stderr)
        place.mkdir(parents=True, exist_ok=True)
        arguments = [sys.executable, "-c", EXPORT, str(checkpoint), str(folder), *key]
        taken.write_text(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return Made(folder, **json.loads(taken.read_text()))


def load(key: Key, folder: Path, threads: int) -> Engine:
    """Load an export for its engine."""
    runtime = Runtime(threads=threads)
    if key[0] != "ours":
        return OptimumEngine(folder, runtime=runtime)
    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    return OnnxEngine(folder, read_manifest(folder), config, runtime=runtime)


def measure(engines: dict[Key, Engine], n_rounds: int) -> Times:
    """Time every case on every engine, n times in turn; the first round warms up and is not counted."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 8192, 2048).tolist()  # rows of the embedding that every model has
    contexts = sorted({case.context for case in CASES})
    sessions = {(key, n): opened(engine, ids[:n]) for key, engine in engines.items() for n in contexts}
    times: Times = defaultdict(list)
    for i in track(range(n_rounds + 1), "measuring", transient=True, disable=not sys.stderr.isatty()):
        for case in CASES:
            for key, engine in engines.items():
                session, new = sessions[key, case.context], ids[-case.n_new :]
                taken = seconds_of(lambda engine=engine, session=session, new=new: engine.step([Feed(session, new)]))
                session.rollback(case.context)
                if i:
                    times[case, key].append(1000 * taken)
    return times


def opened(engine: Engine, ids: list[int]) -> Session:
    """Return a session that holds some ids."""
    session = engine.open()
    if ids:
        engine.step([Feed(session, ids)])
    return session


def table(made: dict[Key, Made], times: Times) -> str:
    """Return times, sizes and costs in Markdown; a ratio above 1 is in our favour."""
    columns = [f"{NAMES['ours', p]} | {NAMES['optimum', p]} | ratio" for p in ("fp32", "int8")]
    lines = [f"| | {' | '.join(columns)} |", "|---" * 7 + "|"]
    for case in CASES:
        cells = []
        for precision in ("fp32", "int8"):
            ours, theirs = times[case, ("ours", precision)], times[case, ("optimum", precision)]
            ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
            cells += [spread(ours, 1), spread(theirs, 1), f"**{spread(ratios, 2)}**"]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    for name, attribute in (("files, MB", "megabytes"), ("export, s", "seconds"), ("its peak memory, GiB", "peak_gib")):
        cells = []
        for precision in ("fp32", "int8"):
            own, other = (float(getattr(made[way, precision], attribute)) for way in ("ours", "optimum"))
            cells += [f"{own:.1f}", f"{other:.1f}", f"{other / own:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], n_digits: int) -> str:
    """Return the median, and in brackets where the middle four fifths lie."""
    of = Spread.of(values)
    return f"{of.median:.{n_digits}f} ({of.p10:.{n_digits}f}-{of.p90:.{n_digits}f})"


def agreement_table(checkpoint: Path, made: dict[Key, Made]) -> str:
    """Return in Markdown how each export agrees with the torch network, and with itself when fed in chunks."""
    lines = ["| | largest logit difference | same verdict: least head | all four | chunks of 7 against the whole |"]
    lines.append("|---" * 5 + "|")
    for key, of in made.items():
        verify = verify_optimum if key[0] != "ours" else verify_checkpoint
        report = verify(checkpoint, exported=of.folder)
        shares = [head.agreement for head in report.heads]
        (chunks,) = (check.value for check in report.checks if check.name.startswith("chunks"))
        largest = max(head.max_difference for head in report.heads)
        n_positions = report.heads[0].n_positions
        lines.append(
            f"| {(NAMES | READY)[key]} | {largest:.1e} | {min(shares):.2%} of {n_positions} | "
            f"{', '.join(f'{share:.2%}' for share in shares)} | {chunks:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
