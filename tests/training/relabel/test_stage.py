"""The stage over toy rows with wrong labels: they are found, others stay, and every change is noted."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from guardrail.audit.pages.figures import Matrix, Summary, Table
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings, load_recipe
from guardrail.training.recipe.stage import OUTPUT, Profile
from guardrail.training.relabel.settings import RelabelSettings
from guardrail.training.relabel.stage import make
from tests.training.learners.toy import nobody, toy_rows
from tests.training.recipe_job import MemoryJob

RECIPE = RecipeSettings(Path("out"))
FLIPPED = {RiskLevel.SAFE: RiskLevel.UNSAFE, RiskLevel.UNSAFE: RiskLevel.SAFE}


def run(rows: list[RecipeRow], folder: Path, **changes: object) -> tuple[list[RecipeRow], Summary]:
    """Run the stage; return its rows and its report."""
    job = MemoryJob(rows, folder, nobody)
    summary = make(RelabelSettings(**changes), RECIPE).run(job)  # type: ignore[arg-type]  # names of fields
    return job.output, summary


def clear(n: int = 450, target: Direction = Direction.PROMPT) -> list[RecipeRow]:
    """Rows without the borderline ones."""
    return [row for row in toy_rows(n, target=target) if row.meta["kind"] != "Controversial"]


def noisy(rows: list[RecipeRow], share: float) -> list[RecipeRow]:
    """A share of the labels turned round."""
    chance = Random(0)
    return [replace(row, risk=FLIPPED[row.risk]) if row.risk and chance.random() < share else row for row in rows]


def error_of(rows: list[RecipeRow]) -> float:
    """Share of wrong labels."""
    return sum(row.risk is not RiskLevel(row.meta["kind"]) for row in rows) / len(rows)


@pytest.mark.parametrize("rule", ["confident", "full", "auto"])
def test_wrong_labels_become_fewer(rule: str, tmp_path: Path) -> None:
    """A fifth of them at first; under each rule at most a third of these is left."""
    rows = noisy(clear(), 0.2)
    after, summary = run(rows, tmp_path, rule=rule, margin=0.3)
    assert error_of(rows) > 0.15
    assert error_of(after) < error_of(rows) / 3
    assert summary.values["prompt"]["estimated_noise"] == pytest.approx(error_of(rows), abs=0.08)


def test_clean_labels_stay(tmp_path: Path) -> None:
    """Under the rule that is the default."""
    rows = clear()
    after, summary = run(rows, tmp_path)
    assert summary.values["rule"] == "auto"
    assert error_of(after) < 0.01


def test_permuted_labels_are_hardly_changed_with_confidence(tmp_path: Path) -> None:
    """A teacher of labels that say nothing of the text is sure of nothing."""
    rows = clear()
    labels = [row.risk for row in rows]
    Random(0).shuffle(labels)
    permuted = [replace(row, risk=risk) for row, risk in zip(rows, labels, strict=True)]
    after, _ = run(permuted, tmp_path, rule="confident", margin=0.9)
    assert sum("relabelled" in row.meta for row in after) < 0.02 * len(rows)


def test_people_s_labels_never_change(tmp_path: Path) -> None:
    """They teach, though."""
    rows = [replace(row, is_human=i % 3 == 0) for i, row in enumerate(noisy(clear(), 0.3))]
    after, _ = run(rows, tmp_path, rule="full")
    assert all(new == old for old, new in zip(rows, after, strict=True) if old.is_human)
    assert any(new != old for old, new in zip(rows, after, strict=True))


def test_where_all_labels_are_people_s_nothing_is_taught(tmp_path: Path) -> None:
    """The report says so; the other kind is read."""
    people = [replace(row, is_human=True) for row in clear()]
    answers = noisy(clear(target=Direction.RESPONSE), 0.2)
    after, summary = run([*people, *answers], tmp_path)
    assert after[: len(people)] == people
    assert set(summary.values) == {"response", "changed", "rule"}
    assert summary.warnings == ("prompts: all labels of Safe and Unsafe are people's; there is nothing to change",)
    after, summary = run(people, tmp_path / "alone")
    assert (after, summary.figures, summary.values["changed"]) == (people, (), 0)


def test_every_change_is_noted_and_counted(tmp_path: Path) -> None:
    """Old label, both probabilities; all rows are handed on in order, those without a label as they are."""
    rows = [*noisy(clear(), 0.2), *noisy(clear(target=Direction.RESPONSE), 0.2)]
    rows = [replace(row, risk=None) if i % 17 == 0 else row for i, row in enumerate(rows)]
    after, summary = run(rows, tmp_path, rule="confident", margin=0.3)
    changed = [(old, new) for old, new in zip(rows, after, strict=True) if old != new]
    assert [row.id for row in after] == [row.id for row in rows]
    for old, new in changed:
        note = new.meta["relabelled"]
        assert old.risk is not None
        assert note["from"] == old.risk.value.lower()
        assert note["new"] - note["old"] >= 0.3 - 1e-3
    assert summary.values["changed"] == len(changed)
    assert {row.target for row, _ in changed} == set(Direction) & {Direction.PROMPT, Direction.RESPONSE}


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    """Byte for byte, and the same report."""
    reports = [run(noisy(clear(), 0.2), tmp_path / name)[1] for name in ("one", "two")]
    files = [sorted((tmp_path / name / OUTPUT).glob("*.parquet")) for name in ("one", "two")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    assert reports[0] == reports[1]


def test_the_report_lists_the_surest_changes_by_id_alone(tmp_path: Path) -> None:
    """No text of any row; the surest first; the matrix counts all rows read."""
    rows = noisy(clear(), 0.2)
    after, summary = run(rows, tmp_path, n_listed=5)
    listed = next(f for f in summary.figures if isinstance(f, Table) and f.columns[0] == "id")
    gains = {r.id: r.meta["relabelled"]["new"] - r.meta["relabelled"]["old"] for r in after if "relabelled" in r.meta}
    surest = sorted(gains.values(), reverse=True)[:5]
    assert [row[3] for row in listed.rows] == pytest.approx(surest, abs=2e-4)
    assert [gains[str(row[0])] for row in listed.rows] == pytest.approx(surest, abs=2e-4)
    matrix = next(f for f in summary.figures if isinstance(f, Matrix))
    assert sum(map(sum, matrix.values)) == len(rows)
    assert "poison" not in repr(summary)


def test_three_levels_move_only_where_the_settings_allow(tmp_path: Path) -> None:
    """Here between Safe and Unsafe alone: what was mined stays."""
    rows = [replace(row, risk=RiskLevel(row.meta["kind"])) for row in toy_rows(450)]
    wrong = {
        RiskLevel.SAFE: RiskLevel.UNSAFE,
        RiskLevel.UNSAFE: RiskLevel.CONTROVERSIAL,
        RiskLevel.CONTROVERSIAL: RiskLevel.SAFE,
    }
    chance = Random(1)
    rows = [replace(row, risk=wrong[row.risk]) if row.risk and chance.random() < 0.15 else row for row in rows]
    free, _ = run(rows, tmp_path / "free", rule="full")
    bound, _ = run(rows, tmp_path / "bound", rule="full", may_change=("safe-unsafe",))
    assert error_of(free) < error_of(bound) < error_of(rows)
    pairs = {frozenset((old.risk, new.risk)) for old, new in zip(rows, bound, strict=True) if old.risk is not new.risk}
    assert pairs == {frozenset((RiskLevel.SAFE, RiskLevel.UNSAFE))}


def test_a_level_too_rare_to_be_taught_stays_as_it_is(tmp_path: Path) -> None:
    """Of ten Controversial rows nobody learns what Controversial is."""
    rows = [replace(row, risk=RiskLevel.CONTROVERSIAL) if i < 10 else row for i, row in enumerate(noisy(clear(), 0.2))]
    after, summary = run(rows, tmp_path, rule="full")
    assert after[:10] == rows[:10]
    assert summary.values["prompt"]["levels"] == ["safe", "unsafe"]


def test_too_few_rows_change_nothing_and_are_named(tmp_path: Path) -> None:
    """Answers pass through here."""
    rows = [*noisy(clear(), 0.2), *noisy(clear(30, Direction.RESPONSE), 0.2)]
    after, summary = run(rows, tmp_path)
    assert after[-20:] == rows[-20:]
    assert summary.warnings == ("responses: fewer than two levels have 20 rows in each half; none was read",)


def test_many_changes_are_warned_of(tmp_path: Path) -> None:
    """Either the labels are bad or the teacher is."""
    _, summary = run(noisy(clear(), 0.35), tmp_path, rule="full")
    assert any("of the labels changed" in warning for warning in summary.warnings)


@pytest.mark.parametrize("changes", [{"targets": ()}, {"may_change": ()}])
def test_a_stage_that_may_change_nothing_is_refused(changes: dict[str, object]) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match="at least one"):
        make(RelabelSettings(**changes), RECIPE)  # type: ignore[arg-type]  # names of fields


def test_halves_of_the_mining_stage_are_refused() -> None:
    """The second split is another one: the classifiers that mined a row must not teach about it again."""
    recipe = RecipeSettings(Path("out"), controversial=ControversialSettings(salt="same"))
    with pytest.raises(ConfigurationError, match="same halves"):
        make(RelabelSettings(salt="same"), recipe)
    other = replace(recipe, controversial=ControversialSettings())
    assert make(RelabelSettings(), other).name == "relabel"


@pytest.mark.parametrize("line", ["margin = 1.0", 'may_change = ["unsafe-safe"]', 'rule = "all"'])
def test_settings_beyond_their_range_are_refused(line: str, tmp_path: Path) -> None:
    """By name."""
    (tmp_path / "recipe.toml").write_text(f'output = "o"\n[relabel]\n{line}\n')
    with pytest.raises(ConfigurationError, match="relabel"):
        load_recipe(tmp_path / "recipe.toml")


def test_it_costs_no_calls() -> None:
    """The estimate hands the profile on."""
    profile = Profile(n_prompts=5)
    estimate = make(RelabelSettings(), RECIPE).estimate(profile)
    assert (estimate.usage, estimate.after) == ({}, profile)
