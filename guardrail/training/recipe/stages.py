"""The stages by name: set up from a recipe, and what each of them reads."""

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.settings import STAGES, RecipeSettings
from guardrail.training.recipe.stage import Stage

INPUTS = "inputs"
"""Stands for the recipe's own rows where a stage's name is asked for."""


def stages_of(recipe: RecipeSettings) -> tuple[str, ...]:
    """Return the names of the stages that have a section, in the order in which they run."""
    return tuple(name for name in STAGES if getattr(recipe, name) is not None)


def make_stage(name: str, recipe: RecipeSettings) -> Stage:
    """Return a stage, set up.

    Raises:
        ConfigurationError: it has no section, its settings contradict themselves, or it asks a model that the recipe
            does not have.
        MissingExtra: it needs a package that is not installed.
    """
    settings = getattr(recipe, name)
    if settings is None:
        raise ConfigurationError(
            f"the recipe has no section [{name}]", hint=f"it sets up: {', '.join(stages_of(recipe)) or 'no stage'}"
        )
    stage: Stage = importlib.import_module(f"guardrail.training.{name}.stage").make(settings, recipe)
    if missing := [model for model in stage.models if model not in recipe.models]:
        raise ConfigurationError(
            f"{name} asks {', '.join(missing)}, which the recipe does not have",
            hint=f"add [models.{missing[0]}]; there are: {', '.join(recipe.models) or 'none'}",
        )
    return stage


def settings_of(name: str, recipe: RecipeSettings) -> Mapping[str, Any]:
    """Return a stage's section as JSON values."""
    settings = getattr(recipe, name)
    values: Mapping[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return values


def input_of(name: str, recipe: RecipeSettings) -> str:
    """Return the name of the stage whose rows a stage reads; `INPUTS` for the first one."""
    names = stages_of(recipe)
    place = names.index(name)
    return names[place - 1] if place else INPUTS


def command_of(name: str) -> str:
    """Return a stage's name on the command line."""
    return name.replace("_", "-")
