"""`guardrail evaluate`: figures of guard models, and of other judges, on labelled files and public benchmarks."""

import json as json_module
import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Literal

from rich.console import Console

from guardrail.cli.evaluate_page import counts, facts, page_of, print_cells, print_report
from guardrail.cli.options import Flag, GuardOptions
from guardrail.errors import ConfigurationError
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.datasets import table as dataset_table
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judge_specs import Spec, parse_specs
from guardrail.evaluation.judges import GuardJudge, Judge, check_reads_alike
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.page import to_html
from guardrail.evaluation.protocol import DatasetUse, FileUse, Protocol
from guardrail.evaluation.rows import Row, Tally
from guardrail.evaluation.runner import Run, run, run_policies
from guardrail.policy import Policy
from guardrail.policy_file import load_policy

_DEFAULTS = GuardOptions()
_RECIPE = Path("examples/recipe/sft.toml")


def evaluate(
    *files: Path,
    protocol: Path | None = None,
    dataset: tuple[str, ...] = (),
    datasets: Flag = False,
    engine: Literal["guard", "tfidf"] = "guard",
    baseline: Flag = False,
    judge: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    recipe: Path = _RECIPE,
    limit: int | None = None,
    user_turns: Flag = False,
    skip_bad: Flag = False,
    independent: Flag = False,
    published_names: Flag = False,
    json: Flag = False,
    page: Path | None = None,
    html: Path | None = None,
    options: GuardOptions = _DEFAULTS,
) -> None:
    """Measure models on labelled files and public benchmarks: F1 strict and loose, AUC, calibration, streaming.

    Each line of a file is a row of the data schema: id, source, lang, messages, target, risk, category, refusal,
    unsafe_start_char, meta. Rows without a label are left out and counted. AUC ranks by the probability of harm and
    does not depend on the policy; F1 and false positives do. Intervals are 95 %; rows that share their first user
    message, or `cluster` in meta, count as less than independent ones. Two judges or more are compared row by row.
    docs/evaluate.md says what every figure means.

    Args:
        files: JSONL files, gzipped or not.
        protocol: TOML file that names the files and benchmarks instead.
        dataset: public benchmark, NAME (from the hub) or NAME=PATH (its published file or folder); repeatable.
        datasets: list the public benchmarks and stop.
        engine: "guard", or the baseline alone: "tfidf", word and character n-grams with logistic regression.
        baseline: put that baseline beside the guard.
        judge: judges to measure instead of the guard, as docs/judges.md names them, such as "guard" or
            "onnx:FOLDER"; repeatable.
        also: apply this policy too, to the same verdicts of the guard; repeatable.
        recipe: fine-tuning settings on whose rows the baseline learns.
        limit: most rows of each file or benchmark, a seeded sample.
        user_turns: judge also the prompts that harmless answers of the files answer; a protocol says it by file.
        skip_bad: leave out lines that are no rows, and count them.
        independent: take all rows as independent, whatever they share.
        published_names: show also what the published Qwen3Guard script prints, by its swapped names and its rule.
        json: print one JSON object instead of tables.
        page: write the tables to this Markdown page too.
        html: write pictures and tables to this HTML file too.
        options: which guard and policy.
    """
    if datasets:
        print_cells(dataset_table())
        return
    plan = _plan(files, protocol, dataset, limit, user_turns)
    for path in (page, html):
        if path and not path.parent.is_dir():
            raise ConfigurationError(f"no folder {path.parent} for the page")
        if path and path.is_dir():
            raise ConfigurationError(f"{path} is a folder", hint="name the page's file")
    judging = _Judging(options, recipe, also, Console(stderr=True))
    specs = judging.specs(judge, engine, baseline)
    tally = Tally()
    rows = plan.read(tally, skip_bad=skip_bad)
    if not rows:
        raise ConfigurationError("no labelled row to measure")
    with ExitStack() as stack:  # all are opened first: what cannot be opened is told before hours are spent
        opened = [(spec, stack.enter_context(judging.open(spec))) for spec in specs]
        runs = [one for spec, judge in opened for one in judging.run(spec, judge, rows)]
    report = Report.of(runs, plan.ordinary, is_clustered=not independent, published_names=published_names)
    if page:
        page.write_text(page_of(report, tally), "utf-8")
    if html:
        html.write_text(to_html(report, facts(report, tally)), "utf-8")
    if json:
        told = {**report.to_json(), "input": counts(tally), "comparisons": report.comparisons()}
        print(json_module.dumps(told))
        return
    print_report(report, tally)


def _plan(
    files: tuple[Path, ...], protocol: Path | None, named: tuple[str, ...], limit: int | None, user_turns: bool
) -> Protocol:
    if bool(files or named) == bool(protocol):
        raise ConfigurationError("name either files and --dataset, or a --protocol")
    if limit is not None and limit < 1:
        raise ConfigurationError("--limit must be at least 1")
    if user_turns and not files:
        raise ConfigurationError("--user-turns goes with files", hint="a protocol says user_turns = true for a file")
    if protocol:
        plan = Protocol.from_file(protocol)
        return plan.model_copy(update={"limit": limit}) if limit else plan
    return Protocol(
        files={str(file): FileUse(user_turns=user_turns) for file in files}, datasets=_datasets(named), limit=limit
    )


def _datasets(named: tuple[str, ...]) -> dict[str, DatasetUse]:
    found: dict[str, DatasetUse] = {}
    for name, equals, path in (one.partition("=") for one in named):
        if equals and not path:
            raise ConfigurationError(f"--dataset {name}= names no path", hint=f"write {name} alone for the hub")
        if name in found:
            raise ConfigurationError(f"--dataset {name} is named twice", hint="name a folder that holds all its files")
        found[name] = DatasetUse(path=Path(path) if path else None)
    return found


class _Judging:
    """Opens judges, and lets each judge all rows."""

    def __init__(self, options: GuardOptions, recipe: Path, also: tuple[str, ...], console: Console) -> None:
        self._options, self._recipe, self._console = options, recipe, console
        self._policies = tuple(load_policy(one) for one in (options.policy, *also))
        for policy in self._policies[1:]:
            check_reads_alike(self._policies[0], policy)

    def specs(self, named: tuple[str, ...], engine: str, baseline: bool) -> tuple[Spec, ...]:
        """Return which judges are measured, before anything runs."""
        wanted = named or (("guard",) if engine == "guard" else ())
        specs = parse_specs((*wanted, *(("tfidf",) if engine == "tfidf" or baseline else ())))
        if len(self._policies) > 1 and all(spec.kind != "guard" for spec in specs):
            raise ConfigurationError("--also applies policies to the guard's verdicts, and no guard is measured")
        if len(self._policies) > 1 and any(
            spec.kind == "guard" and {"policy", "at_once"} & set(spec.options) for spec in specs
        ):
            raise ConfigurationError("--also goes with a guard that has neither policy nor at_once of its own")
        if not self._recipe.is_file() and any(spec.kind == "tfidf" and not spec.target for spec in specs):
            raise ConfigurationError(
                f"the baseline learns the rows of {self._recipe}, and there is no such file",
                hint="name another with --recipe, or files of labelled rows: --judge tfidf:FILE[,FILE...]",
            )
        return specs

    def open(self, spec: Spec) -> AbstractContextManager[Judge]:
        """Return a context in which the judge can be asked."""
        settings = JudgeSettings(
            self._policies[0], environment=os.environ, threads=self._options.threads, guard=self._options.opened,
            baseline=self._baseline, cache=_cache(),
        )  # fmt: skip
        return open_judge(spec, settings)

    def run(self, spec: Spec, judge: Judge, rows: list[Row]) -> list[Run]:
        """Return the judge's runs, one a policy where several are applied to the guard's verdicts."""
        if isinstance(judge, GuardJudge) and spec.kind == "guard" and len(self._policies) > 1:
            return run_policies(judge, self._policies, rows, console=self._console)
        return [run(judge, rows, console=self._console)]

    def _baseline(self, policy: Policy) -> Judge:
        from guardrail.evaluation.baseline import fit_baseline
        from guardrail.training.recipe_rows import training_rows

        with self._console.status("learning the TF-IDF baseline (a few minutes the first time)"):
            return fit_baseline(training_rows(self._recipe), policy, _cache())


def _cache() -> Path:
    from guardrail.loader import cache_folder

    return cache_folder() / "baseline"
