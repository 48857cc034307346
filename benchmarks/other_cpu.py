"""Do int8 kernels of another processor give the same verdicts? Judges the demo's texts, and compares two runs.

python benchmarks/other_cpu.py write native.json
qemu-x86_64 -cpu Haswell python benchmarks/other_cpu.py write other.json      # a processor without VNNI, emulated
python benchmarks/other_cpu.py compare native.json other.json
"""

import json
import platform
import sys
from importlib.resources import files
from pathlib import Path
from statistics import mean

import onnxruntime

from guardrail import Guard


def judge() -> list[tuple[str, str, str, float]]:
    """Return text, risk, category and probability of harm of every prompt, and of every token of every answer."""
    guard = Guard.default(threads=1)
    found: list[tuple[str, str, str, float]] = []
    for row in map(json.loads, files("guardrail.assets").joinpath("demo.jsonl").read_text("utf-8").splitlines()):
        answer = guard.judge_response(row["prompt"], row["answer"])
        found += [
            (row["id"], str(verdict.risk), str(verdict.category), verdict.non_safe_probability)
            for verdict in (guard.judge_prompt(row["prompt"]), *(token.verdict for token in answer))
        ]
    return found


def compare(first: Path, second: Path) -> None:
    """Print on how many verdicts two runs agree, and how far their probabilities are apart."""
    pairs = list(zip(json.loads(first.read_text()), json.loads(second.read_text()), strict=True))
    apart = [abs(one[3] - other[3]) for one, other in pairs]
    print(f"{len(pairs)} verdicts; same risk {sum(one[1] == other[1] for one, other in pairs)}, ", end="")
    print(f"same category {sum(one[2] == other[2] for one, other in pairs)}; ", end="")
    print(f"probabilities differ by {max(apart):.4f} at most, {mean(apart):.1e} on average")


if __name__ == "__main__":
    print(f"Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, {platform.machine()}")
    if sys.argv[1] == "write":
        Path(sys.argv[2]).write_text(json.dumps(judge()), "utf-8")
    else:
        compare(Path(sys.argv[2]), Path(sys.argv[3]))
