"""`guardrail bench`: what the model costs on this machine."""

import json as json_module
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from guardrail.bench.run import SECTIONS, check_sections, run_bench
from guardrail.bench.sizes import FULL, QUICK
from guardrail.bench.subject import RANDOM_06B, find_source
from guardrail.bench.table import to_table
from guardrail.cli.options import Flag
from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.errors import ConfigurationError

PIPED_WIDTH = 140
"""Columns of the table where there is no terminal to ask."""

T = TypeVar("T")


def bench(
    *,
    quick: Flag = False,
    model: str = RANDOM_06B,
    only: str = ",".join(SECTIONS),
    threads: int | None = None,
    kv: KVPrecision = "fp32",
    json: Path | None = None,
) -> None:
    """Measure a model on this machine: speed, memory, and how far both are from what the machine allows.

    One token at a time against the memory bandwidth and torch, several tokens a call and the fastest LLM to keep up
    with, whole prompts, re-reading, many streams, an agent's loop, memory, the gate. Torch is measured beside it if it
    is installed. For figures that count, close other programs; `--only decode` measures one thing.

    The model of 0.6B parameters has random weights, since speed depends on shapes alone. It is written and exported
    once (extra `export`, 2 GB in the cache folder, some minutes).

    Args:
        quick: fewer repetitions and shorter answers: about two minutes on two cores.
        model: "06b" (random weights of that shape), "default" (embedded), a hub id, a checkpoint folder or an
            exported folder.
        only: what to measure, separated by commas.
        threads: threads of the model; unset lets the runtime choose.
        kv: precision of the KV cache.
        json: file for all figures as one JSON object.
    """
    sections = check_sections([name for name in only.split(",") if name])
    if not sections:
        raise ConfigurationError("--only names nothing to measure", hint=f"valid: {', '.join(SECTIONS)}")
    if json and not json.parent.is_dir():
        raise ConfigurationError(f"no folder {json.parent} for the figures")
    runtime = Runtime(threads=threads, kv_precision=kv)
    source = find_source(model, _watch, kv_precision=kv)
    report = run_bench(source, runtime, QUICK if quick else FULL, _watch, only=sections)
    if json:
        json.write_text(json_module.dumps(report.to_json(), indent=2) + "\n", "utf-8")
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(to_table(report))


def _watch(steps: Sequence[T], title: str, /) -> Iterable[T]:
    """Show a bar for each measurement on stderr, while it lasts."""
    console = Console(stderr=True)
    return track(steps, title, console=console, transient=True, disable=not console.is_terminal)
