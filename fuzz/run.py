"""Runs every harness for a while, one after the other, and prints a table: `make fuzz FUZZ_MINUTES=1`.

Exit code 1 says that an input broke a harness; it lies in fuzz/found/ then. What each harness has learnt lies in
fuzz/grown/, and the next run goes on from there and from the small corpus of the tests.
"""

import argparse
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
SEEDS = ROOT / "tests" / "fuzzing" / "corpus"
GROWN, FOUND = FUZZ / "grown", FUZZ / "found"
HARNESSES = tuple(sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py")))

INPUT_S = 20
"""Seconds after which one input counts as a hang; the slowest honest one takes a twentieth of that. Our choice."""
MOST_BYTES = 3000
"""Longest input: hypothesis makes a value of about ten bytes, and shapes of a few hundred values are plenty."""
MOST_RSS_MB = 3000

_PROGRESS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one harness came to.

    Attributes:
        name: of the harness.
        n_inputs: inputs tried.
        n_features: edges of the code under test that were covered, with how often each was passed.
        n_kept: inputs kept, each of which covers something new.
        kept_size: size of those, as libFuzzer writes it.
        found: inputs that broke the harness.
        has_ended: whether the fuzzer came to its own end.
        told: the end of its output.
    """

    name: str
    n_inputs: int
    n_features: int
    n_kept: int
    kept_size: str
    found: tuple[Path, ...]
    has_ended: bool
    told: str

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return self.has_ended and not self.found


def main() -> int:
    """Run the harnesses that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each harness")
    parser.add_argument("harnesses", nargs="*", metavar="harness", help=f"of {', '.join(HARNESSES)}; all by default")
    asked = parser.parse_args()
    names = asked.harnesses or HARNESSES
    if unknown := set(names) - set(HARNESSES):
        parser.error(f"no harness {', '.join(sorted(unknown))}; there are {', '.join(HARNESSES)}")
    print(
        f"{platform.machine()}, Python {platform.python_version()}, atheris {version('atheris')}, "
        f"hypothesis {version('hypothesis')}; {asked.minutes:g} minutes a harness\n"
    )
    row = "{:<12} {:>10} {:>9} {:>7} {:>8} {:>8}"
    print(row.format("harness", "inputs", "features", "kept", "size", "findings"))
    outcomes = []
    for name in names:
        outcomes.append(one := run(name, asked.minutes))
        print(row.format(name, one.n_inputs, one.n_features, one.n_kept, one.kept_size, len(one.found)), flush=True)
    for one in outcomes:
        if not one.is_clean:
            print(f"\n{one.name}: {', '.join(str(path.relative_to(ROOT)) for path in one.found)}\n{one.told}")
    return 0 if all(one.is_clean for one in outcomes) else 1


def run(name: str, minutes: float) -> Outcome:
    """Fuzz one harness in a process of its own."""
    grown = GROWN / name
    for folder in (grown, FOUND, SEEDS / name):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(FOUND.glob(f"{name}-*"))
    options = {
        "max_total_time": max(1, round(minutes * 60)), "timeout": INPUT_S, "max_len": MOST_BYTES, "len_control": 20,
        "rss_limit_mb": MOST_RSS_MB, "print_final_stats": 1, "artifact_prefix": f"{FOUND}/{name}-",
    }  # fmt: skip
    command = [sys.executable, "-m", "fuzz.target", name, *(f"-{key}={value}" for key, value in options.items())]
    command += [str(grown), str(SEEDS / name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    executed, progress = _EXECUTED.findall(output), _PROGRESS.findall(output)
    _, features, kept, size = progress[-1] if progress else (0, 0, 0, "0b")
    found = tuple(sorted(set(FOUND.glob(f"{name}-*")) - before))
    told = "\n".join(line for line in output.splitlines() if not line.startswith(("#", "INFO")))[-4000:]
    n_inputs = int(executed[-1]) if executed else 0
    return Outcome(name, n_inputs, int(features), int(kept), str(size), found, done.returncode == 0, told)


if __name__ == "__main__":
    sys.exit(main())
