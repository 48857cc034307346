"""What a stage's rows would depend on now, and how what stands in its folder compares with that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.folder import is_held
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.inputs import notes_as_imported
from guardrail.training.recipe.manifest import Manifest, Plan, RowsNote, read_manifest
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Stage
from guardrail.training.recipe.stages import INPUTS, command_of, input_of, make_stage, settings_of, stages_of

State = Literal["not begun", "under way", "stopped at budget", "stopped", "finished", "stale"]


@dataclass(frozen=True, slots=True)
class StageState:
    """How a stage stands.

    Attributes:
        name: of the stage.
        state: "stopped" is killed, interrupted or failed; "stale" is what was made by another plan, or of rows that are
            not what the stage before now hands on.
        why: of a stale stage, in a few words.
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


def notes_before(name: str, recipe: RecipeSettings, states: Mapping[str, StageState]) -> dict[str, RowsNote] | None:
    """Return what a stage reads; None while that is not finished, or no longer what it should be."""
    before = input_of(name, recipe)
    if before == INPUTS:
        return notes_as_imported(recipe)
    state = states[before]
    if state.state != "finished" or state.manifest is None or state.manifest.rows is None:
        return None
    return {before: state.manifest.rows}


def require_input(name: str, recipe: RecipeSettings, states: Mapping[str, StageState]) -> dict[str, RowsNote]:
    """Return what a stage reads of the stage before it.

    Raises:
        ConfigurationError: that one is not finished, or is stale.
    """
    notes = notes_before(name, recipe, states)
    if notes is None:
        before = states[input_of(name, recipe)]
        why = f" ({before.why})" if before.why else ""
        raise ConfigurationError(
            f"{name} reads what {before.name} hands on, which is {before.state}{why}",
            hint=f"run: guardrail train {command_of(before.name)} --config <the same file>",
        )
    return notes


def _state_of(
    name: str, recipe: RecipeSettings, folder: Path, states: Mapping[str, StageState], *, is_running: bool
) -> StageState:
    manifest = read_manifest(recipe.output / name)
    if manifest is None:
        return StageState(name, "not begun")
    inputs = notes_before(name, recipe, states)
    if inputs is None:
        return StageState(name, "stale", f"{input_of(name, recipe)} is not what it was", manifest)
    plan = plan_of(make_stage(name, recipe), recipe, folder, inputs, manifest.plan.limit)
    if differs := plan.differs_in(manifest.plan):
        return StageState(name, "stale", f"another {', '.join(differs)}", manifest)
    if manifest.finished:
        return StageState(name, "finished", "", manifest)
    if manifest.stopped == "budget":
        return StageState(name, "stopped at budget", "", manifest)
    return StageState(name, "under way" if is_running and not manifest.stopped else "stopped", "", manifest)
