"""The table of all models, and what stands around it: JSON, Markdown, HTML."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guardrail.abilities.running import COLUMNS, Found, versions
from guardrail.abilities.scores import Score, difference
from guardrail.audit.pages.figures import Summary, Table
from guardrail.audit.pages.page import render
from guardrail.evaluation.cells import NONE, Cells, percent, signed, to_markdown

NOTE = (
    "95 % intervals, in brackets: bootstrap over problems. Higher is better, but for refusal of benign prompts. Safety:"
    " share of harmful prompts whose thinking and answer are both safe."
)


def tables(found: Found) -> Iterator[Cells]:
    """Yield all tables, the large one first."""
    shown = [name for name in COLUMNS if any(name in scores for scores in found.scores.values())]
    titles = {name: next(s[name].name for s in found.scores.values() if name in s) for name in shown}
    rows = [
        (model, *(percent(scores[name].value) if name in scores else NONE for name in shown))
        for model, scores in found.scores.items()
    ]
    yield Cells("Safety and abilities", ("model", *(titles[name] for name in shown)), rows, NOTE)
    if changes := list(_changes(found, shown)):
        note = "After less before, on the same problems; a star where the interval does not hold 0."
        yield Cells("Differences", ("model", "before", *(titles[name] for name in shown)), changes, note)
    if more := [(model, name, percent(one.value)) for model, s in found.more.items() for name, one in s.items()]:
        yield Cells("Further categories", ("model", "figure", "value"), more)
    yield Cells("What the figures rest on", ("model", "figure", "problems", "samples", "besides"), list(_basis(found)))
    yield _sampling(found)


def to_page(found: Found, command: str) -> str:
    """Return the Markdown page."""
    facts = "\n".join(f"- {name}: {said}" for name, said in facts_of(found, command).items())
    warnings = "".join(f"> {said}\n\n" for said in found.warnings)
    return "\n".join(["# Abilities\n", warnings + facts + "\n", *(to_markdown(cells) for cells in tables(found))])


def to_html(found: Found, command: str) -> str:
    """Return a page that needs no network, no other file and no script."""
    figures = tuple(Table(one.title, one.header, one.rows, one.note) for one in tables(found))
    summary = Summary(values=to_json(found, command), figures=figures, warnings=tuple(found.warnings))
    return render("Abilities", summary, facts_of(found, command))


def to_json(found: Found, command: str) -> dict[str, Any]:
    """Return all figures, with every problem's share."""
    return {
        "schema_version": 1,
        "command": command,
        "versions": versions(),
        "seed": found.settings.seed,
        "models": {one.name: asdict(one) for one in found.settings.models},
        "judges": {name: asdict(one) for name, one in found.settings.judges.items()},
        "tasks": found.info,
        "calls": found.calls,
        "warnings": found.warnings,
        "scores": {model: _scores(found.scores[model]) for model in found.scores},
        "further": {model: _scores(found.more[model]) for model in found.more},
        "differences": {
            model.name: {name: asdict(difference(one, found.scores[model.before][name]))
                         for name, one in found.scores[model.name].items() if name in found.scores[model.before]}
            for model in found.settings.models if model.before
        },
    }  # fmt: skip


def facts_of(found: Found, command: str) -> dict[str, str]:
    """Return what is to be known of the run, by name."""
    facts = {"Command": f"`{command}`", "Versions": ", ".join(f"{name} {said}" for name, said in versions().items()),
             "Seed": str(found.settings.seed)}  # fmt: skip
    facts |= {f"Task {name}": _told(info) for name, info in found.info.items()}
    for name, calls in found.calls.items():
        facts[f"Calls of {name}"] = f"{calls['asked']} asked, {calls['cached']} cached, {calls['n_output']} tokens"
    return facts


def _scores(scores: Mapping[str, Score]) -> dict[str, Any]:
    return {
        name: {
            "name": one.name, **asdict(one.value), "n_samples": one.n_samples, "counts": one.counts,
            "shares": dict(zip(one.ids, one.shares, strict=True)),
        }
        for name, one in scores.items()
    }  # fmt: skip


def _changes(found: Found, shown: list[str]) -> Iterator[tuple[str, ...]]:
    for model in found.settings.models:
        if model.before:
            after, before = found.scores[model.name], found.scores[model.before]
            cells = (signed(difference(after[name], before[name])) if name in after else NONE for name in shown)
            yield (model.name, model.before, *cells)


def _basis(found: Found) -> Iterator[tuple[str, ...]]:
    for model, scores in found.scores.items():
        for one in scores.values():
            besides = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in one.counts.items() if n)
            yield model, one.name, str(len(one.ids)), str(one.n_samples), besides or NONE


def _sampling(found: Found) -> Cells:
    header = ("model", "asked as", "thinks", "temperature", "top_p", "most tokens", "system", "suffix")
    rows = [
        (one.name, f"{one.model or one.function} {one.revision}".strip(), "yes" if one.thinks else "no",
         f"{one.temperature:g}", f"{one.top_p:g}", str(one.max_tokens), one.system or NONE, one.suffix.strip() or NONE)
        for one in found.settings.models
    ]  # fmt: skip
    return Cells("Sampling", header, rows)


def _told(info: Mapping[str, Any]) -> str:
    parts = []
    for name, value in info.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{key} {str(one)[:16] if name == 'files' else one}" for key, one in value.items())
            parts.append(f"{name} ({inner})")
        else:
            parts.append(f"{name} {value}")
    return "; ".join(parts)


def write_all(found: Found, command: str) -> Path:
    """Write `abilities.json`, `abilities.md` and `abilities.html` into the output folder; return it."""
    import json

    from guardrail.whole_files import write_whole

    folder = found.settings.output
    told = json.dumps(to_json(found, command), ensure_ascii=False, indent=1, default=str)
    for name, text in (("json", told + "\n"), ("md", to_page(found, command)), ("html", to_html(found, command))):
        write_whole(folder / f"abilities.{name}", text.encode("utf-8", "replace"))
    return folder
