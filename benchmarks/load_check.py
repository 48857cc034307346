"""What it costs to check every file of the embedded model by hash before it is loaded.

    python benchmarks/load_check.py --repeats 30

The check alone and the whole load, in turns, with the files in the page cache; and the rate at which one large file is
hashed, from which a larger model's time follows.
"""

import argparse
import platform
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from guardrail.assets import DEFAULT_MANIFEST_SHA256
from guardrail.bench.machine import cores, cpu_name
from guardrail.bench.timing import Spread, seconds_of
from guardrail.exported import read_manifest
from guardrail.file_hash import hash_file
from guardrail.loader import load_default

BIG_BYTES = 512 * 2**20


def main() -> None:
    """Print both times, their ratio and the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    folder = Path(str(files("guardrail.assets").joinpath("default")))
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    checks, loads = [], []
    for _ in range(repeats + 1):
        checks.append(seconds_of(lambda: read_manifest(folder, sha256=DEFAULT_MANIFEST_SHA256)))
        loads.append(seconds_of(load_and_close))
    check, load = Spread.of(checks[1:]), Spread.of(loads[1:])  # the first of each fills caches
    versions = ", ".join(f"{name} {version(name)}" for name in ("guardrail-stream", "onnxruntime", "tokenizers"))
    print(f"{cpu_name()}, {cores()} cores, Python {platform.python_version()}, {versions}")
    print(f"check of {n_bytes / 1e6:.1f} MB: median {check.median * 1e3:.1f} ms, best {min(checks) * 1e3:.1f}")
    print(f"load with the check: median {load.median * 1e3:.0f} ms, best {min(loads) * 1e3:.0f}")
    print(f"share of the load: {check.median / load.median:.1%}, of the bests {min(checks) / min(loads):.1%}")
    print(f"one large file: {hash_rate(repeats) / 1e6:.0f} MB/s")


def load_and_close() -> None:
    """Load the embedded model as `Guard.default` does."""
    load_default().engine.close()


def hash_rate(repeats: int) -> float:
    """Return the best rate of some passes over a large file, in bytes a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big"
        path.write_bytes(bytes(BIG_BYTES))
        return BIG_BYTES / min(seconds_of(lambda: hash_file(path)) for _ in range(min(repeats, 5)))


if __name__ == "__main__":
    main()
