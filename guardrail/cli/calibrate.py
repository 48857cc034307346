"""`guardrail calibrate`: thresholds from one's own traffic, as a policy file with the curve."""

import csv
import json as json_module
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table

from guardrail.audit.calibrate import Chosen, Point, Side, Target, calibrated, choose, curve_of, scorers_of
from guardrail.audit.calibrate_labels import holds_records, read_labels
from guardrail.audit.calibrate_rows import Reading, read_recorded, read_scored
from guardrail.audit.calibrate_scores import Counted, knob_of
from guardrail.audit.intervals import Interval
from guardrail.audit.wording import shown
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.cli.record_input import counted, span_of
from guardrail.cli.show import table_console
from guardrail.errors import ConfigurationError
from guardrail.policy import Policy
from guardrail.policy_file import READY_POLICIES, load_policy
from guardrail.policy_text import render_policy
from guardrail.records import Skipped, read_records
from guardrail.records.reading import store_kind
from guardrail.records.targets import refuse_source, whole

_PIPED_WIDTH = 140
_BAR = 40
_FEWER = 0.9
_SHOWN_THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def calibrate(
    source: str,
    *,
    target_fpr: float,
    policy: str = "balanced",
    made_by: tuple[str, ...] = (),
    to: Path | None = None,
    curve: Path | None = None,
    labels: Path | None = None,
    count: Literal["flagged", "stopped"] = "flagged",
    direction: Literal["prompt", "response"] | None = None,
    confidence: float = 0.95,
    point: Flag = False,
    holdout: float = 0.5,
    seed: int = 0,
    since: str | None = None,
    until: str | None = None,
    tenant: str | None = None,
    json: Flag = False,
) -> int:
    """Choose thresholds so that harmless traffic of your own is flagged no oftener than you want.

    ```sh
    guardrail calibrate decisions.db --target-fpr 0.01 --to policy.toml --curve curve.csv
    guardrail calibrate decisions.db --target-fpr 0.001 --count stopped --labels reviewed.csv --to policy.toml
    guardrail calibrate judged/prompts.jsonl --target-fpr 0.02 --direction prompt
    ```

    Record in shadow mode first (policy `shadow`): of answers that were really stopped nobody knows how they went on,
    and each of them counts as flagged at every threshold. Without labels all traffic is taken as harmless: the rate is
    then the share of all traffic that is flagged, the harmful part of it included.

    The threshold is chosen on one part of the conversations, and what it comes to is told by the rest. Exits with 0;
    with 1 when lines were met that hold no record; with 2 when there are too few rows, or no threshold will do.

    Args:
        source: store of records (JSON lines, SQLite, database URL), or a file of rows: the output of `guardrail scan`,
            or JSON lines with a `score`.
        target_fpr: share of harmless texts that may be flagged, between 0 and 1.
        policy: whose thresholds are set: a ready policy or a TOML file. Its actions, debounce and categories stay.
        made_by: policies under which the records were made, to know how they were read; the ready ones are known.
        to: file for the policy; one that exists is replaced.
        curve: file for the curve, CSV or JSON by its name.
        labels: CSV or JSON lines with id, text_hmac or conversation_id, and label: safe or unsafe. Rows without one are
            left out.
        count: what counts against the target: whatever is flagged or stopped, or stops alone.
        direction: only the rules of prompts (and tool results, documents) or those of answers (and tool calls); unset
            takes those that the source has rows of.
        confidence: with which the true share is at most the target, between 0 and 1.
        point: be content with the plain share of the rows: the true one may well be higher.
        holdout: share of the conversations that choose nothing and tell what came of it; 0 tells by the same rows.
        seed: of that division.
        since: first moment that counts: 2026-11-01, or 2026-11-01T12:00.
        until: first moment that does not count any more.
        tenant: whose records; unset takes everybody's.
        json: print one JSON object instead of tables.
    """
    for file, others in ((to, ()), (curve, (to,))):
        if file:
            refuse_source(file, source, *filter(None, (labels, *others)))
    target = Target(target_fpr, None if point else confidence, Counted(count), holdout, seed)
    base, skipped = load_policy(policy), Skipped()
    sides: tuple[Side, ...] = (direction,) if direction else ("prompt", "response")
    scorers, known = scorers_of(base, target.counted, sides), read_labels(labels) if labels else None
    if store_kind(source) == "jsonl" and Path(source).is_file() and not holds_records(Path(source)):
        reading = read_scored(Path(source), sides, known)
    else:
        records = read_records(source, span_of(since, until, tenant), skipped=skipped)
        policies = {one.sha256: one for one in (base, *map(load_policy, (*READY_POLICIES, *made_by)))}
        reading = read_recorded(counted(records), scorers, known, policies)
    chosen = _choose(sides, base, reading, target, is_asked=direction is not None)
    facts = [*_facts(chosen, reading, target, is_labelled=_has_labels(reading, known))]
    if to:
        comment = "\n".join([f"Made by `guardrail calibrate --target-fpr {target_fpr:g}` from {base.name!r}.", *facts])
        with whole(to, is_private=False) as path:
            path.write_text(render_policy(calibrated(base, chosen), comment), "utf-8")
    curves = [curve_of(one, reading.sides[one.side], target) for one in chosen if curve or not json]
    if curve:
        with whole(curve, is_private=False) as path:
            _write_curve(path, curve.suffix == ".json", chosen, curves)
    if json:
        print(json_module.dumps(_told(chosen, reading, skipped, facts)))
    else:
        _print(chosen, curves, [*facts, *_unread(skipped), *([f"The policy: {to}"] if to else [])])
    return Exit.FAILED if skipped.n_lines else Exit.OK


def _choose(sides: Sequence[Side], base: Policy, reading: Reading, target: Target, *, is_asked: bool) -> list[Chosen]:
    """Return a threshold for each side that has rows.

    Raises:
        ConfigurationError: none has, or too few.
    """
    chosen = [
        choose(side, knob_of(getattr(base, side), target.counted), reading.sides[side], target)
        for side in sides
        if reading.sides[side].scores or is_asked
    ]
    if not chosen:
        raise ConfigurationError(f"no row to choose on: {_left_out(reading) or 'the source is empty'}")
    return chosen


def _has_labels(reading: Reading, known: dict[str, str] | None) -> bool:
    return known is not None or any(any(rows.labels) for rows in reading.sides.values())


def _left_out(reading: Reading) -> str:
    told = (f"{n:,} {'with ' * why.startswith('no ')}{why}" for why, n in reading.left_out.items())
    return ", ".join(told)


def _facts(chosen: Sequence[Chosen], reading: Reading, target: Target, *, is_labelled: bool) -> Iterator[str]:
    """Yield what the thresholds rest on, a sentence a line."""
    if not is_labelled:
        yield f"No labels: all traffic is taken as harmless, and rates are shares of it that are {target.counted}."
    for one in chosen:
        for fact in _facts_of(one, target):
            yield f"[{one.side}] {fact}"
    if reading.left_out:
        yield f"Left out: {_left_out(reading)}."
    if reading.n_by_rules:
        yield (
            f"{reading.n_by_rules:,} rows were also read with their disguises undone, and the rules of then chose "
            "which reading is recorded: by other thresholds it may be another one, with another score."
        )
    if reading.n_untold:
        yield (
            f"{reading.n_untold:,} rows were made under policies that are not at hand (--made-by FILE): whether their "
            "rules chose what is recorded is unknown."
        )


def _facts_of(one: Chosen, target: Target) -> Iterator[str]:
    yield (
        f"{one.knob} = {one.threshold:.12g}: of the {one.n:,} harmless rows that it was chosen on {one.n_flagged:,} "
        f"are {target.counted}."
    )
    if target.confidence:
        yield (
            f"With {target.confidence:.4g} confidence the true share is at most {one.upper:.2%}; at most "
            f"{target.share:.2%} was wanted."
        )
    else:
        yield f"That is {one.upper:.2%} where at most {target.share:.2%} was wanted, without a margin for chance."
    rows, told = "rows held out" if one.told_on_held_out else "the same rows, which flatters it", one.point
    yield f"By {rows}: {told.n_flagged:,} of {one.n_told:,} harmless ones, {_percent(told.false_positives)}."
    if told.found:
        yield f"Of {one.n_harmful:,} harmful ones there it finds {told.n_found:,}, {_percent(told.found)}."
    if one.n_cut:
        yield (
            f"{one.n_cut:,} harmless answers were really stopped; how they would have gone on is unknown, so they "
            f"count as {target.counted} at every threshold. Record in shadow mode."
        )
    if one.n_effective < _FEWER * one.n:
        yield (
            f"Rows of one conversation are alike: these {one.n:,} tell as much as {one.n_effective:,.0f} independent "
            "ones."
        )


def _percent(rate: Interval) -> str:
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"


def _unread(skipped: Skipped) -> list[str]:
    return [f"{skipped.n_lines:,} lines hold no record; the first: {shown(skipped.first)}"] if skipped.n_lines else []


def _write_curve(path: Path, is_json: bool, chosen: Sequence[Chosen], curves: Sequence[Sequence[Point]]) -> None:
    rows = [
        {"side": one.side, "knob": one.knob.value, **point.to_json()}
        for one, points in zip(chosen, curves, strict=True)
        for point in points
    ]
    if is_json:
        path.write_text(json_module.dumps(rows, indent=1) + "\n", "utf-8")
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _told(chosen: Sequence[Chosen], reading: Reading, skipped: Skipped, facts: Sequence[str]) -> dict[str, Any]:
    return {
        "chosen": [one.to_json() for one in chosen],
        "rows": dict(reading.directions),
        "left_out": dict(reading.left_out),
        "unreadable_lines": skipped.n_lines,
        "facts": list(facts),
    }


def _print(chosen: Sequence[Chosen], curves: Sequence[Sequence[Point]], facts: Sequence[str]) -> None:
    console = table_console(_PIPED_WIDTH)
    for one, points in zip(chosen, curves, strict=True):
        console.print(_drawn(one, points))
    for line in facts:
        console.print(line)


def _drawn(one: Chosen, points: Sequence[Point]) -> Table:
    """Return the curve as a table with bars: harmless and harmful rows that each threshold flags."""
    table = Table(title=f"[{one.side}] {one.knob}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("threshold", "harmless", "95 % interval", "harmful"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("█ harmful ▓ harmless" if one.n_harmful else "▓ harmless", no_wrap=True)
    for point in points:
        if point.threshold in _SHOWN_THRESHOLDS or point.threshold == one.threshold:
            fpr, found = point.false_positives, point.found
            n_harmless, n_harmful = round(_BAR * fpr.value), round(_BAR * found.value) if found else 0
            table.add_row(
                f"{point.threshold:.6g}",
                f"{fpr.value:.2%}",
                f"{fpr.low:.2%} to {fpr.high:.2%}",
                f"{found.value:.2%}" if found else "-",
                "▓" * n_harmless + "█" * max(0, n_harmful - n_harmless),
                style="bold" if point.threshold == one.threshold else None,
            )
    return table
