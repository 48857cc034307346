"""Measures all models at all tasks of the settings. Questions are read and judges opened before anything is asked."""

import importlib.metadata
import platform
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail.abilities import aime, arena, arena_scores, gpqa, harness, livecode, livecode_grading, safety, sampled
from guardrail.abilities.asking import Asker, opened
from guardrail.abilities.fields import Read, read
from guardrail.abilities.sandbox import Limits, Sandbox
from guardrail.abilities.scores import Score
from guardrail.abilities.settings import AbilitiesSettings, AimeSettings, Candidate, GpqaSettings
from guardrail.errors import ConfigurationError

COLUMNS = ("safety", "refusal_benign", "refusal_harmful", "arena_hard", "arena_hard_style", "aime", "livecodebench",
           "gpqa")  # fmt: skip
"""Of the table, in order."""

_PACKAGES = ("guardrail-stream", "numpy", "openai", "torch", "transformers", "lm-eval")

Measure = Callable[[Asker, Candidate], Awaitable[dict[str, Score]]]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one start is allowed to do.

    Attributes:
        has_code: whether programs that models wrote may be run, in the sandbox.
        is_unsafe: whether they may be run without namespaces, where the kernel forbids them.
        max_calls: bound of calls that reach a model; None for none.
    """

    has_code: bool = False
    is_unsafe: bool = False
    max_calls: int | None = None


@dataclass(slots=True)
class Found:
    """What was measured.

    Attributes:
        settings: of the run.
        scores: by model, then by column.
        more: other figures: the further categories of Arena-Hard, by model and name.
        info: of each task: files with hashes, numbers of questions, the judge.
        calls: what was asked of each model, by its name.
        warnings: one sentence each.
    """

    settings: AbilitiesSettings
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    more: dict[str, dict[str, Score]] = field(default_factory=dict)
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


async def measure_all(
    settings: AbilitiesSettings,
    folder: Path,
    options: RunOptions,
    *,
    on_step: Callable[[str], None] = lambda _: None,
    on_answer: Callable[[], None] = lambda: None,
) -> Found:
    """Return the figures of all models.

    Args:
        settings: say what is measured.
        folder: of the settings file.
        options: of this start.
        on_step: is told which task of which model begins.
        on_answer: is called with every answer of a model.

    Raises:
        ConfigurationError: a file or a setting is wrong, or the sandbox does not work here; nothing was asked.
        EngineError: a model cannot be asked; the next start goes on where this one ended.
        BudgetSpent: likewise.
    """
    found = Found(settings)
    settings.output.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        tasks = [task for make in _TASKS if (task := await make(found, options, stack))]
        if not tasks:
            raise ConfigurationError("nothing is measured", hint="; ".join(found.warnings))
        asker = await stack.enter_async_context(
            opened(settings, folder, max_calls=options.max_calls, on_answer=on_answer)
        )
        battles: dict[str, list[arena.Battle]] = {}
        for model in settings.models:
            found.scores[model.name], found.more[model.name] = {}, {}
            for name, measure in tasks:
                on_step(f"{name}: {model.name}")
                if isinstance(measure, arena.Arena):
                    battles[model.name], answers = await measure.battles(asker, model)
                    cut = sampled.counted(answers)
                    found.info["arena_hard"].setdefault("answers", {})[model.name] = dict(cut)
                else:
                    found.scores[model.name] |= await measure(asker, model)
        _add_arena(found, battles)
        found.calls = {name: tally.model_dump() for name, tally in asker.tallies.items() if tally}
    return found


async def _safety(found: Found, _options: RunOptions, stack: AsyncExitStack) -> "tuple[str, Measure] | None":
    if (settings := found.settings.safety) is None:
        return None
    prompts, judges = safety.read_prompts(settings), safety.open_judges(settings.rewards)
    stack.callback(judges.close)
    found.info["safety"] = {**prompts.info, "judges": judges.identity}
    return "safety", lambda asker, model: safety.measure(asker, model, prompts, settings, judges)


async def _arena(found: Found, _options: RunOptions, _stack: AsyncExitStack) -> "tuple[str, arena.Arena] | None":
    if (settings := found.settings.arena_hard) is None:
        return None
    questions = arena.read_prompts(settings)
    baselines, info = arena.read_baselines(settings, questions.questions)
    systems = arena.judge_prompts(settings, questions.questions)
    judge = found.settings.judges[settings.judge]
    if settings.category not in systems:
        raise ConfigurationError(f"[arena_hard]: no question of category {settings.category!r}")
    found.info["arena_hard"] = {
        **questions.info, "baselines": info, "judge": judge.model or judge.function, "judge_revision": judge.revision,
        "judge_prompt": {name: "own" if text == arena.JUDGE_PROMPT else "given" for name, text in systems.items()},
        "judge_temperature": 0.0,
    }  # fmt: skip
    return "arena_hard", arena.Arena(settings, questions.questions, baselines, systems)


async def _aime(found: Found, _options: RunOptions, _stack: AsyncExitStack) -> "tuple[str, Measure] | None":
    if (settings := found.settings.aime) is None:
        return None
    questions = read(settings, aime.HUB_ID, aime.HUB_FILES, aime.problem_of)
    found.info["aime"] = {**questions.info, "harness": settings.harness}
    _warn_of_number(found, "aime", len(questions.questions), aime.N_PROBLEMS)
    return "aime", _sampled("aime", f"AIME-25 mean@{settings.samples}", questions, settings, found)


async def _gpqa(found: Found, _options: RunOptions, _stack: AsyncExitStack) -> "tuple[str, Measure] | None":
    if (settings := found.settings.gpqa) is None:
        return None
    seed = found.settings.seed
    file = (f"gpqa_{settings.subset}.csv",)
    questions = read(settings, gpqa.HUB_ID, file, lambda values, index: gpqa.choice_of(values, index, seed))
    found.info["gpqa"] = {**questions.info, "subset": settings.subset, "harness": settings.harness}
    _warn_of_number(found, "gpqa", len(questions.questions), gpqa.N_QUESTIONS[settings.subset])
    return "gpqa", _sampled("gpqa", f"GPQA {settings.subset} mean@{settings.samples}", questions, settings, found)


def _sampled(
    task: str, name: str, questions: Read[Any], settings: AimeSettings | GpqaSettings, found: Found
) -> Measure:
    """Return what measures a task whose answers are right or wrong, several of each question."""
    if settings.harness == "lm-eval":
        return harness.measured(task, name, questions.rows, settings, found)

    async def measure(asker: Asker, model: Candidate) -> dict[str, Score]:
        return {task: await sampled.measure(asker, model, name, questions.questions, settings.samples)}

    return measure


async def _livecode(found: Found, options: RunOptions, _stack: AsyncExitStack) -> "tuple[str, Measure] | None":
    if (settings := found.settings.livecodebench) is None:
        return None
    if not options.has_code:
        found.warnings.append(
            "LiveCodeBench is left out: it runs programs that models write, which --run-model-code allows"
        )
        return None
    if settings.release not in livecode.RELEASES and not settings.paths:
        raise ConfigurationError(f"no release {settings.release!r}; there are: {', '.join(livecode.RELEASES)}")
    questions = read(settings, livecode.HUB_ID, livecode.RELEASES.get(settings.release, ()), livecode.task_of)
    tasks = livecode.in_window(questions.questions, settings)
    limits = Limits(cpu_s=settings.timeout_s, wall_s=3 * settings.timeout_s + 2, memory_mib=settings.memory_mib)
    sandbox = Sandbox(limits, is_isolated=not options.is_unsafe, parallel=settings.parallel)
    await sandbox.check()
    found.info["livecodebench"] = {
        **questions.info, "release": settings.release, "first_day": min(one.day for one in tasks),
        "last_day": max(one.day for one in tasks), "n_measured": len(tasks), **sandbox.identity,
    }  # fmt: skip
    name = f"LiveCodeBench {settings.release} pass@1 (mean of {settings.samples})"

    async def measure(asker: Asker, model: Candidate) -> dict[str, Score]:
        score = await livecode_grading.measure(asker, model, name, tasks, settings.samples, sandbox)
        return {"livecodebench": score}

    return "livecodebench", measure


_TASKS = (_safety, _arena, _aime, _livecode, _gpqa)


def _add_arena(found: Found, battles: dict[str, list[arena.Battle]]) -> None:
    """Add win rates by category, as they are and with style held equal."""
    settings = found.settings.arena_hard
    if settings is None:
        return
    for category in sorted({one.category for some in battles.values() for one in some}):
        inside = {name: [one for one in some if one.category == category] for name, some in battles.items()}
        equal = arena_scores.controlled(inside)
        coefficients = found.info["arena_hard"].setdefault("style_coefficients", {})
        coefficients[category] = dict(equal.coefficients)
        for name, some in inside.items():
            plain = arena_scores.win_rate(f"Arena-Hard-v2 {category}", some)
            styled = Score(f"{plain.name}, style held equal", plain.ids, plain.shares, 1, drawn=equal.rates[name])
            if category == settings.category:
                found.scores[name] |= {"arena_hard": plain, "arena_hard_style": styled}
            else:
                found.more[name] |= {plain.name: plain, styled.name: styled}


def _warn_of_number(found: Found, task: str, n: int, published: int) -> None:
    if n != published:
        found.warnings.append(f"{task}: {n} questions, not the {published} that were published")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that have a hand in the figures."""
    known = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known
