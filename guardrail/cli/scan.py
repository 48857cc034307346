"""`guardrail scan`: data sets judged offline."""

import json as json_module
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from guardrail.batches import AT_ONCE
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag, GuardOptions
from guardrail.cli.show import figures, table_console
from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError
from guardrail.scanning.columns import Columns
from guardrail.scanning.jobs import Job, Subject, plan_jobs
from guardrail.scanning.judge import PART_ROWS, Request, judging_here
from guardrail.scanning.results import Tally
from guardrail.scanning.scan import Advance, FileReport
from guardrail.scanning.scan import scan as scan_files

_DEFAULTS = GuardOptions()
_PIPED_WIDTH = 120


def scan(
    *files: Path,
    out: Path,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    id: str | None = None,  # noqa: A002  # the name of the option
    target: Literal["prompt", "response"] | None = None,
    keep_columns: Flag = False,
    limit: int | None = None,
    at_once: int = AT_ONCE,
    part_rows: int = PART_ROWS,
    ray: Flag = False,
    actors: int = 2,
    dry_run: Flag = False,
    json: Flag = False,
    options: GuardOptions = _DEFAULTS,
) -> int:
    """Judge every row of data sets: JSONL, gzipped or not, and Parquet (extra `scan`).

    ```sh
    guardrail scan prompts.jsonl --out judged
    guardrail scan train-*.parquet --out judged --prompt instruction --response output --keep-columns
    jq -c 'select(.action == "allow") | .input' judged/train.jsonl > clean.jsonl    # after --keep-columns
    ```

    Each file gets an output of its name and kind: for each row its number and id, the action, risk, category,
    probabilities, where an answer is stopped, and who decided. Killed at any moment and started again with the same
    options, it goes on with what is left, and the output is the same to the last byte.

    Exits with 0 when every row was judged, whatever was found; with 1 when rows could not be read, with 4 when the
    model failed at some: these rows are in the output too, stopped, with their error.

    Args:
        files: to judge.
        out: folder for the outputs.
        prompt: column of a prompt's text. Unless a column is named, they are found by usual names: messages,
            conversations; else prompt, text, question, instruction and response, answer, output, completion.
        response: column of the answer's text.
        messages: column of a conversation, a list of roles and contents.
        id: column of the row's id; `id` if there is one.
        target: judge the prompt or the answer of each row; unset judges the answer where a row has one.
        keep_columns: keep the input's columns, under `input`.
        limit: most rows of each file, the first ones.
        at_once: rows that share calls of the model.
        part_rows: rows that are written at once: what a kill costs at most.
        ray: judge on a Ray cluster (extra `ray`), at RAY_ADDRESS or on this machine.
        actors: models on that cluster.
        dry_run: say what would be judged, and end.
        json: print one JSON object instead of a table.
        options: which guard.
    """
    if not files:
        raise ConfigurationError("no file to judge")
    if min(at_once, part_rows, actors, 1 if limit is None else limit) < 1:
        raise ConfigurationError("--at-once, --part-rows, --actors and --limit must be at least 1")
    request = Request(Columns(prompt, response, messages, id, target), keep_columns, limit, part_rows, at_once)
    jobs = plan_jobs(files, out, request)
    if dry_run:
        _show_plan(jobs, as_json=json)
        return Exit.OK
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    reports = _run(jobs, options, actors if ray else None)
    seconds = time.monotonic() - started
    return _tell(reports, seconds, as_json=json)


def _run(jobs: list[Job], options: GuardOptions, actors: int | None) -> list[FileReport]:
    """Judge the files; `actors` is the number of models on a Ray cluster, None judges here."""
    # more tokens a call than a server reads, since nobody waits; nothing kept, so that every part stands for itself
    how: dict[str, Any] = {"runtime": Runtime(step_tokens=jobs[0].request.call_tokens), "kept_bytes": 0}
    with options.opened(**how) as guard:
        subject, runner = Subject.of(guard), judging_here(guard)
        if actors:
            from guardrail.scanning.ray import judging_on_ray

            threads = options.threads or 1  # of each actor: they share machines
            runner = judging_on_ray(partial(replace(options, threads=threads).opened, **how), actors, threads=threads)
        with _progress(sum(job.n_rows for job in jobs)) as advance:
            return scan_files(jobs, subject, runner, advance)


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda n: bar.advance(task, n)


def _show_plan(jobs: list[Job], *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "input": str(job.source.path),
            "output": str(job.output),
            "rows": job.n_rows,
            "parts": job.n_parts,
            **{name: getattr(job.request.columns, name) for name in ("prompt", "response", "messages", "id", "target")},
        }
        for job in jobs
    ]
    if as_json:
        print(json_module.dumps({"files": rows}))
        return
    table = figures(*rows[0])
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    table_console(_PIPED_WIDTH).print(table)


def _tell(reports: list[FileReport], seconds: float, *, as_json: bool) -> int:
    total = Tally()
    for report in reports:
        total.merge(report.tally)
    n_judged = sum(report.n_judged for report in reports)
    rates = {
        "rows_judged_now": n_judged,
        "seconds": round(seconds, 3),
        "rows_per_second": round(n_judged / seconds, 1),
        "tokens_per_second": round(sum(report.n_tokens for report in reports) / seconds, 1),
    }
    if as_json:
        files = [{"input": r.input, "output": str(r.output), **r.tally.model_dump()} for r in reports]
        print(json_module.dumps({"files": files, "total": total.model_dump(), **rates}))
    else:
        _print(reports, total, rates)
    if total.n_failed:
        return Exit.ENGINE
    return Exit.FAILED if total.n_unreadable else Exit.OK


def _print(reports: list[FileReport], total: Tally, rates: dict[str, Any]) -> None:
    actions = list(total.actions)
    by_file = figures("file", "rows", *actions)
    for name, tally in [*((str(report.output), report.tally) for report in reports), ("all", total)]:
        by_file.add_row(name, str(tally.rows), *(str(tally.actions.get(action, 0)) for action in actions))
    by_category = figures("category", "rows")
    for name, n in sorted(total.categories.items(), key=lambda item: (-item[1], item[0])):
        by_category.add_row(name, str(n))
    console = table_console(_PIPED_WIDTH)
    console.print(by_file)
    if total.categories:
        console.print(by_category)
    console.print(
        "{rows_judged_now} rows judged in {seconds:.1f} s: {rows_per_second:g} rows/s, "
        "{tokens_per_second:g} tokens/s".format_map(rates)
    )
