"""Our engine against OpenVINO int8 and torch fp32, of one checkpoint, in turns; prints Markdown tables.

    make .venvs/openvino/.ready                                        # an environment of its own
    .venvs/openvino/bin/python benchmarks/engines_compare.py [--checkpoint FOLDER] [--keep FOLDER] [--agreement]

Without a checkpoint, one of the 0.6B shape with random weights is made. What is exported for both engines is kept with
--keep. Needs 8 GB of memory and 4 GB of disk.

Every engine runs in a process of its own, of which one works at a time while the others sleep: in one process
(--in-one-process) thread pools that spin or pin themselves to cores may get in each other's way. In every round all
engines do the same, in an order that moves on from round to round. Ratios are of one round; their interval is that of
the median, by bootstrap over rounds. Times are of `Engine.step` alone: rolling back, which costs OpenVINO a copy of all
keys and values and ours nothing, is not counted.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from engine_sides import OPENVINO, OURS, TORCH, Case, Elsewhere, Here, Plan, Side
from openvino_model import write_model
from rich.console import Console
from rich.progress import track

from guardrail.bench.machine import cores, described
from guardrail.bench.shape_06b import SHAPE_06B, random_checkpoint
from guardrail.bench.timing import Spread, unwatched
from guardrail.checkpoint import Checkpoint
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Logits
from guardrail.engines.runtime import Runtime
from guardrail.exported import is_export, read_manifest
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.agreement import compare_heads, read_rows
from guardrail.onnx_export.calibrate import calibrate_kv
from guardrail.onnx_export.verify_rows import Row, fixed_rows

PACKAGES = ("guardrail-stream", "onnxruntime", "openvino", "torch", "numpy")

N_RESAMPLED = 10_000
"""Bootstrap samples of the rounds."""


CASES = (
    Case("prefill of 256 tokens", 256, 0, 1),
    Case("1 token at context 256", 1, 256, 8),
    Case("8 tokens at context 256", 8, 256, 3),
    Case("1 token at context 1024", 1, 1024, 8),
)

Times = dict[tuple[Case, str], list[float]]
"""Milliseconds of a call, by case and engine: the median of each round."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of the ratios of all rounds, and where it lies with a probability of 95 %."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, theirs: Sequence[float], ours: Sequence[float]) -> Self:
        """Divide round by round; resample rounds."""
        ratios = np.asarray(theirs) / np.asarray(ours)
        picked = np.random.default_rng(0).integers(0, len(ratios), (N_RESAMPLED, len(ratios)))
        low, high = np.quantile(np.median(ratios[picked], 1), (0.025, 0.975)).tolist()
        return cls(float(np.median(ratios)), low, high)


def main() -> None:
    """Export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="in the published format; otherwise one is made")
    parser.add_argument("--keep", type=Path, help="folder in which exports are kept, and found again")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--kv", choices=("fp32", "int8"), default="fp32", help="of our engine")
    parser.add_argument("--no-torch", action="store_true", help="OpenVINO alone against ours")
    parser.add_argument("--in-one-process", action="store_true")
    parser.add_argument("--agreement", action="store_true", help="compare verdicts with torch instead of times")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        checkpoint = options.checkpoint or random_checkpoint(place / "checkpoint", SHAPE_06B, unwatched)
        plan = prepared(checkpoint, place, Runtime(threads=options.threads, kv_precision=options.kv))
        print(described(Checkpoint.open(checkpoint).config, PACKAGES))
        print(f"{options.threads} threads, {options.rounds} rounds, our keys and values in {options.kv}\n")
        if options.agreement:
            print(agreement_table(plan))
            return
        names = [OURS, *OPENVINO] + [TORCH] * (not options.no_torch)
        print(table(measure(plan, names, options.rounds, Here if options.in_one_process else Elsewhere)))


def prepared(checkpoint: Path, place: Path, runtime: Runtime) -> Plan:
    """Export for both engines what is not there yet."""
    exported, graph = place / "ours", place / "openvino" / "model.xml"
    if not is_export(exported):
        export_checkpoint(checkpoint, exported)
    if runtime.kv_precision == "int8" and read_manifest(exported).kv_int8 is None:
        calibrate_kv(exported)
    if not graph.exists():
        write_model(checkpoint, graph, "int8")
    return Plan(checkpoint, exported, graph, runtime)


def measure(plan: Plan, names: Sequence[str], n_rounds: int, kind: type[Here] | type[Elsewhere]) -> Times:
    """Time every case on every engine, n times in turn; the first round warms up and is not counted."""
    times: Times = {(case, name): [] for case in CASES for name in names}
    with ExitStack() as stack:
        sides: dict[str, Side] = {name: kind(plan, name) for name in names}
        for side in sides.values():
            stack.callback(side.close)
        for i in track(range(n_rounds + 1), "measuring", transient=True, console=Console(stderr=True)):
            start = i % len(names)
            for case in CASES:
                for name in [*names[start:], *names[:start]]:
                    taken = sides[name].times_ms(case)
                    if i:
                        times[case, name].append(float(np.median(taken)))
    return times


def table(times: Times) -> str:
    """Return times and ratios in Markdown; a ratio above 1 is in our favour."""
    lines = ["| | engine | ms (10th-90th percentile) | by ours (95 %) |", "|---" * 4 + "|"]
    for (case, name), found in times.items():
        of, ratio = Spread.of(found), Ratio.of(found, times[case, OURS])
        compared = "" if name == OURS else f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
        lines.append(f"| {case.name} | {name} | {of.median:.1f} ({of.p10:.1f}-{of.p90:.1f}) | {compared} |")
    return "\n".join(lines)


def agreement_table(plan: Plan) -> str:
    """Return in Markdown how each engine agrees with the torch network on the fixed texts."""
    limit = Checkpoint.open(plan.checkpoint).config.max_context
    rows = fixed_rows(GuardTokenizer.from_file(plan.exported / "tokenizer.json"), limit)
    expected = read_by(plan, TORCH, rows)
    lines = ["| | largest logit difference | mean | same verdict: least head | all four |", "|---" * 5 + "|"]
    for name in (OURS, *OPENVINO):
        heads = compare_heads(rows, expected, read_by(plan, name, rows))
        shares = [head.agreement for head in heads]
        largest, mean = max(head.max_difference for head in heads), max(head.mean_difference for head in heads)
        lines.append(
            f"| {name} | {largest:.2f} | {mean:.3f} | {min(shares):.2%} of {heads[0].n_positions} | "
            f"{', '.join(f'{share:.2%}' for share in shares)} |"
        )
    return "\n".join(lines)


def read_by(plan: Plan, name: str, rows: Sequence[Row]) -> list[Logits]:
    """Return an engine's logits of some rows; it is in memory no longer than that."""
    with closing(plan.load(name)) as engine:
        return read_rows(engine, rows)


if __name__ == "__main__":
    main()
