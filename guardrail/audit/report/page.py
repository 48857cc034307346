"""A report as one HTML file: it asks nobody for anything, and its rules forbid it to."""

import json
from importlib.resources import files

from guardrail.audit.report.decisions import decisions_section
from guardrail.audit.report.document import document
from guardrail.audit.report.figures import Report
from guardrail.audit.report.markup import Html, tag
from guardrail.audit.report.sections import (
    conversations_section,
    failures_section,
    latency_section,
    names_sections,
    stops_section,
)
from guardrail.audit.report.wording import (
    NONE,
    alarms,
    asked_for,
    moment_text,
    number,
    period,
    share,
    versions_text,
)
from guardrail.audit.wording import shown

_STATIC = files("guardrail.audit.report").joinpath("static")
_EMPTY = "There are no records to report on. Another period, tenant or store may hold some."


def to_html(report: Report) -> str:
    """Return a page that shows a report, needs no network and no other file, and works without JavaScript."""
    style, script = (_STATIC.joinpath(name).read_text("utf-8") for name in ("report.css", "report.js"))
    body = tag(
        "body",
        _header(report),
        tag("main", _alarms(report), *_sections(report)),
        _footer(report),
        tag("script", _json(report), type="application/json", id="figures"),
        tag("script", Html(script)),
    )
    return document(f"Guardrail report: {shown(report.source)}", style, body, script)


def _footer(report: Report) -> Html:
    stored = f"Records by schema: {versions_text(report)}." if report.versions else ""
    made = f"Made {moment_text(report.made_at)} UTC. All times are UTC; lengths are characters."
    return tag("footer", tag("p", stored), tag("p", made))


def _json(report: Report) -> Html:
    """Return the figures as JSON in which nothing can end the element or begin another one."""
    written = json.dumps(report.to_json())
    return Html(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _header(report: Report) -> Html:
    asked = asked_for(report)
    buttons = tag(
        "div",
        tag("button", "Save JSON", type="button", id="save", hidden=True),
        tag("button", "Auto", type="button", id="theme", hidden=True, aria_label="Colours: as the system's"),
        class_="buttons",
    )
    return tag(
        "header",
        tag("div", tag("h1", "Guardrail report"), tag("p", tag("bdi", shown(report.source)), class_="source")),
        buttons,
        tag("p", period(report), f" · {asked}" if asked else "", class_="period"),
    )


def _alarms(report: Report) -> Html:
    said = alarms(report)
    if not said:
        return Html()
    return tag("ul", *(tag("li", sentence, class_=kind) for kind, sentence in said), class_="alarms", role="alert")


def _sections(report: Report) -> list[Html]:
    if not report.n:
        return [tag("section", tag("p", _EMPTY, class_="lead"), class_="card empty")]
    return [
        _tiles(report),
        decisions_section(report),
        latency_section(report),
        stops_section(report),
        failures_section(report),
        conversations_section(report),
        *names_sections(report),
    ]


def _tiles(report: Report) -> Html:
    counts, n = report.counts, report.n
    n_failed = sum(one.counts.n for one in report.failures)
    answers = next((one for one in report.latencies if one.direction == "response"), report.latencies[0])
    repairs = f"in {number(report.repairs.n)} answers, {number(report.repair_tokens.sum)} tokens"
    tiles = [
        ("Records", number(n), "stored", ""),
        ("Stopped", number(counts.stop), share(counts.stop, n), "stop" if counts.stop else ""),
        ("Flagged", number(counts.flag), share(counts.flag, n), "flag" if counts.flag else ""),
        ("Asked a person", number(counts.ask), share(counts.ask, n), "") if counts.ask else None,
        ("Would have stopped", number(counts.would_stop), f"{share(counts.would_stop, n)}, in shadow mode", "")
        if counts.would_stop
        else None,
        ("Failed", number(n_failed), share(n_failed, n), "stop" if n_failed else ""),
        ("Latency, 95 %", f"{number(answers.p95)} ms" if answers.n else NONE, f"of a {_spoken(answers.direction)}", ""),
        _chars_tile("Leaked", report.leaked_chars.sum, "passed on beyond a stop"),
        _chars_tile("Unjudged", report.unjudged_chars.sum, "passed on without a verdict"),
        ("Tokens saved", number(report.saved_tokens.sum), f"at most, over {number(report.saved_tokens.n)} stops", "")
        if report.saved_tokens.n
        else None,
        ("Repairs", number(report.repairs.sum), repairs, "") if report.repairs.n else None,
    ]
    return tag("dl", *(_tile(*one) for one in tiles if one), class_="tiles")


def _chars_tile(name: str, n_chars: int, what: str) -> tuple[str, str, str, str]:
    return name, number(n_chars), f"characters {what}", "alarm" if n_chars else "good"


def _tile(name: str, value: str, note: str, kind: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="note"), class_=f"tile {kind}".strip())


def _spoken(direction: str) -> str:
    return direction.replace("_", " ")
