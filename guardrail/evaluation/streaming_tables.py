"""Streaming figures as tables, judges side by side."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from guardrail.evaluation.cells import NONE, Cells, found, percent, plain, ratio
from guardrail.evaluation.published import PRINTED, Bins
from guardrail.evaluation.report import Section
from guardrail.evaluation.streaming import Streaming

_BINS = ("ahead", "hit", "1-32", "33-64", "65-128", "129-256", "> 256", "missed", "first 128")


def latency_table(name: str, judged: Mapping[str, Section]) -> Iterator[Cells]:
    """Yield the detection latency from the labelled onset, if any judge has one."""
    rows: list[tuple[str, ...]] = [(judge, *_latency(section)) for judge, section in judged.items() if section.latency]
    if rows:
        header = ("judge", "rows", "ahead", "hit", "late", "missed", "hits", "first 128", "median", "p90")
        yield Cells(f"{name}s, detection latency in tokens from the labelled onset", header, rows)


def _latency(section: Section) -> tuple[str, ...]:
    one = section.latency
    if one is None:
        return ()
    counts = (one.n, one.n_ahead, one.n_hit, one.n_late, one.n_missed)
    quantiles = (NONE if q is None else f"{q:.0f}" for q in (one.median_tokens, one.p90_tokens))
    return (*map(str, counts), percent(one.hits), percent(one.first_128), *quantiles)


def streaming_tables(name: str, judged: Mapping[str, Section]) -> Iterator[Cells]:
    """Yield what stopping answers while they stream gives and costs, all rows first, then by language."""
    header: tuple[str, ...]
    named = list(chain.from_iterable(_named(judge, section) for judge, section in judged.items()))
    if not named:
        return
    binned = [(*who, *row) for *who, one in named for row in _bin_rows(one)]
    if binned:
        header = ("judge", "language", "stop by", "distance from", "rows", *_BINS)
        note = (
            "Tokens. Ahead is apart: something harmless was stopped. First 128 counts it, as the published figure does."
        )
        yield Cells(f"{name}s, stops by their distance from the labelled risk", header, binned, note)
    leaked = [(*who, *_leaks(one)) for *who, one in named if one.leaks]
    if leaked:
        header = ("judge", "language", "rows", "none released", "late", "characters", "median", "missed", "characters")
        yield Cells(f"{name}s, risky characters released before the stop", header, leaked)
    alarmed = [
        (*who, str(one.alarms.per_row.n), str(one.alarms.n_tokens), percent(one.alarms.per_row),
         plain(one.alarms.per_1000_tokens))
        for *who, one in named
        if one.alarms
    ]  # fmt: skip
    if alarmed:
        header = ("judge", "language", "safe answers", "tokens read", "stopped", "stops per 1,000 tokens")
        yield Cells(f"{name}s, stops of safe answers", header, alarmed)
    header = ("judge", "language", "rows", "agreement", "both", "stream only", "whole only", "neither",
              "F1 strict of the whole", "F1 loose of the whole")  # fmt: skip
    whole = [(*who, *_whole(one)) for *who, one in named]
    yield Cells(f"{name}s, first stop while streaming against the verdict at the end (harmful)", header, whole)


def _named(judge: str, section: Section) -> Iterator[tuple[str, str, Streaming]]:
    if section.streaming:
        yield judge, "all", section.streaming
        for language, one in section.streaming_by_language.items():
            yield judge, language, one


def _bin_rows(one: Streaming) -> Iterator[tuple[str, ...]]:
    ways: Sequence[tuple[str, str, Bins | None]] = (
        ("policy", "span's end", one.policy_bins),
        ("published rule", "span's end", one.rule_bins),
        ("policy", "onset", one.onset_bins),
    )
    return ((by, place, *_bins(bins)) for by, place, bins in ways if bins)


def _bins(one: Bins) -> tuple[str, ...]:
    return (*map(str, (one.n, *one.counts)), percent(one.first_128))


def _leaks(one: Streaming) -> tuple[str, ...]:
    leaks = one.leaks
    if leaks is None:
        return ()
    median = NONE if leaks.median_late_chars is None else f"{leaks.median_late_chars:.0f}"
    return (
        str(leaks.n), str(leaks.n_clean), str(leaks.n_late), str(leaks.late_chars), median, str(leaks.n_missed),
        str(leaks.missed_chars),
    )  # fmt: skip


def _whole(one: Streaming) -> tuple[str, ...]:
    whole = one.whole
    counts = (whole.n_both, whole.n_stream, whole.n_whole, whole.n_neither)
    return (
        str(one.n), percent(whole.agreement), *map(str, counts), ratio(whole.strict.f1), ratio(whole.loose.f1)
    )  # fmt: skip


def published_tables(published: Sequence[tuple[str, str, Streaming]]) -> Iterator[Cells]:
    """Yield what the published script prints for each source, under its names, and what those names stand for."""
    if not published:
        return
    rows = [
        (source, judge, name, "safe" if PRINTED[name] == "loose" else "unsafe", *found(one.published.printed(name)))
        for judge, source, one in published
        for name in PRINTED
    ]
    header: tuple[str, ...] = ("source", "judge", "printed as", "Controversial counts as", "precision", "recall", "F1")
    note = (
        "The published rule, which sees the whole answer: two consecutive Unsafe tokens anywhere, else two consecutive "
        "Controversial ones. Its names are swapped: what it prints as strict is the loose score."
    )
    yield Cells("Responses, as the published script prints them", header, sorted(rows), note)
    binned = [(source, judge, *_bins(one.rule_bins)) for judge, source, one in published if one.rule_bins]
    if binned:
        header = ("source", "judge", "rows", *_BINS)
        yield Cells("Responses, latency as the published script counts it", header, sorted(binned))
