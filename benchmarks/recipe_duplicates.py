"""Near duplicates in the recipe: what the bands find of all pairs, and what a text costs.

    python benchmarks/recipe_duplicates.py [--data data] [--texts 12000] [--seed 1]

First a random sample of the labelled rows' judged texts: every pair is compared, which is the truth, and the candidates
of several bandings are held against it; the one in use comes first. "Wrong" are pairs that the tokens' hashes call near
and the tokens themselves do not. Then all texts are grouped, and memory is the peak of this process with the texts.
Texts a second are of CPU time, on one core.
"""

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from guardrail.bench.machine import cores, cpu_name
from guardrail.evaluation.rows import read_rows
from guardrail.training.recipe.duplicate_groups import group_duplicates
from guardrail.training.recipe.duplicates import Banding, NearDuplicates, banding_for, fingerprint, rouge_l

PACKAGES = ("numpy", "rapidfuzz")
THRESHOLDS = {
    0.7: (banding_for(0.7), Banding(32, 3), Banding(32, 4), Banding(96, 5)),
    0.8: (banding_for(0.8), Banding(48, 4), Banding(48, 10)),
    0.85: (banding_for(0.85), Banding(24, 8), Banding(48, 10), Banding(32, 12)),
    0.9: (banding_for(0.9), Banding(24, 8), Banding(32, 12)),
}
BLOCK = 500

Pairs = set[tuple[int, int]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of files in the data schema")
    parser.add_argument("--texts", type=int, default=12000, help="of the sample")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(versions)}\n")
    files = sorted(path for path in given.data.glob("*.jsonl.gz") if not path.name.startswith("pretrain"))
    texts = [row.judged_text for path in files for row in read_rows(path)]
    picked = np.random.default_rng(given.seed).permutation(len(texts))[: given.texts]
    sample = list(dict.fromkeys(texts[i] for i in picked))
    print(f"Sample of {len(sample):,} different texts, seed {given.seed}; {len(sample) ** 2 // 2:,} pairs.\n")
    compare(sample)
    group(texts)


def compare(texts: Sequence[str]) -> None:
    """Print what each banding finds."""
    all_near = near_pairs(texts, min(THRESHOLDS))
    print("| ROUGE-L from | bands x hashes | near pairs | found | wrong | candidates a text | texts/s |")
    print("|---|---|---|---|---|---|---|")
    for threshold, bandings in THRESHOLDS.items():
        near = {pair for pair, measure in all_near.items() if measure >= threshold}
        n_wrong = sum(rouge_l(texts[a], texts[b]) < threshold for a, b in near)
        for banding in bandings:
            found, n_candidates, texts_per_s = found_pairs(texts, threshold, banding)
            form = f"{banding.n_bands} x {banding.n_rows}"
            share = f"{len(near):,} | {len(found & near) / len(near):.2%} | {n_wrong}"
            print(f"| {threshold} | {form} | {share} | {n_candidates / len(texts):.1f} | {texts_per_s:,.0f} |")


def near_pairs(texts: Sequence[str], threshold: float) -> dict[tuple[int, int], float]:
    """Return ROUGE-L of all pairs that reach a threshold, by comparing every pair."""
    prints = [fingerprint(text) for text in texts]
    lengths = np.array([len(one) for one in prints])
    near = {}
    for start in range(0, len(prints), BLOCK):
        block = slice(start, start + BLOCK)
        common = cdist(prints[block], prints, scorer=LCSseq.similarity, dtype=np.int32, workers=-1)
        measure = 2 * common / (lengths[block, None] + lengths)
        for i, j in zip(*np.nonzero(measure >= threshold), strict=True):
            if j < start + i:
                near[int(j), int(start + i)] = float(measure[i, j])
    return near


def found_pairs(texts: Sequence[str], threshold: float, banding: Banding) -> tuple[Pairs, int, float]:
    """Return the near pairs that a banding finds, its candidates, and texts looked up and added a second."""
    index = NearDuplicates(threshold, banding)
    found, n_candidates, started = set(), 0, time.process_time()
    for i, text in enumerate(texts):
        candidates = index.candidates(text)
        n_candidates += len(candidates)
        found.update((j, i) for j, measure in candidates if measure >= threshold)
        index.add(i, text)
    return found, n_candidates, len(texts) / (time.process_time() - started)


def group(texts: Sequence[str]) -> None:
    """Print what grouping all texts finds and costs."""
    print("\n| ROUGE-L from | texts | near duplicates of an earlier one | groups of two and more | largest | texts/s |")
    print("|---|---|---|---|---|---|")
    for threshold in (0.85, 0.9):
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            groups = group_duplicates(texts, threshold, Path(folder))
        texts_per_s = len(texts) / (time.process_time() - started)
        sizes = np.bincount(groups)
        share = float((groups != np.arange(len(groups))).mean())
        print(f"| {threshold} | {len(texts):,} | {share:.1%} | {(sizes > 1).sum():,}", end=" | ")
        print(f"{sizes.max():,} | {texts_per_s:,.0f} |")
    print(f"\nPeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB.")


if __name__ == "__main__":
    main()
