"""`guardrail export`, `calibrate-kv` and `verify`: checkpoints to ONNX, and the proof of how little changed."""

import dataclasses
import json as json_module
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import Progress

from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag, Precision
from guardrail.errors import ConfigurationError


def export(
    source: str,
    target: Path,
    *,
    precision: Precision = "int8",
    block_size: Literal[32, 64, 128, 256] | None = None,
    kv: Literal["fp32", "int8"] = "fp32",
    name: str | None = None,
    revision: str | None = None,
    via: Literal["graph", "optimum"] = "graph",
) -> int:
    """Export a checkpoint to a folder that runs without torch.

    Args:
        source: checkpoint folder in the published format, with tokenizer.json, or a hub id.
        target: folder to make; an older export there is replaced.
        precision: of the weights.
        block_size: weights that share one scale; unset chooses by the model's size.
        kv: "int8" also calibrates an int8 KV cache, as `guardrail calibrate-kv` does.
        name: of the model in records; unset takes the source's.
        revision: commit or branch on the hub.
        via: our own graph, or Hugging Face's Optimum, to compare with; the extra `optimum` needs an environment of its
            own, and `guardrail verify` alone reads what it makes.
    """
    from guardrail.loader import find_checkpoint

    folder = find_checkpoint(source, revision=revision)  # a wrong source is told before a missing extra
    named = name or (Path(source).resolve().name if Path(source).is_dir() else source)
    if via == "optimum":
        if block_size is not None or kv != "fp32":
            raise ConfigurationError("--block-size and --kv are settings of our own graph", hint="leave out --via")
        return _export_with_optimum(folder, target, precision, named)
    from guardrail.onnx_export import export_checkpoint

    with _progress("exporting") as tell:
        export_checkpoint(folder, target, precision=precision, block_size=block_size, name=named, progress=tell)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {precision}, {size / 1e6:.1f} MB", file=sys.stderr)
    return calibrate_kv(target) if kv == "int8" else Exit.OK


def calibrate_kv(folder: Path, *, texts: Path | None = None) -> int:
    """Calibrate an exported folder for an int8 KV cache; what it can already do stays.

    Args:
        folder: exported folder; an older calibration is replaced.
        texts: file of texts like those that the guard will read: .jsonl with `messages` or `text` in each line, else
            plain text with a blank line between two texts; unset takes texts of our own.
    """
    from guardrail.onnx_export.calibrate import calibrate_kv as calibrate

    with _progress("calibrating") as tell:
        found = calibrate(folder, texts=texts, progress=tell)
    print(f"{folder}: int8 KV cache, from {found.n_texts} texts of {found.n_tokens} tokens in all", file=sys.stderr)
    return Exit.OK


def verify(
    source: str,
    *,
    precision: Precision | None = None,
    kv: Literal["fp32", "int8"] = "fp32",
    exported: Path | None = None,
    revision: str | None = None,
    json: Flag = False,
) -> int:
    """Export a checkpoint and compare it with the torch network, or its KV caches, on a fixed set of texts.

    Args:
        source: checkpoint folder, or a hub id such as Qwen/Qwen3Guard-Stream-0.6B.
        precision: of the export to make and compare; unset compares fp32 and int8.
        kv: "int8" compares an int8 KV cache with the fp32 one of the same export.
        exported: an export of that checkpoint to compare instead, ours or Optimum's.
        revision: commit or branch on the hub.
        json: print the numbers as JSON, one line for each export.
    """
    from guardrail.loader import find_checkpoint
    from guardrail.onnx_export.optimum_folder import is_optimum_export
    from guardrail.onnx_export.optimum_verify import verify_optimum
    from guardrail.onnx_export.verify import format_report, verify_checkpoint

    folder = find_checkpoint(source, revision=revision)
    code = Exit.OK
    for chosen in ("fp32", "int8") if precision is None and exported is None else (precision,):
        with _progress("comparing") as tell:
            if exported is not None and kv == "fp32" and is_optimum_export(exported):
                report = verify_optimum(folder, exported, precision=chosen)
            else:
                report = verify_checkpoint(folder, precision=chosen, kv_precision=kv, exported=exported, progress=tell)
        line = json_module.dumps({**dataclasses.asdict(report), "passed": report.passed})
        print(line if json else f"{format_report(report)}\n", flush=True)
        if not report.passed:
            code = Exit.FAILED
    return code


def _export_with_optimum(folder: Path, target: Path, precision: str, name: str) -> int:
    from guardrail.onnx_export.optimum import export_with_optimum
    from guardrail.onnx_export.optimum_folder import read_optimum

    with _progress("exporting through Optimum"):
        export_with_optimum(folder, target, precision=precision, name=name)
    size, quantised = sum(path.stat().st_size for path in target.iterdir()), read_optimum(target).quantised
    print(f"{target}: {precision} through Optimum, {size / 1e6:.1f} MB", file=sys.stderr)
    if precision == "int8":
        print(
            f"int8: {quantised.weight_matmuls} products with weights, {quantised.embeddings} embedding; "
            f"float32: {quantised.float_matmuls} products of activations",
            file=sys.stderr,
        )
    return Exit.OK


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], object]]:
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True)
    task = bar.add_task(title, total=None)
    with bar if console.is_terminal else nullcontext():  # a disabled bar would still print an empty line
        yield lambda done, total: bar.update(task, completed=done, total=total)
