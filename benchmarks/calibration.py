"""Calibrates the embedded model on labelled public rows, end to end: shadow records, thresholds on one half of the
conversations, and what the real gate does with the other half under the policy that came out.

    .venvs/test/bin/python benchmarks/calibration.py FILE ... [--limit 2000] [--target-fpr 0.01 0.02 0.05] [--store DB]

Files are of the data schema (`guardrail evaluate --help`). With `--store` the records are kept, and judged once only.
"""

import argparse
import csv
import platform
import tempfile
from collections import Counter
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from guardrail import Guard
from guardrail.actions import Action
from guardrail.audit.calibrate import Chosen, Side, Target, calibrated, choose, scorers_of
from guardrail.audit.calibrate_labels import HARMFUL, HARMLESS, read_labels
from guardrail.audit.calibrate_rows import Reading, is_held_out, read_recorded, side_of
from guardrail.audit.calibrate_scores import Counted, knob_of
from guardrail.audit.intervals import exact, wilson
from guardrail.audit.replay import Recorded, Replayed, replay, unpacked
from guardrail.bench.machine import cores, cpu_name
from guardrail.decision import Direction
from guardrail.evaluation.rows import Row, read_rows
from guardrail.policy import Policy
from guardrail.policy_file import load_policy
from guardrail.records import open_sink, read_records
from guardrail.taxonomy import RiskLevel

PACKAGES = ("guardrail-stream", "onnxruntime", "numpy", "tokenizers")
SIDES: tuple[Side, ...] = ("prompt", "response")


def main() -> None:
    """Record, calibrate, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="labelled rows; the controversial ones are left out")
    parser.add_argument("--limit", type=int, default=2000, help="first so many of each file")
    parser.add_argument("--target-fpr", type=float, nargs="+", default=(0.01, 0.02, 0.05))
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{cpu_name()}, {cores()} cores; Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "records.db"
        labels = store.with_suffix(".labels.csv")
        if not labels.exists():
            record([row for path in options.files for row in islice(read_rows(path), options.limit)], store, labels)
        base, known = load_policy(options.policy), read_labels(labels)
        reading = read_recorded(read_records(store), scorers_of(base, Counted.FLAGGED, SIDES), known)
        rows = ", ".join(f"{n} {name}" for name, n in reading.directions.items())
        print(f"rows: {rows}; left out: {sum(reading.left_out.values())}\n")
        print(
            "| rules | target | threshold | chosen on: harmless flagged | held out: harmless flagged | harmful found |"
        )
        print("|---|---|---|---|---|---|")
        for side in SIDES:
            for share in options.target_fpr:
                print(row(side, share, base, reading, store, known))


def record(rows: list[Row], store: Path, labels: Path) -> None:
    """Judge rows in shadow mode, and write down which is what."""
    kept = [row for row in rows if row.risk is not RiskLevel.CONTROVERSIAL]
    print(f"judging {len(kept)} rows: {dict(Counter((row.source, row.target.value, row.risk.value) for row in kept))}")
    with labels.open("w", newline="", encoding="utf-8") as file, open_sink(store) as sink:
        writer = csv.writer(file)
        writer.writerow(["conversation_id", "label"])
        guard = Guard.default(policy="shadow", sinks=[sink])
        for number, one in enumerate(kept):
            key = f"row {number}"
            writer.writerow([key, HARMLESS if one.risk is RiskLevel.SAFE else HARMFUL])
            if one.target is Direction.PROMPT:
                guard.check_prompt(one.messages, conversation_id=key)
            else:
                guard.check_response(one.messages[:-1], one.messages[-1].content, conversation_id=key)


def row(side: Side, share: float, base: Policy, reading: Reading, store: Path, known: dict[str, str]) -> str:
    """Choose a threshold, replay the held-out rows under the policy that has it, and return a row of the table."""
    target = Target(share)
    chosen = choose(side, knob_of(getattr(base, side), target.counted), reading.sides[side], target)
    flagged = replayed(side, calibrated(base, [chosen]), store, known, target)
    n_flagged, n = flagged[HARMLESS]
    n_found, n_harmful = flagged[HARMFUL]
    if (n_flagged, n) != (chosen.point.n_flagged, chosen.n_told):
        raise SystemExit(f"the gate flags {n_flagged} of {n}, the scores {chosen.point.n_flagged} of {chosen.n_told}")
    false, found = exact(n_flagged, n), wilson(n_found, n_harmful)
    return (
        f"| {side} | {share:.2%} | {chosen.threshold:g} | {told(chosen)} | {n_flagged} of {n}: {false.value:.2%} "
        f"({false.low:.2%} to {false.high:.2%}) | {n_found} of {n_harmful}: {found.value:.1%} |"
    )


def told(chosen: Chosen) -> str:
    return f"{chosen.n_flagged} of {chosen.n}, at most {chosen.upper:.2%} with 95 % confidence"


def replayed(
    side: Side, policy: Policy, store: Path, known: dict[str, str], target: Target
) -> dict[str, tuple[int, int]]:
    """Return, of the held-out rows of each label, how many a policy flags or stops, and how many there are."""
    counts = {HARMLESS: (0, 0), HARMFUL: (0, 0)}
    for one in read_records(store):
        key = one.conversation_id or one.id
        if side_of(one.direction) != side or not is_held_out(key, target.held_out, target.seed):
            continue
        recorded = unpacked(one)
        if isinstance(recorded, Recorded) and len(recorded.positions):
            after = replay(recorded, policy)
            n_flagged, n = counts[known[key]]
            is_flagged = isinstance(after, Replayed) and after.would_action is not Action.ALLOW
            counts[known[key]] = n_flagged + is_flagged, n + 1
    return counts


if __name__ == "__main__":
    main()
