"""`guardrail evaluate`: figures of a guard model on labelled files."""

import importlib.metadata
import json as json_module
import os
import platform
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console

from guardrail.cli.options import Flag, GuardOptions
from guardrail.errors import ConfigurationError
from guardrail.evaluation.judges import GuardJudge, Judge
from guardrail.evaluation.protocol import FileUse, Protocol
from guardrail.evaluation.rows import Tally
from guardrail.evaluation.runner import run
from guardrail.evaluation.tables import Report, to_markdown, to_rich
from guardrail.policy import Policy
from guardrail.policy_file import load_policy

_DEFAULTS = GuardOptions()
_RECIPE = Path("examples/recipe/sft.toml")
_PIPED_WIDTH = 200


def evaluate(
    *files: Path,
    protocol: Path | None = None,
    engine: Literal["guard", "tfidf"] = "guard",
    baseline: Flag = False,
    recipe: Path = _RECIPE,
    limit: int | None = None,
    user_turns: Flag = False,
    skip_bad: Flag = False,
    json: Flag = False,
    page: Path | None = None,
    options: GuardOptions = _DEFAULTS,
) -> None:
    """Measure a model on labelled files: AUC, F1 strict and loose, false positives, detection latency.

    Each line of a file is a row of the data schema: id, source, lang, messages, target, risk, category, refusal,
    unsafe_start_char, meta. Rows without a label are left out and counted. AUC ranks by the probability of harm and
    does not depend on the policy; F1 and false positives do. Intervals are 95 %.

    Args:
        files: JSONL files, gzipped or not.
        protocol: TOML file that names the files instead.
        engine: "guard", or the baseline alone: "tfidf", word and character n-grams with logistic regression.
        baseline: put that baseline beside the guard.
        recipe: fine-tuning settings on whose rows the baseline learns.
        limit: most rows of each file, a seeded sample.
        user_turns: judge also the prompts that harmless answers answer.
        skip_bad: leave out lines that are no rows, and count them.
        json: print one JSON object instead of tables.
        page: write the tables to this Markdown page too.
        options: which guard and policy.
    """
    plan = _plan(files, protocol, limit, user_turns)
    if page and not page.parent.is_dir():
        raise ConfigurationError(f"no folder {page.parent} for the page")
    tally, console = Tally(), Console(stderr=True)
    rows = plan.read(tally, skip_bad=skip_bad)
    if not rows:
        raise ConfigurationError("no labelled row to measure")
    runs = []
    if engine == "guard":
        with options.opened() as guard:
            runs.append(run(GuardJudge(guard, name="guard"), rows, console=console))
    if engine == "tfidf" or baseline:
        runs.append(run(_baseline(recipe, load_policy(options.policy), console), rows, console=console))
    report = Report.of(runs, plan.ordinary)
    if page:
        page.write_text(_page(report, tally), "utf-8")
    if json:
        print(json_module.dumps({**report.to_json(), "input": _counts(tally)}))
        return
    _print(report, tally)


def _plan(files: tuple[Path, ...], protocol: Path | None, limit: int | None, user_turns: bool) -> Protocol:
    if bool(files) == bool(protocol):
        raise ConfigurationError("name either files or a --protocol")
    if limit is not None and limit < 1:
        raise ConfigurationError("--limit must be at least 1")
    if protocol:
        plan = Protocol.from_file(protocol)
        return plan.model_copy(update={"limit": limit}) if limit else plan
    return Protocol(files={str(file): FileUse(user_turns=user_turns) for file in files}, limit=limit)


def _baseline(recipe: Path, policy: Policy, console: Console) -> Judge:
    from guardrail.evaluation.baseline import fit_baseline
    from guardrail.training.recipe_rows import training_rows

    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with console.status("learning the TF-IDF baseline (a few minutes the first time)"):
        return fit_baseline(training_rows(recipe), policy, root / "guardrail" / "baseline")


def _print(report: Report, tally: Tally) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for cells in report.tables():
        console.print(to_rich(cells))
    console.print(_summary(report, tally), highlight=False)


def _summary(report: Report, tally: Tally) -> str:
    lines = [f"{n} {name.replace('_', ' ')}" for name, n in _counts(tally).items()]
    for one in report.runs:
        identity = ", ".join(
            f"{key} {value[:16] if key.endswith('sha256') else value}" for key, value in one.identity.items()
        )
        lines.append(f"{one.judge}: {len(one.rows)} rows in {one.seconds:.0f} s; {identity}")
    if tally.first_bad:
        lines.append(f"first bad line: {tally.first_bad}")
    return "\n".join(lines)


def _counts(tally: Tally) -> dict[str, int]:
    return {"lines": tally.n_lines, "unlabelled_rows_left_out": tally.n_unlabelled, "bad_lines_left_out": tally.n_bad}


def _page(report: Report, tally: Tally) -> str:
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("guardrail-stream", "onnxruntime", "tokenizers", "numpy")
    )
    command = " ".join(["guardrail", *sys.argv[1:]])
    head = f"""\
# Results

Made by `{command}`: do not edit. {versions}, Python {platform.python_version()}, {platform.machine()}.

Intervals are 95 %. AUC ranks by the probability of harm; F1 and false positives depend on the policy. F1 strict counts
Controversial as unsafe, F1 loose as safe. False positives are Safe rows that are flagged or stopped.

```
{_summary(report, tally)}
```
"""
    return "\n".join([head, *(to_markdown(cells) for cells in report.tables())])
