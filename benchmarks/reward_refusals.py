"""How often the phrase detector of refusals is right, by file, language and label.

    python benchmarks/reward_refusals.py data

Counted are answers whose label says that they refuse, that they do not, or that says nothing; a share of answers that
the detector calls refusals, with its 95 % interval. Labels are the sources' own: in gptfuzz_responses "refuses" means
"a person found the answer harmless to a jailbroken harmful question", which an answer in character can be too.
"""

import argparse
import platform
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from guardrail.audit.intervals import wilson
from guardrail.bench.machine import cores, cpu_name
from guardrail.training.corpus import read_objects
from guardrail.training.refusal_phrases import is_refusal

FILES = (
    "gptfuzz_responses", "latent_jailbreak_responses", "cipherchat_human", "jade_alignment", "coconot_contrast_train",
    "glaive_toolcall_benign", "alpaca_zh_benign", "smilechat_benign", "gsm8k_benign", "dolly_benign",
    "roleplay_benign", "codegen_benign", "chatterbot_benign",
)  # fmt: skip
LABELS = {True: "refuses", False: "answers", None: "not said"}


def main() -> None:
    """Print a table and the rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", nargs="*", default=FILES)
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {cores()} cores, Python {platform.python_version()}, guardrail {version('guardrail-stream')}")
    print("| file | lang | label: refusal | label: risk | answers | called refusals | share | 95 % interval |")
    print("|---|---|---|---|---|---|---|---|")
    n_chars, spent_s = 0, 0.0
    for name in arguments.files:
        found: Counter[tuple[str, str, str, bool]] = Counter()
        for row in read_objects(arguments.data / f"{name}.jsonl.gz"):
            if row["target"] != "response":
                continue
            text = row["messages"][-1]["content"]
            started = time.perf_counter()
            is_hit = is_refusal(text)
            spent_s += time.perf_counter() - started
            n_chars += len(text)
            found[row["lang"], LABELS[row["refusal"]], row["risk"] or "none", is_hit] += 1
        for lang, label, risk in sorted({key[:3] for key in found}):
            hits, misses = (found[lang, label, risk, is_hit] for is_hit in (True, False))
            found_share = wilson(hits, hits + misses)
            share = f"{found_share.value:.3f} | {found_share.low:.3f} to {found_share.high:.3f}"
            print(f"| {name} | {lang} | {label} | {risk} | {hits + misses} | {hits} | {share} |")
    print(f"{n_chars / spent_s / 1e6:.1f} million characters a second")


if __name__ == "__main__":
    main()
