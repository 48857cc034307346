"""Exports a checkpoint of the 0.6B shape with random weights, runs it, and prints time, memory and size.

    python benchmarks/export_06b.py [--keep FOLDER]

Needs the extra `export`, 8 GB of memory and 3 GB of disk. Weights are random: speed and memory depend on shapes alone.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from guardrail.checkpoint import write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.engines.base import Feed
from guardrail.engines.onnx import OnnxEngine
from guardrail.exported import read_manifest

CONFIG = GuardConfig(
    hidden_size=1024, n_layers=28, n_heads=16, n_kv_heads=8, head_dim=128, intermediate_size=3072,
    vocab_size=151936, guard_inner_size=512, max_context=32768,
)  # fmt: skip
"""The published 0.6B sizes."""

EXPORT = """
import resource, sys, time
from guardrail.onnx_export import export_checkpoint
started = time.monotonic()
export_checkpoint(sys.argv[1], sys.argv[2], precision="int8")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{time.monotonic() - started:.1f} s, peak memory {peak:.2f} GiB")
"""


def main() -> None:
    """Write, export in a process of its own (so that its peak memory is its own), run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="keep checkpoint and export in this folder")
    keep = parser.parse_args().keep
    print(f"{platform.machine()}, Python {platform.python_version()}, onnxruntime {version('onnxruntime')}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        write(folder / "checkpoint")
        arguments = [sys.executable, "-c", EXPORT, str(folder / "checkpoint"), str(folder / "export")]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        print("export to int8:", done.stdout.strip())
        measure(folder / "export")


def write(folder: Path) -> None:
    """Write random bf16 weights in the published format, with the embedded tokenizer."""
    from guardrail.testing import default_tokenizer_file

    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, np.float32) * (0.02 if len(shape) > 1 else 0.0) + float(len(shape) == 1)
        for name, shape in tensor_shapes(CONFIG).items()
    }
    write_checkpoint(folder, CONFIG, tensors, dtype="bf16")
    (folder / "tokenizer.json").write_bytes(default_tokenizer_file().read_bytes())
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"checkpoint: {size / 1e9:.2f} GB, bf16")


def measure(folder: Path) -> None:
    """Print the export's size and the time of a prefill and of chunks of 1 and 8 tokens, interleaved."""
    print(f"export: {sum(path.stat().st_size for path in folder.iterdir()) / 1e9:.2f} GB")
    started = time.monotonic()
    engine = OnnxEngine(folder, read_manifest(folder), CONFIG)
    print(f"load: {time.monotonic() - started:.1f} s")
    session = engine.open()
    rng = np.random.default_rng(1)
    times: dict[int, list[float]] = {256: [], 8: [], 1: []}
    for _ in range(12):
        for size, found in times.items():
            session.rollback(min(session.length, 256) if size != 256 else 0)
            started = time.monotonic()
            engine.step([Feed(session, rng.integers(0, CONFIG.vocab_size, size).tolist())])
            found.append(time.monotonic() - started)
    single = statistics.median(times[1])
    for size, found in times.items():
        taken = statistics.median(found)
        print(f"{size:4} tokens: {1000 * taken:7.1f} ms, {taken / single:5.2f} x one token")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
