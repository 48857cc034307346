"""What a recipe would cost, before anything exists."""

from pathlib import Path

import pytest

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.estimating import cut_to, estimate, profile_of
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import load_recipe
from guardrail.training.recipe.stage import Profile
from tests.training.recipe.runs import n_asked, run, write_recipe
from tests.training.recipe.tiny import write_tiny
from tests.training.recipe_rows import prompt

PRICED = 'kind = "function"\nfunction = "model.py:answer"\ninput_price = 2\noutput_price = 8\ngpu_tokens_per_s = 1000'
SECOND = '\n[annotate.annotators]\none = {model = "small"}\ntwo = {model = "small"}\n'


def answer(row_id: str, text: str, risk: RiskLevel | None) -> RecipeRow:
    """Return an answer to a question of eight bytes."""
    messages = (Message(Role.USER, "a" * 8), Message(Role.ASSISTANT, text))
    return RecipeRow(row_id, row_id, "made", "en", messages, Direction.RESPONSE, risk)


def test_rows_are_profiled() -> None:
    """Counts by kind, and mean lengths."""
    rows = [
        prompt("p1", "a" * 40), answer("a1", "b" * 400, RiskLevel.UNSAFE), answer("a2", "水" * 400, RiskLevel.SAFE),
        answer("a3", "", None),
    ]  # fmt: skip
    assert profile_of(rows) == Profile(1, 3, 2, 1, prompt_tokens=4.0, response_tokens=1600 / 3 / 4)


def test_a_cut_keeps_the_mixture() -> None:
    """And never adds rows."""
    profile = Profile(60, 40, 10, 20)
    assert cut_to(profile, 50) == Profile(30, 20, 5, 10)
    assert cut_to(profile, 500) == profile


def test_calls_tokens_money_and_hours_are_told_before_anything_runs(tmp_path: Path) -> None:
    """By the prices and the speed in the recipe; nobody is asked and nothing is written."""
    path = write_recipe(tmp_path, model=PRICED)
    bill = estimate(load_recipe(path), tmp_path, ("respond",))
    (cost,) = bill.costs
    assert cost.usage.n_calls == 60
    assert cost.money == pytest.approx((2 * cost.usage.n_input + 8 * cost.usage.n_output) / 1e6)
    assert cost.gpu_hours == pytest.approx((cost.usage.n_input + cost.usage.n_output) / 1000 / 3600)
    assert bill.assumptions["respond"]
    assert n_asked(tmp_path) == 0
    assert not (tmp_path / "out").exists()


def test_the_calls_told_are_those_that_are_made(tmp_path: Path) -> None:
    """For a stage whose number of calls hangs on nothing else."""
    path = write_recipe(tmp_path)
    (cost,) = estimate(load_recipe(path), tmp_path, ("respond",), 9).costs
    (manifest,), _ = run(path, limit=9)
    assert cost.usage.n_calls == manifest.calls["small"].asked == 18


def test_a_stage_is_estimated_through_those_before_it(tmp_path: Path) -> None:
    """Before they have run; and from their rows when they have."""
    path = write_recipe(tmp_path, model=PRICED)
    path.write_text(path.read_text() + SECOND)
    recipe = load_recipe(path)
    bill = estimate(recipe, tmp_path, ("annotate",))
    assert bill.rows["annotate"].n_responses == 60
    assert bill.rows["annotate"].response_tokens == Profile().response_tokens
    run(path, "respond")
    bill = estimate(recipe, tmp_path, ("annotate",))
    assert bill.rows["annotate"].n_responses == 60
    assert bill.rows["annotate"].response_tokens < 10  # as the function answers


def test_all_stages_are_estimated_together(tmp_path: Path) -> None:
    """Each from what the one before would hand on."""
    path = write_recipe(tmp_path, model=PRICED)
    path.write_text(path.read_text() + SECOND)
    bill = estimate(load_recipe(path), tmp_path, ("respond", "annotate"), 10)
    assert list(bill.rows) == ["respond", "annotate"]
    assert bill.rows["respond"].n_prompts == 10
    assert bill.rows["annotate"].n_prompts + bill.rows["annotate"].n_responses == 30


def test_the_limit_bounds_what_synthesise_makes(tmp_path: Path) -> None:
    """As in a run: input rows and prompts to make."""
    recipe = load_recipe(write_tiny(tmp_path))
    made = [estimate(recipe, tmp_path, ("synthesise",), limit).costs[0].usage.n_calls for limit in (None, 4)]
    assert 0 < made[1] < made[0]
    bill = estimate(recipe, tmp_path, ("synthesise", "respond"), 4)
    assert bill.rows["respond"].n_prompts <= 8
