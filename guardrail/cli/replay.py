"""`guardrail replay`: what another policy would have done, from the records, without a model."""

import json as json_module
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from guardrail.actions import Action
from guardrail.audit.intervals import Interval
from guardrail.audit.replay_changes import Change, Compared, Comparison
from guardrail.audit.replay_summary import ALL, Group, Summary
from guardrail.audit.wording import shown
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.cli.record_input import counted, span_of
from guardrail.cli.show import figures, table_console
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.policy import Policy
from guardrail.policy_file import READY_POLICIES, load_policy
from guardrail.records import Skipped, read_records
from guardrail.records.targets import refuse_source, whole

_PIPED_WIDTH = 140
_SHOWN_SHA256 = 12


def replay(
    store: str,
    *,
    policy: str,
    against: str | None = None,
    made_by: tuple[str, ...] = (),
    since: str | None = None,
    until: str | None = None,
    tenant: str | None = None,
    direction: Direction | None = None,
    changed: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    json: Flag = False,
) -> int:
    """Show what another policy would have done with recorded traffic: which decisions change, and where answers stop.

    ```sh
    guardrail replay decisions.jsonl --policy new.toml
    guardrail replay decisions.db --policy strict --against balanced --since 2026-11-01 --changed changed.jsonl
    guardrail replay decisions.db --policy new.toml --changed - | jq -r 'select(.change == "newly stopped") | .id'
    ```

    No model runs: the recorded verdicts are decided on again, by the code that guards decide with. What was never read
    cannot be known: behind a real stop the records hold nothing, so record in shadow mode (policy `shadow`) before you
    compare a looser policy. Settings that records cannot replay are named.

    Exits with 0 when the store was read, whatever has changed; with 1 when lines were met that hold no record.

    Args:
        store: file of JSON lines (its rotated files are read too), SQLite file, or database URL.
        policy: the new policy: a ready one or a TOML file.
        against: compare with this policy, not with what was decided.
        made_by: policies under which the records were made, so that settings can be compared; the ready ones are known.
        since: first moment that counts: 2026-11-01, or 2026-11-01T12:00, with +01:00 if it is not UTC.
        until: first moment that does not count any more.
        tenant: whose records; unset takes everybody's.
        direction: only these decisions.
        changed: file for the decisions that change, a line of JSON each, never with text, for its owner only; - for
            stdout.
        json: print one JSON object instead of tables.
    """
    if changed and changed.startswith("--"):
        raise ConfigurationError("--changed needs a file, or - for stdout")
    if json and changed == "-":
        raise ConfigurationError("--json and --changed - would both go to stdout", hint="give --changed a file")
    if changed and changed != "-":
        refuse_source(Path(changed), store, *map(Path, (policy, against or "", *made_by)))
    known = [load_policy(name) for name in (*READY_POLICIES, *made_by)]
    comparison = Comparison(load_policy(policy), load_policy(against) if against else None, known)
    summary, skipped, started = Summary(), Skipped(), time.perf_counter()
    with _writer(changed) as write:
        for record in counted(read_records(store, span_of(since, until, tenant), skipped=skipped)):
            if direction in (None, record.direction):
                compared = comparison.compare(record)
                summary.add(record, compared)
                if isinstance(compared, Compared) and compared.change is not Change.SAME:
                    write(compared)
    told = _told(comparison, summary, skipped, time.perf_counter() - started)
    if json:
        print(json_module.dumps(told))
    else:
        _print(summary, told, table_console(_PIPED_WIDTH, stderr=changed == "-"))
    return Exit.FAILED if skipped.n_lines else Exit.OK


@contextmanager
def _writer(changed: str | None) -> Iterator[Callable[[Compared], object]]:
    """Give what writes a decision that changes; it does nothing where none is asked for."""
    if changed is None:
        yield lambda _: None
        return

    def line(compared: Compared) -> str:
        return json_module.dumps(compared.to_json()) + "\n"

    if changed == "-":
        yield lambda compared: sys.stdout.write(line(compared))
        return
    with whole(Path(changed)) as path, path.open("w", encoding="utf-8") as file:
        yield lambda compared: file.write(line(compared))


def _told(comparison: Comparison, summary: Summary, skipped: Skipped, seconds: float) -> dict[str, Any]:
    return {
        "policy": _named(comparison.policy),
        "against": _named(comparison.against) if comparison.against else None,
        **summary.to_json(),
        "recorded_under": [
            {"policy": name, "policy_sha256": sha256, "records": n, "is_known": comparison.is_known(sha256)}
            for (name, sha256), n in summary.made_by.most_common()
        ],
        "unknown_categories": _unknown_categories(comparison, summary),
        "unreadable_lines": skipped.n_lines,
        "first_unreadable": skipped.first or None,
        "seconds": round(seconds, 3),
        "token_verdicts_per_second": round(summary.n_verdicts / seconds),
    }


def _unknown_categories(comparison: Comparison, summary: Summary) -> list[str]:
    """Return the categories that the policies have rules for and none of the models behind the records can name."""
    policies = [policy for policy in (comparison.policy, comparison.against) if policy]
    named = {name for policy in policies for rules in (policy.prompt, policy.response) for name in rules.categories}
    return sorted(named - summary.known_categories) if summary.known_categories else []


def _named(policy: Policy) -> dict[str, str]:
    return {"name": policy.name, "sha256": policy.sha256}


def _print(summary: Summary, told: dict[str, Any], console: Console) -> None:
    before = told["against"]["name"] if told["against"] else "as recorded"
    title = f"{before} -> {told['policy']['name']} ({told['policy']['sha256'][:_SHOWN_SHA256]})"
    console.print(shown(title), style="bold")
    console.print(_by_direction(summary))
    for table in (_changes(summary), _categories(told), _offsets(told)):
        if table.row_count:
            console.print(table)
    for line in (*_notes(told), _speed(told)):
        console.print(line)


def _by_direction(summary: Summary) -> Table:
    columns = ("records", "stopped", "after", "difference", "flagged", "after", "changed", "95 % interval")
    table = figures("direction", *columns)
    names = [name for name in summary.groups if name != ALL]
    for name in [*names, *([ALL] if len(names) != 1 else [])]:
        group = summary.groups[name]
        table.add_row(
            name,
            f"{group.n:,}",
            _share(group, group.before[Action.STOP]),
            _share(group, group.after[Action.STOP]),
            _points(group.stop_difference),
            _share(group, group.before[Action.FLAG]),
            _share(group, group.after[Action.FLAG]),
            f"{group.share_changed.value:.2%}",
            f"{group.share_changed.low:.2%} to {group.share_changed.high:.2%}",
        )
    return table


def _share(group: Group, n: int) -> str:
    return f"{n:,} ({n / group.n:.2%})" if group.n else "0"


def _points(difference: Interval) -> str:
    value, low, high = (100 * part for part in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} points ({low:+.2f} to {high:+.2f})"


def _changes(summary: Summary) -> Table:
    names = list(summary.groups)
    table = figures("change", *names)
    for change in Change:
        counts = [summary.groups[name].changes[change] for name in names]
        if any(counts):
            table.add_row(change.value, *(f"{n:,}" for n in counts))
    return table


def _categories(told: dict[str, Any]) -> Table:
    table = figures("category (flagged, asked or stopped)", "before", "after")
    for name, counts in told["categories"].items():
        table.add_row(shown(name), f"{counts['before']:,}", f"{counts['after']:,}")
    return table


def _offsets(told: dict[str, Any]) -> Table:
    quantiles = ("p5", "p25", "p50", "p75", "p95")
    table = figures("where answers are stopped (characters)", "stops", *quantiles)
    for name, found in told["stop_offsets"].items():
        if found["n"]:
            table.add_row(name, f"{found['n']:,}", *(f"{found[one]:.0f}" for one in quantiles))
    return table


def _notes(told: dict[str, Any]) -> Iterator[str]:
    """Yield what the reader must know to read the tables right."""
    chars, unknown = told["chars"], told["directions"][ALL]["unknown_from_some_character_on"]
    if told["replayed"]:
        new, gone = chars["newly_withheld"], chars["newly_released"]
        yield f"{new:,} characters would be withheld anew, {gone:,} released anew, where both are known."
    if unknown:
        yield (
            f"{unknown:,} answers were really stopped, or let go on unread, before the new policy would stop them: "
            "what it would do behind that place is unknown."
        )
    for gap, n in told["not_replayable"].items():
        if n:
            yield f"{n:,} records cannot be replayed: {_GAPS[gap]}."
    for name, n in told["limits"].items():
        yield f"{n:,} records depend on {name}, which records cannot replay: {_LIMITS[name]}."
    for one in told["recorded_under"]:
        if not one["is_known"]:
            yield (
                f"{one['records']:,} records were made under '{shown(one['policy'])}' "
                f"({shown(one['policy_sha256'][:_SHOWN_SHA256])}), which is not at hand (--made-by FILE): "
                f"whether its {', '.join(_UNTOLD)} differ, or decided on what was read, is unknown."
            )
    if told["unknown_categories"]:
        names = ", ".join(repr(shown(name)) for name in told["unknown_categories"])
        yield f"No model behind these records can name {names}: the rules for it decide nothing here."
    if told["unreadable_lines"]:
        yield f"{told['unreadable_lines']:,} lines hold no record; the first: {shown(told['first_unreadable'])}"


_GAPS = {
    "no positions": "they hold no positions",
    "was not read": "the tool was trusted, so nothing was read",
    "damaged": "their positions are damaged",
}
_LIMITS = {
    "judge_system": "whether system prompts were among what was judged",
    "max_held_chars": "how long an endless word was held",
    "cascade": "which model of two was asked, if there were two",
    "too_long": "where the answer outgrew the model's context",
    "normalise": "what a disguised text reads as, or which of its two readings the rules of then kept",
    "repair": "what another attempt would have said",
}
_UNTOLD = ("judge_system", "max_held_chars", "cascade", "normalise", "on_stop")


def _speed(told: dict[str, Any]) -> str:
    return (
        f"{told['records']:,} records, {told['token_verdicts']:,} token verdicts in {told['seconds']:.1f} s: "
        f"{told['token_verdicts_per_second']:,} token verdicts a second."
    )
