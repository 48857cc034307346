"""What a recipe would cost, before anybody is asked: from the rows that there are, and what stages make of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardrail.conversation import Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.input_rows import read_values, to_recipe_row
from guardrail.training.recipe.parts import PartRows, rows_in
from guardrail.training.recipe.planning import states_of
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings
from guardrail.training.recipe.stage import OUTPUT, Estimate, Profile, Usage
from guardrail.training.recipe.stages import input_of, make_stage, stages_of

BYTES_PER_TOKEN = 4
"""Bytes of UTF-8 that a token stands for, in whatever script: for estimates alone. Our choice, from English and Chinese
text (1 token for about 4 letters, or for about 1.3 characters)."""

_MOST_ROWS = 50_000
"""Rows that are read to estimate from; of more, whole parts that are spread evenly. Our choice."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one stage would ask of one model.

    Attributes:
        stage: its name.
        model: the model's name in the recipe.
        usage: calls and tokens.
        money: by the recipe's prices.
        gpu_hours: of one GPU; None when the recipe does not say how fast that is.
    """

    stage: str
    model: str
    usage: Usage
    money: float
    gpu_hours: float | None


@dataclass(frozen=True, slots=True)
class Bill:
    """What stages would cost.

    Attributes:
        costs: by stage and model.
        rows: that each stage would read, by name.
        assumptions: of each stage, in sentences.
    """

    costs: tuple[Cost, ...]
    rows: Mapping[str, Profile]
    assumptions: Mapping[str, tuple[str, ...]]


def estimate(recipe: RecipeSettings, folder: Path, names: Sequence[str], limit: int | None = None) -> Bill:
    """Return what stages would cost. What stands in the call cache already is not taken off.

    Args:
        recipe: sets them up.
        folder: of the recipe file.
        names: of the stages, in order.
        limit: most input rows of the first one.

    Raises:
        ConfigurationError: an input cannot be read, or a stage cannot be set up.
    """
    profile, first = _profile_before(names[0], recipe, folder)
    costs: list[Cost] = []
    rows: dict[str, Profile] = {}
    told: dict[str, tuple[str, ...]] = {}
    for name in stages_of(recipe)[first:]:
        if name == names[0] and limit is not None:
            profile, recipe = cut_to(profile, limit), _with_limit(recipe, limit)
        found: Estimate = make_stage(name, recipe).estimate(profile)
        if name in names:
            rows[name], told[name] = profile, found.assumptions
            costs += [_cost(name, model, usage, recipe.models[model]) for model, usage in found.usage.items()]
        profile = found.after
        if name == names[-1]:
            break
    return Bill(tuple(costs), rows, told)


def profile_of(rows: Iterable[RecipeRow]) -> Profile:
    """Return what rows are like."""
    n_prompts = n_responses = n_unlabelled = n_risky = n_turns = prompt_bytes = response_bytes = 0
    for row in rows:
        is_response = row.target is Direction.RESPONSE
        n_prompts, n_responses = n_prompts + (not is_response), n_responses + is_response
        n_unlabelled += row.risk is None
        n_risky += is_response and row.risk not in (None, RiskLevel.SAFE)
        if is_response:
            response_bytes += len(row.messages[-1].content.encode(errors="replace"))
        if (turn := next((m for m in reversed(row.messages) if m.role is Role.USER), None)) is not None:
            n_turns += 1
            prompt_bytes += len(turn.content.encode(errors="replace"))
    guess = Profile()
    return Profile(
        n_prompts, n_responses, n_unlabelled, n_risky,
        prompt_bytes / n_turns / BYTES_PER_TOKEN if n_turns else guess.prompt_tokens,
        response_bytes / n_responses / BYTES_PER_TOKEN if n_responses else guess.response_tokens,
    )  # fmt: skip


def cut_to(profile: Profile, n_rows: float) -> Profile:
    """Return the same mixture, with at most as many rows."""
    return profile.scaled(min(1.0, n_rows / max(1.0, profile.n_prompts + profile.n_responses)))


def _with_limit(recipe: RecipeSettings, limit: int) -> RecipeSettings:
    """Return a recipe that makes at most as many prompts as `synthesise` makes with a limit."""
    made = recipe.synthesise
    if made is None:
        return recipe
    return replace(recipe, synthesise=replace(made, n_prompts=min(limit, made.n_prompts)))


def _profile_before(name: str, recipe: RecipeSettings, folder: Path) -> tuple[Profile, int]:
    """Return what is known of the rows that a stage reads, and the place of the first stage that they must go through.

    That is the nearest stage before whose rows are there; else the inputs.
    """
    names = stages_of(recipe)
    states = states_of(recipe, folder)
    for place in range(names.index(name), 0, -1):
        before = input_of(names[place], recipe)
        if states[before].state == "finished":
            return _profile_of_parts(rows_in(recipe.output / before / OUTPUT)), place
    return profile_of(_input_rows(recipe)), 0


def _profile_of_parts(rows: PartRows) -> Profile:
    step = max(1, len(rows) // _MOST_ROWS)
    sample = PartRows(rows.paths[::step])
    return profile_of(sample).scaled(len(rows) / max(1, len(sample)))


def _input_rows(recipe: RecipeSettings) -> Iterable[RecipeRow]:
    for one in recipe.inputs:
        for number, (where, values) in enumerate(read_values(one.path)):
            if one.max_rows and number >= one.max_rows:
                break
            yield to_recipe_row(where, values, is_human=one.is_human)


def _cost(stage: str, name: str, usage: Usage, model: ModelSettings) -> Cost:
    money = (usage.n_input * model.input_price + usage.n_output * model.output_price) / 1_000_000
    speed = model.gpu_tokens_per_s
    hours = (usage.n_input + usage.n_output) / speed / 3600 if speed else None
    return Cost(stage, name, usage, money, hours)
