"""How many records `guardrail report` reads a second, and whether its memory grows with them.

    .venvs/test/bin/python benchmarks/report_rate.py [--records 20000 200000]

One record in ten belongs to a conversation of its own, so that a large store holds more than are counted at once. Each
store is a file of JSON lines, without and with the probabilities of every position; the command runs as a process of
its own and writes the page too. CPU time and peak memory of that process.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from guardrail import Guard
from guardrail.bench.machine import cores, cpu_name
from guardrail.records import MemorySink, Privacy, Record
from guardrail.testing import MarkerEngine, default_tokenizer

START = datetime(2026, 11, 1, tzinfo=UTC)
PACKAGES = ("guardrail-stream", "pydantic", "rich")
ANSWER = "Mix flour and water, let the dough rest for an hour, fold it and bake it hot. " * 5


def main() -> None:
    """Make stores, report on each, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=(20_000, 200_000))
    options = parser.parse_args()
    versions = [f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in PACKAGES)]
    print(f"{cpu_name()}, {cores()} cores, one used; {', '.join(versions)}\n")
    print("| positions | records | file | records a second | peak memory | page |")
    print("|---|---|---|---|---|---|")
    for positions in (False, True):
        kinds = made(positions=positions)
        for n in options.records:
            with tempfile.TemporaryDirectory() as folder:
                store = Path(folder) / "records.jsonl"
                write(store, kinds, n)
                seconds, peak_mib = measured(store)
                size, page = (path.stat().st_size / 2**20 for path in (store, store.with_suffix(".html")))
            cells = ("yes" if positions else "no", f"{n:,}", f"{size:.0f} MiB", f"{n / seconds:,.0f}")
            print("|", " | ".join([*cells, f"{peak_mib:.0f} MiB", f"{page:.2f} MiB"]), "|")


def made(*, positions: bool) -> list[Record]:
    """Return records of an allowed prompt, an allowed answer and a stopped one."""
    sink, tokenizer = MemorySink(), default_tokenizer()
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, sinks=[sink])
    guard.check_prompt("How do I bake bread?")
    for answer in (ANSWER, ANSWER, f"{ANSWER}☠ and more."):
        guard.check_response("How do I bake bread?", answer)
    return [Record.of(decision, privacy=Privacy(positions=positions)) for decision in sink.decisions]


def write(path: Path, kinds: list[Record], n: int) -> None:
    """Write records over thirty days."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            details = {
                "id": f"{i:032x}", "conversation_id": f"chat-{i if i % 10 == 0 else i % 997}",
                "time": (START + timedelta(days=30 * i / n)).isoformat(), "latency_ms": 5 + i % 613 / 7,
            }  # fmt: skip
            file.write(kinds[i % len(kinds)].model_copy(update=details).to_json() + "\n")


def measured(store: Path) -> tuple[float, float]:
    """Return CPU seconds and peak memory in MiB of a report."""
    command = [sys.executable, "-m", "guardrail.cli", "report", str(store), "--html", str(store.with_suffix(".html"))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the report ended with {os.waitstatus_to_exitcode(status)}")
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
