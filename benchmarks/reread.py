"""Reading the whole answer again for every token, as the published streaming code does, against reading it once.

    .venvs/test/bin/python benchmarks/reread.py [--checkpoint FOLDER] [--keep FOLDER] [--proof 64]

`guardrail bench --only reread` measures the same; this prints the samples too, and proves the sum: a short answer is
read again for every one of its tokens, and its seconds stand beside what the fit says of it. torch reads again, fp32,
without a KV cache, as the published code does; ours reads each token once. Needs 6 GB of memory.
"""

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from guardrail.bench.machine import cores
from guardrail.bench.reference import Reference
from guardrail.bench.reread import N_TOKENS, Fit, Reread, measure_reread
from guardrail.bench.shape_06b import SHAPE_06B, random_checkpoint
from guardrail.bench.sizes import FULL
from guardrail.bench.subject import Source, opened, random_ids
from guardrail.bench.timing import seconds_of, unwatched
from guardrail.engines.base import Engine, Feed
from guardrail.engines.runtime import Runtime
from guardrail.exported import is_export
from guardrail.onnx_export import export_checkpoint

T = TypeVar("T")


def main() -> None:
    """Sample, fit, prove, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="in the published format; otherwise one is made")
    parser.add_argument("--keep", type=Path, help="folder in which the export is kept, and found again")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--proof", type=int, default=64, help="tokens of the answer that is read again in full")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        checkpoint = options.checkpoint or random_checkpoint(place / "checkpoint", SHAPE_06B, unwatched)
        if not is_export(place / "ours"):
            export_checkpoint(checkpoint, place / "ours")
        source = Source(checkpoint.name, place / "ours", checkpoint)
        reference = Reference(checkpoint, options.threads)
        with closing(reference), opened(source, Runtime(threads=options.threads)) as subject:
            found = measure_reread(subject, reference, FULL, watch)
            ids = random_ids(reference.vocab_size, options.proof)
            proof_s = sum(reread_s(reference.engine, ids))
    print(table(found, options.threads))
    print(f"\n{options.proof} tokens, each re-reading all: {proof_s:.2f} s; the fit says {summed(found, ids):.2f} s")


def watch(steps: Sequence[T], title: str, /) -> Iterable[T]:
    """Show a bar on stderr."""
    return track(steps, title, transient=True, console=Console(stderr=True))


def reread_s(engine: Engine, ids: list[int]) -> list[float]:
    """Return the seconds of reading each prefix of some ids anew."""
    found = []
    for n in range(1, len(ids) + 1):
        with closing(engine.open()) as session:
            feed = Feed(session, ids[:n])
            found.append(seconds_of(partial(engine.step, [feed])))
    return found


def summed(found: Reread, ids: list[int]) -> float:
    """Return what the fit says of reading again an answer of these ids."""
    lengths = np.arange(1, len(ids) + 1)
    return float(np.polynomial.polynomial.polyval(lengths, found.reread.coefficients).sum())


def table(found: Reread, threads: int) -> str:
    """Return samples, fits and sums in Markdown."""
    lines = [f"{found.reread_by} against ours, {threads} threads\n"]
    lines += ["| tokens before | reading all again, s | by the fit, s | one of our tokens, ms |", "|---" * 4 + "|"]
    for n, whole, single in zip(found.lengths, found.reread_s, found.ours_s, strict=True):
        fitted = np.polynomial.polynomial.polyval(n, found.reread.coefficients)
        lines.append(f"| {n} | {whole:.3f} | {fitted:.3f} | {1000 * single:.1f} |")
    lines += [
        "",
        f"- reading n tokens again: {described(found.reread)}",
        f"- our token behind n: {described(found.ours)}",
    ]
    sums = f"{found.reread.total_s:.0f} s against {found.ours.total_s:.1f} s"
    return "\n".join([*lines, f"- an answer of {N_TOKENS} tokens: {sums}, {found.ratio_at_2048:.0f} times as long"])


def described(fit: Fit) -> str:
    """Return a fit in words."""
    powers = " + ".join(f"{c:.3g} n^{i}" for i, c in enumerate(fit.coefficients))
    return f"{powers} s, largest distance from a sample {fit.worst:.0%}"


if __name__ == "__main__":
    main()
