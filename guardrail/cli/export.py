"""`guardrail export` and `guardrail verify`: checkpoints to ONNX, and the proof that nothing changed."""

import dataclasses
import json as json_module
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import Progress

from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag


def export(
    source: str,
    target: Path,
    *,
    precision: Literal["int8", "fp32"] = "int8",
    name: str | None = None,
    revision: str | None = None,
) -> int:
    """Export a checkpoint to a folder that runs without torch.

    Args:
        source: checkpoint folder in the published format, with tokenizer.json, or a hub id.
        target: folder to make; an older export there is replaced.
        precision: of the weights.
        name: of the model in records; unset takes the source's.
        revision: commit or branch on the hub.
    """
    from guardrail.loader import find_checkpoint

    folder = find_checkpoint(source, revision=revision)  # a wrong source is told before a missing extra
    from guardrail.onnx_export import export_checkpoint

    named = name or (Path(source).resolve().name if Path(source).is_dir() else source)
    with _progress("exporting") as tell:
        export_checkpoint(folder, target, precision=precision, name=named, progress=tell)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {precision}, {size / 1e6:.1f} MB", file=sys.stderr)
    return Exit.OK


def verify(
    source: str,
    *,
    precision: Literal["int8", "fp32"] | None = None,
    exported: Path | None = None,
    revision: str | None = None,
    json: Flag = False,
) -> int:
    """Export a checkpoint and compare it with the torch network on a fixed set of texts.

    Args:
        source: checkpoint folder, or a hub id such as Qwen/Qwen3Guard-Stream-0.6B.
        precision: of the export to make and compare; unset compares both.
        exported: an export of that checkpoint to compare instead.
        revision: commit or branch on the hub.
        json: print the numbers as JSON, one line for each export.
    """
    from guardrail.loader import find_checkpoint
    from guardrail.onnx_export.verify import format_report, verify_checkpoint

    folder = find_checkpoint(source, revision=revision)
    code = Exit.OK
    for chosen in ("fp32", "int8") if precision is None and exported is None else (precision,):
        with _progress("comparing") as tell:
            report = verify_checkpoint(folder, precision=chosen, exported=exported, progress=tell)
        line = json_module.dumps({**dataclasses.asdict(report), "passed": report.passed})
        print(line if json else f"{format_report(report)}\n", flush=True)
        if not report.passed:
            code = Exit.FAILED
    return code


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], object]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
