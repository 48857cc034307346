"""`guardrail doctor`: what is installed, what is used, how fast it is, and what to do about what is wrong."""

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from guardrail.cli.exits import Exit
from guardrail.cli.options import EMBEDDED, Flag
from guardrail.doctor.checks import State
from guardrail.doctor.run import Report, Tell, examine

_PIPED_WIDTH = 140
"""Columns where there is no terminal to ask."""

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


def doctor(*, model: str = EMBEDDED, policy: str = "balanced", quick: Flag = False, json: Flag = False) -> int:
    """Say what is installed, which model judges, whether its files are intact, and how fast this machine is.

    ```sh
    guardrail doctor
    guardrail doctor --model exported/ --policy mine.toml
    guardrail doctor --json > doctor.json
    ```

    Nothing is downloaded; a checkpoint is exported into the cache, as on its first use. No secret and no judged text is
    printed, so that the output can go into an issue. Exits with 1 if something that was asked for does not work.

    Args:
        model: guard model: "default" (embedded), a hub id that the hub's cache holds, a checkpoint or exported folder.
        policy: ready policy (strict, balanced, loose, shadow) or a TOML file.
        quick: leave the measurement of a few seconds out.
        json: print one JSON object with stable keys.
    """
    with _progress() as tell:
        report = examine(model, policy, quick=quick, tell=tell)
    if json:
        print(json_module.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    return Exit.OK if report.is_usable else Exit.FAILED


def _print(report: Report) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    machine = report.machine
    console.print(f"{machine.implementation} {machine.python}, {machine.system} {machine.architecture}, {machine.cpu}")
    console.print(", ".join(f"{one.name} {one.installed or 'MISSING'}" for one in report.installation.dependencies))
    console.print(_checks(report))
    console.print(_extras(report))
    for one in report.environment:
        if one.is_set:
            console.print(f"{one.name} = {one.value or 'set, not shown'}: {one.effect}")
    console.print("usable" if report.is_usable else "NOT usable as asked: see what failed")


def _checks(report: Report) -> Table:
    table = Table("checked", "state", "found", "what to do", box=None, pad_edge=False)
    for one in report.checks:
        table.add_row(one.name, one.state.value, one.detail, one.advice, style=_COLOURS[one.state])
    return table


def _extras(report: Report) -> Table:
    table = Table("extra", "usable", "missing", "install", box=None, pad_edge=False)
    for one in report.installation.extras:
        table.add_row(
            one.name, "yes" if one.is_usable else "no", ", ".join(one.missing), one.install * (not one.is_usable)
        )
    return table


@contextmanager
def _progress() -> Iterator[Tell]:
    """Show on stderr what is being done, where somebody may be looking."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield str
        return
    with console.status("looking") as status:
        yield status.update
