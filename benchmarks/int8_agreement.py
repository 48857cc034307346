"""Compares an int8 export of a checkpoint with its fp32 export on all rows of a protocol, and prints Markdown tables.

    python benchmarks/int8_agreement.py CHECKPOINT                         # the development rows of the recipe
    python benchmarks/int8_agreement.py CHECKPOINT --all --policy strict   # without the protocol's limit
    python benchmarks/int8_agreement.py CHECKPOINT --protocol mine.toml --precision int4 --keep exports

How often both give the same level and action, and what the smaller weights cost in F1, with intervals of the difference
by a paired bootstrap over the same rows. It passes if no F1, strict or loose, of prompts or of answers, falls by more
than 0.5 points, and every row was judged; exits with 1 otherwise. Where the lower end of an interval lies beyond that,
more rows would be needed to rule it out, and the table says so. Needs the extra `export`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from guardrail.bench.machine import cores, described
from guardrail.checkpoint import Checkpoint
from guardrail.decision import Direction
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judge_specs import Spec
from guardrail.evaluation.metrics import Estimate, Resamples
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.pairing import Pairing, pair
from guardrail.evaluation.protocol import Protocol
from guardrail.evaluation.report import by_direction, figures
from guardrail.evaluation.rows import Row, Tally
from guardrail.evaluation.runner import Run, run
from guardrail.exported import is_export
from guardrail.onnx_export import export_checkpoint
from guardrail.policy_file import load_policy

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("guardrail-stream", "onnxruntime", "numpy")

MOST = 0.005
"""F1 that the smaller weights may cost: half a point."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Both exports on the rows of one direction.

    Attributes:
        direction: what was judged.
        f1: strict and loose F1 of fp32, then of the other.
        auc: of fp32, then of the other.
        pairing: the other less fp32.
        n_failed: rows that either could not judge.
    """

    direction: Direction
    f1: tuple[tuple[Estimate, Estimate], tuple[Estimate, Estimate]]
    auc: tuple[Estimate, Estimate]
    pairing: Pairing
    n_failed: int

    @property
    def costs(self) -> tuple[Estimate, Estimate]:
        """Differences in F1, strict and loose; negative where the smaller weights cost something."""
        return self.pairing.f1_strict, self.pairing.f1_loose


def main() -> int:
    """Export, measure, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--protocol", type=Path, default=ROOT / "examples" / "recipe" / "dev.toml")
    parser.add_argument("--all", action="store_true", help="every row, whatever limit the protocol sets")
    parser.add_argument("--limit", type=int, help="most rows of a file, instead of the protocol's limit")
    parser.add_argument("--precision", choices=("int8", "int4"), default="int8")
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--keep", type=Path, help="folder in which the exports are kept, and found again")
    options = parser.parse_args()
    protocol = Protocol.from_file(options.protocol)
    limit = None if options.all else options.limit or protocol.limit
    rows = protocol.model_copy(update={"limit": limit}).read(Tally())
    print(described(Checkpoint.open(options.checkpoint).config, PACKAGES))
    print(f"{len(rows)} rows of {options.protocol.name}, policy {options.policy}\n", flush=True)
    settings = JudgeSettings(load_policy(options.policy), threads=options.threads)
    with place(options.keep) as folder:
        runs = [
            judged(options.checkpoint, folder / precision, precision, rows, settings)
            for precision in ("fp32", options.precision)
        ]
    found = compare(*runs)
    print(tables(found, options.precision))
    return 0 if passes(found) else 1


@contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """Give a folder for exports, to be kept or not."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def judged(checkpoint: Path, folder: Path, precision: str, rows: Sequence[Row], settings: JudgeSettings) -> Run:
    """Export a checkpoint unless that was done, and judge all rows with it."""
    if not is_export(folder):
        export_checkpoint(checkpoint, folder, precision=precision)
    with open_judge(Spec("onnx", str(folder), {"name": precision}), settings) as judge:
        return run(judge, rows, console=Console(stderr=True))


def compare(reference: Run, other: Run) -> list[Compared]:
    """Return both runs compared, by direction."""
    found, before, after = [], by_direction(reference), by_direction(other)
    for direction, one in before.items():
        second = after[direction]
        found_of = [figures(judged, Resamples(judged.clusters))[0] for judged in (one, second)]
        f1s = tuple((figure.strict.f1, figure.loose.f1) for figure in found_of)
        found.append(
            Compared(
                direction,
                f1=(f1s[0], f1s[1]),
                auc=(found_of[0].auc, found_of[1].auc),
                pairing=pair(one, second, (reference.judge, other.judge)),
                n_failed=sum(figure.n_failed for figure in found_of),
            )
        )
    return found


def passes(found: Sequence[Compared]) -> bool:
    """Whether no F1 that can be told falls by more than half a point, and every row was judged."""
    costs = [cost.value for one in found for cost in one.costs if cost.value is not None]
    return bool(costs) and min(costs) >= -MOST and not any(one.n_failed for one in found)


def tables(found: Sequence[Compared], precision: str) -> str:
    """Return agreement, and costs with their verdicts, as Markdown."""
    lines = ["| | rows | same level | same action | rows with another level or action | failed |", "|---" * 6 + "|"]
    for one in found:
        n_differing = len(one.pairing.differing)
        shares = f"{percent(one.pairing.agreement)} | {percent(one.pairing.same_action)}"
        lines.append(f"| {one.direction.value}s | {one.pairing.n} | {shares} | {n_differing} | {one.n_failed} |")
    lines += [
        "",
        f"| | fp32 | {precision} | {precision} less fp32, points | cost at most 0.5 | ruled out by the interval |",
    ]
    lines.append("|---" * 6 + "|")
    for one in found:
        for i, name in enumerate(("F1 strict", "F1 loose")):
            lines.append(f"| {one.direction.value}s, {name} | {cost_cells(one.f1[0][i], one.f1[1][i], one.costs[i])} |")
        auc = f"{percent(one.auc[0])} | {percent(one.auc[1])} | {points(one.pairing.auc)}"
        lines.append(f"| {one.direction.value}s, AUC | {auc} | | |")
    verdict = "pass" if passes(found) else "FAIL"
    return "\n".join([*lines, "", f"{verdict}: {precision} may cost 0.5 points of F1 against fp32"])


def cost_cells(before: Estimate, after: Estimate, cost: Estimate) -> str:
    """Return the cells of one F1."""
    known = cost.value is not None and cost.low is not None
    is_small = "-" if not known else "yes" if cost.value >= -MOST else "**no**"
    is_sure = "-" if not known else "yes" if cost.low >= -MOST else "no"
    return f"{percent(before)} | {percent(after)} | {points(cost)} | {is_small} | {is_sure}"


def percent(found: Estimate) -> str:
    """Return a share in per cent with its interval."""
    if found.value is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.value:.2f} % ({100 * found.low:.2f}-{100 * found.high:.2f})"


def points(found: Estimate) -> str:
    """Return a difference in points with its interval."""
    if found.value is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.value:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


if __name__ == "__main__":
    sys.exit(main())
