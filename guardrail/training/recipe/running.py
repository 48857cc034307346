"""Runs stages of a recipe: each one is planned, begun or gone on with, and closed with its manifest and report."""

import errno
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from guardrail.audit.pages.figures import Summary
from guardrail.audit.pages.page import render
from guardrail.errors import BudgetSpent, ConfigurationError
from guardrail.training.recipe.asking import Asking, open_asking
from guardrail.training.recipe.bars import Bars
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.counting import Counter, total_of
from guardrail.training.recipe.folder import CACHE, begin, held, now
from guardrail.training.recipe.inputs import import_rows
from guardrail.training.recipe.job import StageJob
from guardrail.training.recipe.manifest import Manifest, Plan, RowsNote, Stopped, note_parts, rows_note
from guardrail.training.recipe.notes import Notes
from guardrail.training.recipe.parts import rows_in, rows_of
from guardrail.training.recipe.planning import plan_of, require_input, require_whole, states_of
from guardrail.training.recipe.runner import LoopRunner, Runner
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings
from guardrail.training.recipe.stage import OUTPUT, Rows, Stage
from guardrail.training.recipe.stages import INPUTS, input_of, make_stage
from guardrail.whole_files import write_whole

REPORT = "report.html"

_PACKAGES = ("guardrail-stream", "crowd-kit", "lingua-language-detector", "numpy", "openai", "pyarrow", "rapidfuzz",
             "scikit-learn", "torch", "transformers")  # fmt: skip
"""Packages that have a hand in rows; those that are installed stand in the manifest."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one start is allowed to do, and where it does it.

    Attributes:
        limit: most input rows of the first stage that is run; None for all.
        max_calls: bound of calls that reach a model; None for none.
        max_tokens: bound of tokens; None for none.
        n_ray: workers on a Ray cluster; 0 works here.
    """

    limit: int | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    n_ray: int = 0


def run_stages(
    recipe: RecipeSettings, folder: Path, names: Sequence[str], options: RunOptions, say: Say
) -> list[Manifest]:
    """Run stages, one after the other, and return what they came to; what is finished is not done again.

    Args:
        recipe: sets them up.
        folder: of the recipe file.
        names: of the stages, in order.
        options: of this start.
        say: is told, in one line each, what the user would like to know.

    Raises:
        ConfigurationError: settings cannot work, the input of a stage is not there, or another process is at work.
        EngineError: a model cannot be asked; the next start goes on.
        BudgetSpent: likewise.
    """
    stages = [make_stage(name, recipe) for name in names]
    with ExitStack() as stack:
        stack.enter_context(_full_disk_told())
        stack.enter_context(held(recipe.output))
        cache = stack.enter_context(CallCache(recipe.output / CACHE))
        budget = Budget(options.max_calls, options.max_tokens)
        start = _Start(recipe, folder, options, cache, budget, say)
        return [start.run(stage, options.limit if not i else None) for i, stage in enumerate(stages)]


@dataclass(frozen=True, slots=True)
class _Start:
    """One start of the command."""

    recipe: RecipeSettings
    folder: Path
    options: RunOptions
    cache: CallCache
    budget: Budget
    say: Say

    def run(self, stage: Stage, limit: int | None) -> Manifest:
        """Run a stage, or say that it is finished."""
        rows, inputs = self._input_of(stage)
        plan = plan_of(stage, self.recipe, self.folder, inputs, limit)
        manifest, said = begin(self.recipe.output, plan)
        if said:
            self.say(said)
        if manifest.finished:
            require_whole(manifest, self.recipe.output)
            self.say(f"{stage.name}: finished on {manifest.finished}, and up to date")
            return manifest
        return self._run(stage, plan, manifest, rows)

    def _input_of(self, stage: Stage) -> tuple[Rows, dict[str, RowsNote]]:
        before = input_of(stage.name, self.recipe)
        if before != INPUTS:
            made = require_input(stage.name, self.recipe, states_of(self.recipe, self.folder))
            rows = rows_of(self.recipe.output / before / OUTPUT, [part.name for part in made.parts])
            return rows, {before: rows_note(made.parts)}
        with Bars(INPUTS, dict) as bars:
            imported = import_rows(self.recipe, bars.begin("rows read", None))
        if not len(imported.rows) and stage.name != "synthesise":
            raise ConfigurationError(f"{stage.name} has no rows to read", hint="name files: [[inputs]] with path = ...")
        return imported.rows, imported.notes

    def _run(self, stage: Stage, plan: Plan, manifest: Manifest, rows: Rows) -> Manifest:
        folder = self.recipe.output / stage.name
        models = {name: self.recipe.models[name] for name in stage.models}

        def opened() -> AbstractAsyncContextManager[Asking]:
            return open_asking(models, self.cache, self.budget, self.folder, on_change=notes.now_and_then)

        counter = Counter(opened, manifest.calls)
        notes = Notes(folder, manifest.model_copy(update={"versions": _versions()}), lambda: counter.calls)
        with _stops_noted(notes), Bars(stage.name, lambda: counter.calls) as bars:
            with self._runner(models, counter) as runner:
                summary = stage.run(StageJob(plan, folder, rows, runner=runner, bars=bars, notes=notes))
            _close(folder, notes, summary)
        self.say(_told(notes.manifest))
        return notes.manifest

    def _runner(self, models: Mapping[str, ModelSettings], counter: Counter) -> AbstractContextManager[Runner]:
        if not self.options.n_ray:
            return LoopRunner(counter.open)
        from guardrail.training.recipe.ray import RayRunner, Setup

        keys = {name: os.environ[name] for one in models.values() if (name := one.api_key_env) in os.environ}
        setup = Setup(models, self.folder, keys)
        return nullcontext(RayRunner(setup, self.recipe.output / CACHE, self.budget, counter, self.options.n_ray))


@contextmanager
def _full_disk_told() -> Iterator[None]:
    """Say which file the disk has no room for, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigurationError(
            f"{error.filename or 'a file'} cannot be written: {os.strerror(error.errno)}",
            hint="make room, and run the same command again: it goes on where it was",
        ) from error


@contextmanager
def _stops_noted(notes: Notes) -> Iterator[None]:
    """Note why a start ends before the stage is finished."""
    try:
        yield
    except BaseException as error:
        stopped: Stopped = "budget" if isinstance(error, BudgetSpent) else "error"
        notes.note(stopped=stopped if isinstance(error, Exception) else "interrupt")
        raise


def _close(folder: Path, notes: Notes, summary: Summary) -> None:
    """Note what a stage came to, and write its report."""
    rows = rows_in(folder / OUTPUT)
    parts = note_parts(rows.paths)
    finished = {"finished": now(), "step": "", "n_parts_done": len(parts), "n_parts": len(parts)}
    notes.manifest = notes.manifest.model_copy(
        update={
            "parts": parts, "rows": rows_note(parts), "counts": dict(rows.counts), "summary": dict(summary.values),
            "warnings": list(summary.warnings),
        }
    )  # fmt: skip
    facts = facts_of(notes.manifest)
    page = render(f"Recipe: {notes.manifest.plan.stage}", summary, facts)
    write_whole(folder / REPORT, page.encode(errors="replace"))
    notes.note(**finished)


def facts_of(manifest: Manifest) -> dict[str, str]:
    """Return what is to be known of a run, by name."""
    plan, calls = manifest.plan, total_of(manifest.calls)
    n_out = manifest.rows.n_rows if manifest.rows else 0
    return {
        "rows in": f"{manifest.n_in:,}",
        "rows out": f"{n_out:,}",
        "rows left out": f"{manifest.n_dropped:,}",
        "calls": f"{calls.asked:,} asked, {calls.cached:,} cached, {calls.refused:,} refused, {calls.failed:,} failed",
        "tokens": f"{calls.n_input:,} read, {calls.n_output:,} written",
        "cost": f"{calls.cost:.2f}",
        "models": ", ".join(plan.models) or "none",
        "reads": ", ".join(plan.inputs) or "nothing",
        "seed": str(plan.seed),
        "limit": "none" if plan.limit is None else f"{plan.limit:,}",
        "plan": manifest.digest,
        "started": manifest.started,
        "time": f"{manifest.seconds:.1f} s, {manifest.n_starts} start{'s' * (manifest.n_starts > 1)}",
        "versions": ", ".join(f"{name} {said}" for name, said in manifest.versions.items()),
    }


def _told(manifest: Manifest) -> str:
    n_out = manifest.rows.n_rows if manifest.rows else 0
    return f"{manifest.plan.stage}: {manifest.n_in} rows in, {n_out} out, {manifest.n_dropped} left out"


def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
