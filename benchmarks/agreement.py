"""Prints how often exports of a checkpoint give the torch network's verdicts, and int8 KV caches those of fp32 ones.

    python benchmarks/agreement.py CHECKPOINT [--texts FILE] [--weights int8:32 int4:32 ...] [--kv int8:128 ...]

The rows are those of `guardrail verify`. Caches are calibrated on the texts of `guardrail calibrate-kv`, among which
these rows are; `--texts` compares them on texts of your own. Needs the extras `torch` and `export`, and disk for one
export at a time.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import HEADS, Engine, Logits
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.engines.torch import TorchEngine
from guardrail.exported import read_manifest
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.agreement import HeadComparison, compare_heads, read_rows
from guardrail.onnx_export.calibrate import calibrate_kv
from guardrail.onnx_export.calibration_texts import file_rows
from guardrail.onnx_export.verify_rows import Row, fixed_rows

WEIGHTS = ("fp32", "int8:32", "int8:64", "int8:128", "int8:256", "int4:32", "int4:64", "int4:128")
KV = ("fp32", "int8:32", "int8:128", "int4:32")


@dataclass(frozen=True)
class Variant:
    """Weights of an export: a precision, and the size of a block; None chooses it."""

    precision: str
    block_size: int | None

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read "int8:128", "int8" or "fp32"."""
        precision, _, block = text.partition(":")
        return cls(precision, int(block) if block else None)

    def __str__(self) -> str:
        return self.precision + (f", blocks of {self.block_size}" if self.block_size else "")


def main() -> None:
    """Print a table of the weights and one of the caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=Path, help="compare the caches on these, as calibrate-kv reads them")
    parser.add_argument("--weights", nargs="*", type=Variant.parse, default=[Variant.parse(name) for name in WEIGHTS])
    parser.add_argument("--kv", nargs="*", type=Variant.parse, default=[Variant.parse(name) for name in KV])
    options = parser.parse_args()
    config = GuardConfig.from_json(read_json(options.checkpoint / CONFIG_FILE))
    tokenizer = GuardTokenizer.from_file(options.checkpoint / "tokenizer.json")
    rows = fixed_rows(tokenizer, config.max_context)
    if options.weights:
        weights(options.checkpoint, config, rows, options.weights)
    if options.texts:
        found = file_rows(options.texts, tokenizer, config.max_context)
        rows = [Row(ids, len(ids) - 1, 0) for ids in found]  # heads are compared everywhere
    if options.kv:
        caches(options.checkpoint, config, rows, options.kv)


def weights(checkpoint: Path, config: GuardConfig, rows: Sequence[Row], variants: Sequence[Variant]) -> None:
    """Print the agreement of each export with the torch network."""
    reference = read_rows(TorchEngine.from_checkpoint(checkpoint), rows)
    print_head("weights", "torch", rows)
    for variant in variants:
        with exported(checkpoint, variant) as folder:
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            print_row(f"{variant} ({size:.0f} MB)", compare_heads(rows, reference, logits(folder, config, rows)))


def caches(checkpoint: Path, config: GuardConfig, rows: Sequence[Row], variants: Sequence[Variant]) -> None:
    """Print the agreement of each export's int8 KV cache with its fp32 one."""
    print_head("weights, with an int8 KV cache", "with an fp32 KV cache", rows)
    for variant in variants:
        with exported(checkpoint, variant) as folder:
            calibrate_kv(folder)
            reference = logits(folder, config, rows)
            print_row(str(variant), compare_heads(rows, reference, logits(folder, config, rows, "int8")))


@contextmanager
def exported(checkpoint: Path, variant: Variant) -> Iterator[Path]:
    """Export for a while."""
    with tempfile.TemporaryDirectory() as scratch:
        yield export_checkpoint(
            checkpoint, Path(scratch) / "export", precision=variant.precision, block_size=variant.block_size
        )


def logits(folder: Path, config: GuardConfig, rows: Sequence[Row], kv_precision: KVPrecision = "fp32") -> list[Logits]:
    """Read all rows with an export."""
    runtime = Runtime(kv_precision=kv_precision, max_sessions=1)
    engine: Engine = OnnxEngine(folder, read_manifest(folder), config, runtime=runtime)
    found = read_rows(engine, rows)
    engine.close()
    return found


def print_head(what: str, reference: str, rows: Sequence[Row]) -> None:
    """Print the head of a table."""
    n_tokens = sum(len(row.ids) for row in rows)
    print(f"\nSame verdicts as {reference}, {len(rows)} rows, {n_tokens} positions\n")
    columns = [
        what,
        *(name.replace("_", " ") for name in HEADS),
        "where read, least head",
        "largest difference",
        "mean",
    ]
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|", flush=True)


def print_row(what: str, heads: Sequence[HeadComparison]) -> None:
    """Print what one export reaches."""
    columns = [what, *(f"{head.agreement:.2%}" for head in heads), f"{min(h.agreement_read for h in heads):.2%}"]
    columns.append(f"{max(head.max_difference for head in heads):.1e}")
    columns.append(f"{max(head.mean_difference for head in heads):.1e}")
    print("|", " | ".join(columns), "|", flush=True)


if __name__ == "__main__":
    sys.exit(main())
