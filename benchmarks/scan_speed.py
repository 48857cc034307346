"""How many rows a scan reads in a second of CPU time, by rows at once and by size of the model's calls.

    .venvs/test/bin/python benchmarks/scan_speed.py FILE ... [--at-once 1 2 4 8 16 32] [--call-tokens 64 128 256]

Each file gives a table. All settings are tried in turn, round after round, so that a busy minute of the machine hits
all of them; the best round counts. CPU time, not wall time: other programs on the machine do not count.
"""

import argparse
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice, product
from pathlib import Path

from guardrail import Check, Guard
from guardrail.bench.machine import cores, cpu_name
from guardrail.scanning.columns import Columns, UnreadableRow
from guardrail.scanning.sources import open_source

AT_ONCE = (1, 2, 4, 8, 16, 32)
CALL_TOKENS = (64, 128, 256)
PACKAGES = ("guardrail-stream", "onnxruntime", "numpy", "tokenizers")

Setting = tuple[int, int]
"""Rows at once, and most tokens of a call."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What one pass over the rows came to, for each second of CPU time."""

    rows: float
    tokens: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="JSONL or Parquet, columns of the usual names")
    parser.add_argument("--at-once", type=int, nargs="+", default=AT_ONCE, help="rows under way at once")
    parser.add_argument("--call-tokens", type=int, nargs="+", default=CALL_TOKENS, help="most tokens of a shared call")
    parser.add_argument("--rows", type=int, default=2048, help="first so many of each file")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    settings = list(product(options.at_once, options.call_tokens))
    with Guard.default(threads=1, kept_bytes=0) as guard:
        print(about(guard))
        for path in options.files:
            checks = checks_of(path, options.rows)
            found = measure(guard, checks, settings, options.rounds)
            print(f"\n{path.name}, {len(checks)} rows\n\n{table(found)}")


def about(guard: Guard) -> str:
    """Return the model, the machine and the versions, in a line."""
    info = guard.engine.info
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    return f"{info.name}, {info.precision}, one thread; {cpu_name()}, {cores()} cores; {', '.join(versions)}"


def checks_of(path: Path, n_rows: int) -> list[Check]:
    """Return what a scan would judge of a file's first rows, without those that cannot be read."""
    source = open_source(path)
    columns, checks = Columns().among(source.names()), []
    for row in islice(source.rows(columns.used), n_rows):
        try:
            checks.append(columns.to_check(row.values or {}))
        except UnreadableRow:
            continue
    return checks


def measure(guard: Guard, checks: Sequence[Check], settings: Sequence[Setting], rounds: int) -> dict[Setting, Speed]:
    """Return the best round of each setting."""
    found: dict[Setting, Speed] = {}
    for setting in [*settings] * rounds:
        speed = speed_of(guard, checks, setting)
        found[setting] = max(speed, found.get(setting, speed), key=lambda speed: speed.rows)
    return found


def speed_of(guard: Guard, checks: Sequence[Check], setting: Setting) -> Speed:
    """Return what one pass comes to."""
    at_once, call_tokens = setting
    started = time.process_time()
    n_tokens = sum(decision.n_tokens for decision in guard.check_many(checks, at_once=at_once, call_tokens=call_tokens))
    seconds = time.process_time() - started
    return Speed(len(checks) / seconds, n_tokens / seconds)


def table(found: dict[Setting, Speed]) -> str:
    """Return the speeds in Markdown: rows at once downwards, sizes of calls across."""
    sizes = list(dict.fromkeys(call_tokens for _, call_tokens in found))
    lines = [f"| at once | {' | '.join(f'{size} tokens a call' for size in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for at_once in dict.fromkeys(at_once for at_once, _ in found):
        speeds = (found[at_once, size] for size in sizes)
        told = (f"{speed.rows:,.1f} rows, {speed.tokens:,.0f} tokens" for speed in speeds)
        lines.append(f"| {at_once} | {' | '.join(told)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
