"""What keeping every judged position costs: bytes of a record for 1,000 tokens, and the time to make and write one.

    python benchmarks/record_size.py [FILE ...] [--chars 4000]

The embedded model judges the beginning of each file (the pages of docs/ unless others are given) as an answer, under
the policy `shadow`, so that none is stopped. Bytes are those of the column `positions` as a database keeps it, of a
line of JSON without and with it (base64), and of one with the readable `tokens` besides. Times are CPU times, the best
of five, and are set beside what judging the same tokens took.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from guardrail import Decision, Guard
from guardrail.bench.machine import cores, cpu_name
from guardrail.records import Privacy, Record

DOCS = Path(__file__).resolve().parent.parent / "docs"
PACKAGES = ("guardrail-stream", "numpy", "pydantic")
FORMS = {
    "no positions": Privacy(positions=False),
    "positions": Privacy(),
    "positions and tokens": Privacy(tokens=True),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", default=sorted(DOCS.glob("*.md")), help="texts, UTF-8")
    parser.add_argument("--chars", type=int, default=4000, help="first so many of each")
    options = parser.parse_args()
    with Guard.default(threads=1, policy="shadow") as guard:
        guard.warm_up()
        texts = [path.read_text("utf-8")[: options.chars] for path in options.files]
        started = time.process_time()
        decisions = [guard.check_response("Explain it.", text) for text in texts]
        judged_ms = 1000 * (time.process_time() - started)
        print(about(guard))
    n_tokens = sum(len(decision.tokens) for decision in decisions)
    judged = f"judged in {1000 * judged_ms / n_tokens:.0f} ms for 1,000 tokens"
    print(f"{len(decisions)} answers, {n_tokens} tokens, {judged}\n")
    packed = [len(Record.of(one, privacy=Privacy()).positions or b"") for one in decisions]
    each = [1000 * size / len(one.tokens) for size, one in zip(packed, decisions, strict=True)]
    print(f"column `positions`: {1000 * sum(packed) / n_tokens:,.0f} bytes for 1,000 tokens", end="; ")
    print(f"of an answer: {min(each):,.0f} to {max(each):,.0f}, median {statistics.median(each):,.0f}\n")
    print(
        "| kept | a line of JSON: bytes for 1,000 tokens | made in ms for 1,000 tokens | of judging | written in ms |"
    )
    print("|---|---|---|---|---|")
    for name, privacy in FORMS.items():
        print(row(name, decisions, privacy, judged_ms))


def about(guard: Guard) -> str:
    """Return the model, the machine and the versions, in a line."""
    info = guard.engine.info
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    return f"{info.name}, {info.precision}; {cpu_name()}, {cores()} cores; {', '.join(versions)}"


def row(name: str, decisions: Sequence[Decision], privacy: Privacy, judged_ms: float) -> str:
    """Return a line of the table."""
    n_tokens = sum(len(decision.tokens) for decision in decisions)
    records = [Record.of(one, privacy=privacy) for one in decisions]
    n_bytes = sum(len(record.to_json().encode()) + 1 for record in records)
    made_ms = best_ms(lambda: [Record.of(one, privacy=privacy) for one in decisions])
    written_ms = best_ms(lambda: [record.to_json() for record in records])
    size, made, written = (1000 * found / n_tokens for found in (n_bytes, made_ms, written_ms))
    return f"| {name} | {size:,.0f} | {made:.2f} | {made_ms / judged_ms:.2%} | {written:.2f} |"


def best_ms(call: Callable[[], object]) -> float:
    """Return the least milliseconds of five calls."""
    found = []
    for _ in range(5):
        started = time.thread_time()
        call()
        found.append(time.thread_time() - started)
    return 1000 * min(found)


if __name__ == "__main__":
    main()
