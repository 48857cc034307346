"""A report's figures against a plain recount of the same records."""

from collections import Counter
from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.report import Report, Summary
from guardrail.audit.report.figures import Counts, Row
from guardrail.decision import Reason
from guardrail.encoding import GuardTokenizer
from guardrail.records import Record
from guardrail.taxonomy import RiskLevel
from tests.audit.report.made import any_record, made_by, records, report_of

many = st.lists(any_record(), max_size=12)
fewer = settings(max_examples=20)  # each draws many records


def recounted(made: list[Record]) -> Counts:
    """Count records by action."""
    n = Counter(record.action for record in made)
    would = sum(record.would_action == "stop" and record.action != "stop" for record in made)
    return Counts(len(made), n[Action.ALLOW], n[Action.FLAG], n[Action.ASK], n[Action.STOP], would)


def by(made: list[Record], *names: str) -> dict[tuple[str, ...], Counts]:
    """Count records by the values of fields; those where one is None are left out."""
    keys = {tuple(getattr(record, name) for name in names) for record in made}
    return {
        tuple(map(str, key)): recounted([r for r in made if tuple(getattr(r, name) for name in names) == key])
        for key in keys
        if None not in key
    }


def shown(rows: tuple[Row, ...]) -> dict[tuple[str, ...], Counts]:
    """Return rows by their names."""
    return {row.names: row.counts for row in rows}


@fewer
@given(many)
def test_counts_are_those_of_a_plain_recount(made: list[Record]) -> None:
    """By action, direction, kind of harm, reason, tenant, tool, policy and model."""
    report = report_of(made)
    assert report.n == len(made)
    assert report.counts == recounted(made)
    assert shown(report.directions) == by(made, "direction")
    assert shown(report.categories) == by(made, "direction", "category")
    assert shown(report.reasons) == by(made, "direction", "reason")
    assert shown(report.tools) == by(made, "tool")
    assert shown(report.policies) == by(made, "policy", "policy_sha256")
    assert shown(report.models) == by(made, "model", "engine", "precision", "model_sha256")
    named = [record.model_copy(update={"tenant": record.tenant or ""}) for record in made]
    assert shown(report.tenants) == by(named, "tenant")
    assert {(one.tenant, one.id): one.counts for one in report.conversations} == by(named, "tenant", "conversation_id")
    assert report.n_alone == sum(record.conversation_id is None for record in made)
    assert report.versions == ({"2": len(made)} if made else {})
    assert not report.listed


@fewer
@given(many)
def test_sums_failures_and_stops_are_those_of_a_plain_recount(made: list[Record]) -> None:
    """Characters, repairs, tokens, failures by kind with the first message, offsets by a verdict."""
    report = report_of(made)
    for amount, name in ((report.leaked_chars, "leaked_chars"), (report.unjudged_chars, "unjudged_chars"),
                         (report.repairs, "n_repairs")):  # fmt: skip
        values = [getattr(record, name) for record in made]
        assert (amount.sum, amount.n) == (sum(values), sum(map(bool, values)))
    saved = [record.saved_tokens for record in made if record.saved_tokens is not None]
    assert (report.saved_tokens.sum, report.saved_tokens.n) == (sum(saved), len(saved))
    failed = [record for record in made if record.failure]
    for row in report.failures:
        mine = [
            (r.time == "never", r.time, r.failure.message) for r in failed if r.failure and r.failure.kind == row.kind
        ]
        assert (row.counts.n, row.message) == (len(mine), min(mine)[2])
    assert sum(row.counts.n for row in report.failures) == len(failed)
    offsets = [
        record.stop_offset
        for record in made
        if record.stop_offset is not None and record.reason is Reason.VERDICT
        and record.direction in ("response", "tool_call")
    ]  # fmt: skip
    assert report.stops.n == len(offsets)
    for one in report.stops.bins:
        inside = sum(one.start <= offset and (one.end is None or offset < one.end) for offset in offsets)
        assert one.stops + one.would_stop == inside
    assert sum(one.stops + one.would_stop for one in report.stops.bins) == len(offsets)


@fewer
@given(many)
def test_bins_over_time_add_up_to_what_has_a_time(made: list[Record]) -> None:
    """By action and failure; a record without a readable time is counted everywhere else."""
    report = report_of(made)
    timed = [record for record in made if record.time != "never"]
    bins = report.over_time.bins
    all_counts = [counts for one in bins for counts in one.directions.values()]
    assert Counter({k: sum(asdict(c)[k] for c in all_counts) for k in asdict(report.counts)}) == Counter(
        asdict(recounted(timed))
    )
    assert sum(sum(one.failures.values()) for one in bins) == sum(record.failure is not None for record in timed)
    assert report.n_timeless == len(made) - len(timed)
    times = [record.time for record in timed]
    assert (report.first, report.last) == (min(times, default=None), max(times, default=None))


@fewer
@given(many, many)
def test_the_summary_of_all_is_that_of_its_parts_merged(some: list[Record], others: list[Record]) -> None:
    """To the last figure; and the order of the records changes nothing."""
    merged = Summary.of(some)
    merged.merge(Summary.of(others))
    assert made_by(merged).to_json() == report_of([*some, *others]).to_json() == report_of([*others, *some]).to_json()


@fewer
@given(many)
def test_conversations_come_by_risk(made: list[Record]) -> None:
    """First those with the most stops for what was read in them, then those with the highest probability of harm."""
    ranks = []
    for one in report_of(made).conversations:
        mine = [r for r in made if ((r.tenant or ""), r.conversation_id) == (one.tenant, one.id)]
        risky = [r for r in mine if r.would_action is Action.STOP and r.risk not in (None, RiskLevel.SAFE)]
        peaks = [1 - r.risk_probabilities["Safe"] for r in mine if r.risk_probabilities and r.is_scored is not False]
        assert (one.risky, one.peak) == (len(risky), max(peaks, default=None))
        ranks.append((-one.risky, -(one.peak or 0)))
    assert ranks == sorted(ranks)


def test_real_decisions_of_a_guard_are_told_as_they_were(tokenizer: GuardTokenizer) -> None:
    """Stops, flags, shadow, failures and a tool's result, from engines that judge by markers or fail."""
    made = list(records(tokenizer, 2000))
    report = report_of(made)
    assert report.counts == recounted(made)
    assert {row.names[0] for row in report.directions} == {"prompt", "response", "tool_result"}
    assert report.counts.would_stop == sum(record.policy == "shadow" for record in made)
    assert {row.kind for row in report.failures} == {"EngineTimeout", "EngineOverloaded"}
    assert {row.names[1] for row in report.categories} == {"Violent", "PII", "Suicide & Self-Harm"}
    assert [len({row.names for row in rows}) for rows in (report.models, report.policies)] == [2, 3]
    assert report.leaked_chars.sum == report.unjudged_chars.sum == 0
    assert_percentiles(report, made)


def assert_percentiles(report: Report, made: list[Record]) -> None:
    """Compare with the sorted latencies."""
    for row in report.latencies:
        exact = sorted(record.latency_ms for record in made if record.direction == row.direction)
        for share, found in ((0.5, row.p50), (0.95, row.p95), (0.99, row.p99)):
            value = exact[int(share * (len(exact) - 1))]
            assert found is not None
            assert abs(found - value) <= 0.0101 * value
        assert row.max == round(exact[-1], 3)
