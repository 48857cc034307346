"""How figures and other people's names are written, in the terminal and on the page alike."""

from guardrail.audit.report.figures import Listed, Report
from guardrail.audit.wording import shown

NONE = "–"
"""Stands for a figure that there is not."""

_WIDTHS = ((7 * 86400, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def number(value: float | None) -> str:
    """Return a number with its thousands apart; fractions only where it is small."""
    if value is None:
        return NONE
    if isinstance(value, int) or value >= 100:
        return f"{round(value):,}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def share(part: int, whole: int) -> str:
    """Return what part of a whole something is, as a percentage; "" of nothing."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def probability(value: float | None) -> str:
    """Return a probability with three digits, never rounded up to certainty."""
    return NONE if value is None else f"{min(value, 0.999) if value < 1 else value:.3f}"


def moment_text(iso: str | None) -> str:
    """Return a time of a report without what says that it is UTC."""
    return NONE if iso is None else iso.replace("T", " ").removesuffix("+00:00")


def period(report: Report) -> str:
    """Return from when to when a report's records are."""
    if report.first is None:
        return "no records" if not report.n else "no readable times"
    return f"{moment_text(report.first)} to {moment_text(report.last)} UTC"


def asked_for(report: Report) -> str:
    """Return which records were asked for; "" for all."""
    parts = [
        f"since {moment_text(report.since)}" if report.since else "",
        f"until {moment_text(report.until)}" if report.until else "",
        f"tenant {shown(report.tenant)}" if report.tenant is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def width_text(width_s: int) -> str:
    """Return a bin's width in words, such as "15 minutes"."""
    unit_s, unit = next(one for one in _WIDTHS if width_s >= one[0])
    n = width_s // unit_s
    return unit if n == 1 else f"{n} {unit}s"


def version(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the name of a model or policy with what it runs on, and the beginning of its hash."""
    *name, sha256 = names
    return " · ".join(name), sha256[:12] or NONE


def offsets_text(start: int, end: int | None) -> str:
    """Return a range of offsets in characters, both ends inside."""
    if end is None:
        return f"{start:,} and more"
    return f"{start:,}" if end == start + 1 else f"{start:,} to {end - 1:,}"


def rest_text(listed: Listed | None) -> str:
    """Return what a table leaves out; "" if nothing."""
    if listed is None:
        return ""
    more = f"{listed.n_more:,} more are not listed." if listed.n_more else ""
    dropped = (
        f"There were more names than are counted at once: {listed.n_dropped:,} times one was let go, and a row's stops "
        f"may be too low by up to {listed.stops_error:,}."
        if listed.n_dropped
        else ""
    )
    return " ".join(filter(None, (more, dropped)))


def versions_text(report: Report) -> str:
    """Return in which schema versions the records were stored."""
    return ", ".join(f"{n:,} of version {version}" for version, n in report.versions.items())


def alarms(report: Report) -> list[tuple[str, str]]:
    """Return what must not be overlooked: "bad" or "doubtful", and a sentence."""
    n_failed, n_far = sum(one.counts.n for one in report.failures), report.over_time.n_far
    sums = (report.leaked_chars, report.unjudged_chars)
    leaked, unjudged = (f"{plural(one.sum, 'character')} in {plural(one.n, 'decision')} passed on" for one in sums)
    untimely = "not shown over time."
    unread = f"{plural(report.n_unreadable, 'line')} without a readable record: not counted."
    found = [
        ("bad", sums[0].sum, f"{leaked} beyond a stop: the gate did not hold back what follows one."),
        ("bad", sums[1].sum, f"{unjudged} without a verdict: the policy let a failure pass."),
        ("doubtful", n_failed, f"{plural(n_failed, 'decision')} behind a failure, {share(n_failed, report.n)} of all."),
        ("doubtful", report.n_unreadable, f"{unread} The first: {shown(report.unreadable)}"),
        ("doubtful", report.n_timeless, f"{plural(report.n_timeless, 'record')} without a readable time: {untimely}"),
        ("doubtful", n_far, f"{plural(n_far, 'decision')} far away from all others in time: {untimely}"),
    ]
    return [(kind, sentence) for kind, n, sentence in found if n]


def plural(n: int, noun: str) -> str:
    """Return a number of things."""
    return f"{n:,} {noun if n == 1 else f'{noun}s'}"
