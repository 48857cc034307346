"""`guardrail train`, continued: the stages of the data recipe, all of them, and how they stand."""

import json as json_module
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.cli.show import figures, plain_console, table_console
from guardrail.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardrail.training.recipe.settings import RecipeSettings

_PIPED_WIDTH = 140


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What to run, and how much of it.

    Attributes:
        config: TOML file of the recipe: models, inputs, a section for each stage; docs/recipe.md describes it.
        dry_run: estimate calls, tokens, money and GPU hours, and end; asks nobody.
        limit: most input rows, the first ones (of the first stage, for `all`); for `synthesise` also prompts to make.
        max_calls: stop cleanly after this many calls of models; answers from the cache are free.
        max_tokens: stop cleanly before more tokens than this are read and written.
        ray: work on a Ray cluster (extra `ray`), at RAY_ADDRESS or on this machine, with this many workers.
        json: print one JSON object instead of tables.
    """

    config: Path
    dry_run: Flag = False
    limit: int | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    ray: int = 0
    json: Flag = False


def synthesise(options: RecipeOptions) -> int:
    """Make prompts over the taxonomy: self-instruct, keywords, pairs of harmful and harmless ones.

    Near duplicates of what there is are left out. The made prompts have no label yet: `annotate` gives it.
    """
    return _run(["synthesise"], options)


def respond(options: RecipeOptions) -> int:
    """Answer prompts with instruct, base and reasoning models, several samples each, refusals included."""
    return _run(["respond"], options)


def annotate(options: RecipeOptions) -> int:
    """Label rows by the votes of several models, weighed by how well they agree with people.

    Rows that people labelled keep their label; they are what the annotators are measured by.
    """
    return _run(["annotate"], options)


def translate(options: RecipeOptions) -> int:
    """Translate rows, and check language and meaning of what comes back."""
    return _run(["translate"], options)


def controversial(options: RecipeOptions) -> int:
    """Find controversial rows: those that a strict and a loose classifier disagree on."""
    return _run(["controversial"], options)


def relabel(options: RecipeOptions) -> int:
    """Correct labels by what a teacher says that has not seen them."""
    return _run(["relabel"], options)


def token_labels(options: RecipeOptions) -> int:
    """Find the first risky token of risky answers, by rollouts and a judge."""
    return _run(["token_labels"], options)


def mix(options: RecipeOptions) -> int:
    """Balance, de-duplicate and split the rows, check them against evaluation sets, and write the data card."""
    return _run(["mix"], options)


def all_stages(options: RecipeOptions) -> int:
    """Run every stage that the recipe has a section for, in order.

    ```sh
    guardrail train all --config recipe.toml --dry-run      # what would it cost?
    guardrail train all --config recipe.toml --limit 100    # does it work?
    guardrail train all --config recipe.toml --max-calls 100000
    guardrail train status --config recipe.toml             # how far is it? from another terminal, too
    ```

    Killed at any moment and started again, it goes on where it was: no model is asked again what it has answered, and
    the data files are the same to the last byte. A stage that is finished and up to date is not run again; what was
    made by other settings is set aside, not deleted.

    Exits with 5 when the budget was spent; the next start goes on.
    """
    return _run(None, options)


def status(*, config: Path, json: Flag = False) -> int:
    """Show how the stages of a recipe stand; also while another process runs them.

    Args:
        config: TOML file of the recipe.
        json: print one JSON object instead of a table.
    """
    from guardrail.training.recipe.settings import load_recipe
    from guardrail.training.recipe.status import as_values, table_of

    recipe = load_recipe(config)
    if json:
        print(json_module.dumps(as_values(recipe, config.parent)))
    else:
        table_console(_PIPED_WIDTH).print(table_of(recipe, config.parent))
    return Exit.OK


def _run(names: "Sequence[str] | None", options: RecipeOptions) -> int:
    """Run stages; None runs all that the recipe sets up."""
    from guardrail.training.recipe.running import RunOptions, run_stages
    from guardrail.training.recipe.settings import load_recipe
    from guardrail.training.recipe.stages import stages_of

    bounds = (options.limit, options.max_calls, options.max_tokens)
    if min(1 if bound is None else bound for bound in bounds) < 1 or options.ray < 0:
        raise ConfigurationError("--limit, --max-calls and --max-tokens must be at least 1, --ray not below 0")
    recipe, folder = load_recipe(options.config), options.config.parent
    names = stages_of(recipe) if names is None else names
    if options.dry_run:
        return _estimate(recipe, folder, names, options)
    how = RunOptions(options.limit, options.max_calls, options.max_tokens, options.ray)
    say = plain_console(stderr=options.json).print
    manifests = run_stages(recipe, folder, names, how, say)
    if options.json:
        print(json_module.dumps({m.plan.stage: m.model_dump(mode="json", exclude={"parts"}) for m in manifests}))
    return Exit.OK


def _estimate(recipe: "RecipeSettings", folder: Path, names: "Sequence[str]", options: RecipeOptions) -> int:
    """Print what stages would cost."""
    from guardrail.training.recipe.estimating import estimate

    bill = estimate(recipe, folder, names, options.limit)
    if options.json:
        print(json_module.dumps(asdict(bill)))
        return Exit.OK
    table = figures("stage", "model", "rows", "calls", "tokens in", "tokens out", "cost", "GPU hours")
    for cost in bill.costs:
        profile, hours = bill.rows[cost.stage], cost.gpu_hours
        numbers = (profile.n_prompts + profile.n_responses, cost.usage.n_calls, cost.usage.n_input, cost.usage.n_output)
        table.add_row(
            cost.stage, cost.model, *(f"{number:,.0f}" for number in numbers),
            f"{cost.money:,.2f}", "-" if hours is None else f"{hours:,.2f}",
        )  # fmt: skip
    console = table_console(_PIPED_WIDTH)
    console.print(table)
    for stage, told in bill.assumptions.items():
        for said in told:
            console.print(f"{stage}: {said}", soft_wrap=True)
    return Exit.OK
