"""What a stage's rows would depend on now, and how what stands in its folder compares with that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.folder import is_held
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.inputs import names_of, notes_as_imported
from guardrail.training.recipe.manifest import Manifest, Plan, RowsNote, damage_in, read_manifest
from guardrail.training.recipe.rows import AGAIN
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import OUTPUT, Stage
from guardrail.training.recipe.stages import INPUTS, command_of, input_of, make_stage, settings_of, stages_of

State = Literal["not begun", "under way", "stopped at budget", "stopped", "finished", "damaged", "stale"]


@dataclass(frozen=True, slots=True)
class StageState:
    """How a stage stands.

    Attributes:
        name: of the stage.
        state: "stopped" is killed, interrupted or failed; "stale" is what was made by another plan, or of rows that are
            not what the stage before now hands on; "damaged" was finished, but parts of it are not there as they were.
        why: of a stale or damaged stage, in a few words.
        manifest: what stands in its folder; None when it is not begun.
    """

    name: str
    state: State
    why: str = ""
    manifest: Manifest | None = None


def plan_of(
    stage: Stage, recipe: RecipeSettings, folder: Path, inputs: Mapping[str, RowsNote], limit: int | None
) -> Plan:
    """Return all that a stage's rows depend on.

    Args:
        stage: set up.
        recipe: it comes from.
        folder: of the recipe file.
        inputs: what it reads.
        limit: most input rows.

    Raises:
        ConfigurationError: one of its models is not there.
    """
    return Plan(
        stage=stage.name,
        stage_version=stage.version,
        settings=dict(settings_of(stage.name, recipe)),
        models={name: identity_of(recipe.models[name], folder) for name in sorted(stage.models)},
        materials=dict(stage.materials),
        inputs=dict(inputs),
        seed=recipe.seed,
        limit=limit,
        part_rows=recipe.part_rows,
    )


def states_of(recipe: RecipeSettings, folder: Path) -> dict[str, StageState]:
    """Return how the recipe's stages stand, in the order in which they run.

    Raises:
        ConfigurationError: a stage cannot be set up.
    """
    states: dict[str, StageState] = {}
    is_running = is_held(recipe.output)
    for name in stages_of(recipe):
        states[name] = _state_of(name, recipe, folder, states, is_running=is_running)
    return states


def require_input(name: str, recipe: RecipeSettings, states: Mapping[str, StageState]) -> Manifest:
    """Return the manifest of the stage whose rows a stage reads: it is finished, and all its parts are there.

    Raises:
        ConfigurationError: it is not; the hint names the first stage that is to be run.
    """
    before = states[input_of(name, recipe)]
    if before.state == "finished" and before.manifest is not None:
        return before.manifest
    why = f" ({before.why})" if before.why else ""
    said = f"{name} reads what {before.name} hands on, which is {before.state}{why}"
    if before.state == "damaged":
        raise ConfigurationError(said, hint=AGAIN.format(recipe.output / before.name))
    first = next(one for one in states if states[one].state != "finished")
    also = "" if first == before.name else ", or all"
    raise ConfigurationError(said, hint=f"run: guardrail train {command_of(first)}{also} --config <the same file>")


def require_whole(manifest: Manifest, output: Path) -> None:
    """Make sure that the parts of a finished stage are there.

    Raises:
        ConfigurationError: one is not; it is named.
    """
    folder = output / manifest.plan.stage
    if damage := damage_in(folder / OUTPUT, manifest.parts):
        raise ConfigurationError(f"{manifest.plan.stage} is damaged: {damage}", hint=AGAIN.format(folder))


def _state_of(
    name: str, recipe: RecipeSettings, folder: Path, states: Mapping[str, StageState], *, is_running: bool
) -> StageState:
    manifest = read_manifest(recipe.output / name)
    if manifest is None:
        return StageState(name, "not begun")
    inputs = _notes_before(name, recipe, states, manifest)
    if inputs is None:
        before = input_of(name, recipe)
        why = "other inputs" if before == INPUTS else f"{before} is not what it was"
        return StageState(name, "stale", why, manifest)
    plan = plan_of(make_stage(name, recipe), recipe, folder, inputs, manifest.plan.limit)
    if differs := plan.differs_in(manifest.plan):
        return StageState(name, "stale", _in_words(differs), manifest)
    if manifest.finished:
        damage = damage_in(recipe.output / name / OUTPUT, manifest.parts)
        return StageState(name, "damaged" if damage else "finished", damage, manifest)
    if manifest.stopped == "budget":
        return StageState(name, "stopped at budget", "", manifest)
    return StageState(name, "under way" if is_running and not manifest.stopped else "stopped", "", manifest)


def _notes_before(
    name: str, recipe: RecipeSettings, states: Mapping[str, StageState], manifest: Manifest
) -> Mapping[str, RowsNote] | None:
    """Return what a stage would read now; None while that is not finished, or no longer what it should be.

    What a damaged stage hands on is known all the same, and so are inputs that somebody has deleted: they are imported
    again when they are needed.
    """
    before = input_of(name, recipe)
    if before == INPUTS:
        if not (recipe.output / INPUTS).exists() and [*manifest.plan.inputs] == names_of(recipe.inputs):
            return manifest.plan.inputs
        return notes_as_imported(recipe)
    state = states[before]
    if state.state not in ("finished", "damaged") or state.manifest is None or state.manifest.rows is None:
        return None
    return {before: state.manifest.rows}


def _in_words(differs: Sequence[str]) -> str:
    """Return what differs: "other settings, another seed"."""
    return ", ".join(f"{'other' if name.endswith('s') else 'another'} {name.replace('_', ' ')}" for name in differs)
