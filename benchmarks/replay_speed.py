"""How many token verdicts of a record store a replay takes a second, on one core.

    .venvs/test/bin/python benchmarks/replay_speed.py [--engine embedded hash] [--answers 2000] [--words 150]

Records are made by the embedded model, whose answers are mostly harmless, or by the hash engine of `guardrail.testing`,
of whose tokens every tenth is risky; stored as JSON lines and in SQLite; replayed, reading included, under `strict`,
which stops early, and under `shadow`, which goes through all of it. CPU time of the process, all its threads together,
and the best of three passes.
"""

import argparse
import platform
import random
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

from guardrail import Guard
from guardrail.audit.replay_changes import Change, Comparison
from guardrail.audit.replay_summary import ALL, Summary
from guardrail.bench.machine import cores, cpu_name
from guardrail.policy_file import load_policy
from guardrail.records import Queueing, WhenFull, open_sink, read_records
from guardrail.testing import HashEngine, default_tokenizer

PACKAGES = ("guardrail-stream", "numpy", "pydantic", "sqlalchemy")
POLICIES = ("strict", "shadow")
STORES = ("records.jsonl", "records.db")
WORDS = ("bread", "flour", "water", "salt", "yeast", "oven", "knead", "dough", "warm", "bowl", "hour", "bake", "crust")


def main() -> None:
    """Make records, replay them, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", nargs="+", choices=("embedded", "hash"), default=("embedded", "hash"))
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--words", type=int, default=150, help="of an answer")
    options = parser.parse_args()
    versions = [f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in PACKAGES)]
    print(f"{cpu_name()}, {cores()} cores, one used; {', '.join(versions)}\n")
    print("| engine | store | policy | records | token verdicts | changed | token verdicts a second |")
    print("|---|---|---|---|---|---|---|")
    for engine in options.engine:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in STORES]
            make(paths, engine, options.answers, options.words)
            for path, policy in product(paths, POLICIES):
                print(row(engine, path, policy))


def make(paths: list[Path], engine: str, n_answers: int, n_words: int) -> None:
    """Record answers that a shadow policy lets go."""
    queueing, rng = Queueing(when_full=WhenFull.BLOCK), random.Random(5)
    sinks = [open_sink(path, queueing=queueing) for path in paths]
    tokenizer = default_tokenizer()
    guard = (
        Guard.default(policy="shadow", sinks=sinks)
        if engine == "embedded"
        else Guard(HashEngine(vocab_size=tokenizer.vocab_size), tokenizer, policy="shadow", sinks=sinks)
    )
    for number in range(n_answers):
        guard.check_response("hi", " ".join(rng.choices(WORDS, k=n_words)), conversation_id=f"c{number // 4}")
        if sys.stderr.isatty():
            print(f"\r{engine}: {number + 1} of {n_answers} answers", end="", file=sys.stderr)
    for sink in sinks:
        sink.close()


def row(engine: str, path: Path, policy: str) -> str:
    """Replay a store three times; return the best pass as a row of the table."""
    best = float("inf")
    for _ in range(3):
        comparison, summary = Comparison(load_policy(policy), known=[load_policy("shadow")]), Summary()
        started = time.process_time()
        for record in read_records(path):
            summary.add(record, comparison.compare(record))
        best = min(best, time.process_time() - started)
    n_changed = summary.n_records - summary.groups[ALL].changes[Change.SAME]
    counts = f"{summary.n_records} | {summary.n_verdicts} | {n_changed} | {summary.n_verdicts / best:,.0f}"
    return f"| {engine} | {path.suffix[1:]} | {policy} | {counts} |"


if __name__ == "__main__":
    main()
