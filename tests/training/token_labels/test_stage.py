"""The stage as a whole: over rows, started again, compared, estimated, and set up wrongly."""

from pathlib import Path

import pytest

from guardrail.audit.pages.figures import Table
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings, load_recipe
from guardrail.training.recipe.stage import Profile
from guardrail.training.token_labels.costs import usage_of_row
from guardrail.training.token_labels.report import summarise
from guardrail.training.token_labels.settings import Mode, RolloutSettings
from guardrail.training.token_labels.stage import TokenLabels, make
from tests.training.recipe_job import MemoryJob
from tests.training.token_labels.scripted import RISKY, Script, onset_script, row_of, settings_of

ANSWER = "Sure, glad to help. First you take the thing. Then light it! That is all, good luck."
ROWS = [row_of(ANSWER * (1 + i % 3), i, risk=RiskLevel.SAFE if i % 5 == 0 else RiskLevel.UNSAFE) for i in range(25)] + [
    row_of("Hm.", 99)
]
MODELS = {name: ModelSettings("function", function="f.py:f") for name in ("base", "judge")}
RECIPE = RecipeSettings(Path("out"), models={**MODELS, "guard": ModelSettings("guard", model="default")})


def stage_of(**changes: object) -> TokenLabels:
    """The stage with these settings."""
    return make(settings_of(**changes), RECIPE)


def test_rows_are_handed_on_in_order_with_their_onsets(tmp_path: Path) -> None:
    """Safe rows pass through, risky ones have an onset, and the one without is left out and counted."""
    job = MemoryJob(ROWS, tmp_path, onset_script(30, 20))
    summary = stage_of().run(job)
    assert [row.id for row in job.output] == [row.id for row in ROWS[:-1]]
    assert all((row.unsafe_start_char is None) == (row.risk is RiskLevel.SAFE) for row in job.output)
    assert summary.values["dropped_no_onset"] == 1
    assert summary.values["rows_asked_about"] == 21
    assert summary.values["onsets_found"] == 20


def test_started_again_it_asks_nothing_twice_and_reports_the_same(tmp_path: Path) -> None:
    """The parts are there; a second start reads them."""
    script = onset_script(30, 20)
    first = stage_of(compare=5).run(MemoryJob(ROWS, tmp_path, script))
    n_calls = len(script.calls)
    assert n_calls
    assert stage_of(compare=5).run(MemoryJob(ROWS, tmp_path, script)) == first
    assert len(script.calls) == n_calls


@pytest.mark.parametrize("n", [0, 7, 100])
def test_as_many_rows_are_compared_as_was_asked_for(tmp_path: Path, n: int) -> None:
    """Drawn among the rows asked about; modes agree here, and the report says so."""
    summary = stage_of(compare=n).run(MemoryJob(ROWS, tmp_path, onset_script(30, 20)))
    assert summary.values["compared"] == min(n, 21)
    assert summary.values["agreement"] == (1.0 if n else None)


def test_another_seed_compares_other_rows(tmp_path: Path) -> None:
    """The draw is by hash and seed, so that it needs no memory and repeats."""
    found: list[int] = []
    for seed in (1, 1, 2):
        script = onset_script(30, 20)
        job = MemoryJob(ROWS, tmp_path / f"{len(found)}", script, seed=seed)
        stage_of(compare=3).run(job)
        found.append(len(script.calls))
    assert found[0] == found[1]


def test_a_disagreement_is_reported_with_a_warning(tmp_path: Path) -> None:
    """Rows on which the modes differ are counted, and the user is told what to do."""
    script = Script(
        lambda text: "unsafe" if text.endswith("take") or "light" in text else "safe", lambda _: [RISKY] * 20
    )
    summary = stage_of(compare=5).run(MemoryJob(ROWS[1:4], tmp_path, script))
    assert summary.values["agreement"] == 0
    assert any("shorter ones" in warning for warning in summary.warnings)
    table = next(f for f in summary.figures if isinstance(f, Table) and f.title == "Mode coarse beside mode exact")
    assert ("later", 3, 1.0) in [tuple(row) for row in table.rows]


def test_nothing_to_do_is_reported_without_a_division() -> None:
    """No row was asked about."""
    summary = summarise({"rows passed on": 4}, settings_of(mode="exact"))
    assert (summary.values["rows_asked_about"], summary.values["calls_per_row"], summary.warnings) == (0, None, ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"guard": ""}, "needs guard"),
        ({"judge": ""}, "needs judge"),
        ({"rollouts": ()}, "needs rollouts"),
        ({"rule": "judge", "judge": ""}, "needs judge"),
        ({"judge": "jugde"}, "no model is called 'jugde'"),
        ({"rollouts": (RolloutSettings("guard"),)}, "writes no text"),
        ({"judge": "guard"}, "writes no text"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(changes: dict[str, object], told: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(ConfigurationError, match=told):
        stage_of(**changes)


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        ({}, ("base", "guard", "judge")),
        ({"rule": "rollouts", "judge": ""}, ("base", "guard")),
        ({"rule": "judge", "judge_form": "guard", "judge": "guard"}, ("guard",)),
    ],
)
def test_only_models_that_the_rule_asks_are_named(changes: dict[str, object], models: tuple[str, ...]) -> None:
    """Others may be missing."""
    assert stage_of(**changes).models == models


def test_another_tokenizer_is_another_material(tmp_path: Path) -> None:
    """Places are those of one tokenizer: with another, what was made is stale. A missing one is said."""
    given = tmp_path / "tokenizer.json"
    given.write_text(stage_of().tokenizer + "\n", "utf-8")
    assert stage_of(tokenizer=given).materials != stage_of().materials
    with pytest.raises(CheckpointError, match=r"cannot read gone\.json"):
        stage_of(tokenizer=tmp_path / "gone.json")


def test_a_recipe_file_sets_the_stage_up(tmp_path: Path) -> None:
    """With several models that write on."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        """
        output = "out"
        [models.base]
        kind = "endpoint"
        [models.guard]
        kind = "guard"
        model = "default"
        [token_labels]
        guard = "guard"
        judge = "guard"
        judge_form = "guard"
        rollouts = [{ model = "base", samples = 4 }, { model = "base", form = "chatml" }]
        """
    )
    recipe = load_recipe(path)
    assert recipe.token_labels
    stage = make(recipe.token_labels, recipe)
    assert [model.form for model in stage.settings.rollouts] == ["transcript", "chatml"]


PROFILE = Profile(n_responses=1000, n_risky_responses=100, response_tokens=300)


def test_the_estimate_scales_with_the_rows_and_tells_the_exact_mode() -> None:
    """Twice the risky answers cost twice; no row is made or lost; the modes are told side by side."""
    once, twice = (stage_of().estimate(Profile(n_risky_responses=n)) for n in (100, 200))
    assert twice.usage["judge"].n_calls == pytest.approx(2 * once.usage["judge"].n_calls)
    assert set(once.usage) == {"base", "guard", "judge"}
    assert stage_of().estimate(PROFILE).after == PROFILE
    assert any("mode 'exact' would take" in said for said in once.assumptions)


def test_coarse_is_estimated_below_stride_below_exact() -> None:
    """Rollouts are the same in all of them; the judge is asked less."""
    modes: list[Mode] = ["coarse", "stride", "exact"]
    calls = [usage_of_row(settings_of(), PROFILE, mode)["judge"].n_calls for mode in modes]
    assert calls == sorted(calls)
    assert calls[0] < calls[2] / 5


def test_compared_rows_are_estimated_in_mode_exact_besides() -> None:
    """They are done twice."""
    plain, compared = stage_of().estimate(PROFILE), stage_of(compare=10).estimate(PROFILE)
    exact = usage_of_row(settings_of(), PROFILE, "exact")["judge"].n_calls
    assert compared.usage["judge"].n_calls - plain.usage["judge"].n_calls == pytest.approx(10 * exact)
