"""The stage over toy rows: borderline ones are found, people's labels stay, and nothing depends on chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from guardrail.audit.pages.figures import Lines, Matrix, Summary, Table
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.controversial.mining import mine
from guardrail.training.controversial.report import summarise
from guardrail.training.controversial.settings import ControversialSettings
from guardrail.training.controversial.stage import ControversialStage, make
from guardrail.training.learners.changing import Changes
from guardrail.training.learners.crossing import survey
from guardrail.training.learners.learning import open_learner
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings, load_recipe
from guardrail.training.recipe.stage import OUTPUT, Profile
from tests.training.learners.toy import Held, nobody, people_say, silent, toy_rows
from tests.training.recipe_job import MemoryJob

RECIPE = RecipeSettings(Path("out"))
SHARES = (0.6, 0.7, 0.8)
SWAPPED = {RiskLevel.SAFE: RiskLevel.UNSAFE, RiskLevel.UNSAFE: RiskLevel.SAFE}


def settings_of(**changes: object) -> ControversialSettings:
    """Three shares, and as many conflicts as there are borderline rows."""
    return ControversialSettings(**{"safe_shares": SHARES, "most_controversial": 0.35, **changes})  # type: ignore[arg-type]  # names of fields


def run(rows: list[RecipeRow], folder: Path, **changes: object) -> tuple[list[RecipeRow], Summary]:
    """Run the stage; return its rows and its report."""
    job = MemoryJob(rows, folder, nobody)
    summary = make(settings_of(**changes), RECIPE).run(job)
    return job.output, summary


def mixed() -> list[RecipeRow]:
    """Prompts and answers, a few with people's labels, some without any."""
    rows = [*toy_rows(240), *toy_rows(240, seed=1, target=Direction.RESPONSE)]
    rows = [people_say(row) if i % 6 > 3 and i % 7 == 0 else row for i, row in enumerate(rows)]
    return [replace(row, risk=None, is_human=False) if i % 31 == 0 else row for i, row in enumerate(rows)]


def rate_of(rows: list[RecipeRow]) -> tuple[float, float]:
    """Share of the mined rows that are borderline, and of the borderline ones that are mined."""
    mined = {row.id for row in rows if row.risk is RiskLevel.CONTROVERSIAL}
    borderline = {row.id for row in rows if row.meta["kind"] == "Controversial"}
    return len(mined & borderline) / max(1, len(mined)), len(mined & borderline) / len(borderline)


def test_borderline_rows_become_controversial(tmp_path: Path) -> None:
    """A third of the rows is borderline; most of what is found is, and half of it is found."""
    rows, summary = run(toy_rows(450), tmp_path)
    precision, recall = rate_of(rows)
    assert precision > 0.8
    assert recall > 0.5
    assert summary.values["changed"] == sum("mined" in row.meta for row in rows)


def test_permuted_labels_find_nothing(tmp_path: Path) -> None:
    """The control: where labels say nothing of the text, mined rows are borderline as often as any."""
    rows = toy_rows(450)
    dealt = np.random.default_rng(0).permutation(len(rows))
    found, _ = run([replace(row, risk=rows[i].risk) for row, i in zip(rows, dealt, strict=True)], tmp_path)
    assert rate_of(found)[0] == pytest.approx(1 / 3, abs=0.12)


def test_only_labelled_rows_of_no_person_change_and_say_what_they_were(tmp_path: Path) -> None:
    """All rows are handed on, in order; a changed one notes its label and both probabilities."""
    before = mixed()
    after, summary = run(before, tmp_path)
    assert [row.id for row in after] == [row.id for row in before]
    n_changed = dict.fromkeys(Direction, 0)
    for old, new in zip(before, after, strict=True):
        if new == old:
            continue
        assert not old.is_human
        assert old.risk is not None
        assert new.risk is RiskLevel.CONTROVERSIAL
        note = new.meta["mined"]
        assert note["from"] == old.risk.value.lower()
        assert note["loose"] < 0.5 <= note["strict"]
        assert new.categories == old.categories
        n_changed[old.target] += 1
    assert n_changed[Direction.PROMPT] > 20
    assert n_changed[Direction.RESPONSE] > 20
    assert summary.values["prompt"]["changed"] == n_changed[Direction.PROMPT]


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    """Byte for byte, and the same report."""
    reports = [run(mixed(), tmp_path / name)[1] for name in ("one", "two")]
    files = [sorted((tmp_path / name / OUTPUT).glob("*.parquet")) for name in ("one", "two")]
    assert len(files[0]) == len(files[1]) == 48
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    assert reports[0] == reports[1]


def test_the_middle_may_be_that_of_the_rows() -> None:
    """Where most rows are Safe, shares around the rows leave more of them Safe than shares around even weights."""
    rows = [row for i, row in enumerate(toy_rows(900)) if row.risk is RiskLevel.SAFE or i % 5 == 0]
    mean = []
    for around in ("even", "rows"):
        settings = settings_of(safe_shares=(0.6,), around=around)
        learner = open_learner(settings.learner, Path(), 1)
        found = mine(Direction.PROMPT, held := Held(rows), survey(held, settings.salt), learner, settings, silent)
        assert found is not None
        mean.append((float(found.loose.mean()), float(found.strict.mean())))
    assert mean[1][0] < mean[1][1] < mean[0][0] < mean[0][1]


def test_another_salt_draws_other_halves(tmp_path: Path) -> None:
    """And so other rows are found, though most of them are the same."""
    found = [
        {row.id for row in run(toy_rows(450), tmp_path / salt, salt=salt)[0] if "mined" in row.meta} for salt in "ab"
    ]
    assert found[0] != found[1]
    assert len(found[0] & found[1]) > len(found[0] | found[1]) / 2


def test_swapping_safe_and_unsafe_swaps_the_votes() -> None:
    """Loose and strict mirror each other: the rows in conflict are the same, the others change sides."""
    rows = toy_rows(300)
    mirrored = Held(replace(row, risk=SWAPPED[row.risk]) for row in rows if row.risk)
    settings = settings_of(safe_shares=(0.7,))
    levels = []
    for some in (rows, mirrored):
        learner = open_learner(settings.learner, Path(), 1)
        found = mine(Direction.PROMPT, some, survey(some, settings.salt), learner, settings, silent)
        assert found is not None
        levels.append(found.votes.level)
    assert (levels[0] == 2 - levels[1]).mean() > 0.99


def test_people_choose_the_share_where_they_label_all_three_levels(tmp_path: Path) -> None:
    """By macro F1 on their rows; the whole search is reported, with the chosen place marked."""
    rows = [people_say(row) if i % 2 else row for i, row in enumerate(toy_rows(600))]
    _, summary = run(rows, tmp_path)
    values = summary.values["prompt"]
    assert (values["objective"], len(values["curve"])) == ("macro_f1", 3)
    best = max(values["curve"], key=lambda point: point["macro_f1"])
    assert values["safe_share"] == best["safe_share"]
    assert values["macro_f1"] > 0.8
    lines = next(f for f in summary.figures if isinstance(f, Lines))
    assert lines.marks == {"chosen": best["safe_share"]}
    assert {"macro f1", "f1 controversial", "conflict", "crossed"} <= set(lines.series)
    assert summary.warnings == ()


def test_without_people_a_cap_on_conflicts_chooses(tmp_path: Path) -> None:
    """And the report warns that nobody measured it."""
    _, summary = run(toy_rows(300), tmp_path, most_controversial=0.0)
    assert summary.values["prompt"]["objective"] == "share"
    assert summary.values["prompt"]["safe_share"] == SHARES[0]
    assert any("people's labels lack" in warning for warning in summary.warnings)
    assert any("more than 0% conflicts" in warning for warning in summary.warnings)


def test_an_f1_without_people_s_labels_is_refused(tmp_path: Path) -> None:
    """Rather than taking whichever share comes first; with one share there is nothing to choose."""
    with pytest.raises(ConfigurationError, match="people's labels of prompts lack 20 rows"):
        run(toy_rows(300), tmp_path, objective="macro_f1")
    _, summary = run(toy_rows(300), tmp_path / "one", objective="macro_f1", safe_shares=(0.7,))
    assert summary.values["prompt"]["objective"] == "given"


def test_a_cap_that_was_asked_for_is_not_warned_of(tmp_path: Path) -> None:
    """Though people's labels would allow the F1, or would not."""
    rows = [people_say(row) if i % 2 else row for i, row in enumerate(toy_rows(600))]
    for name, some in (("all", rows), ("none", toy_rows(300))):
        _, summary = run(some, tmp_path / name, objective="share")
        assert (summary.values["prompt"]["objective"], summary.warnings) == ("share", ())


def test_a_search_by_fine_tuning_is_refused(tmp_path: Path) -> None:
    """Eight shares would be dozens of runs; three are let through to the check of the checkpoint."""
    sft = LearnerSettings("sft", start=tmp_path)
    with pytest.raises(ConfigurationError, match="8 safe_shares are 64 fine-tunings"):
        make(ControversialSettings(learner=sft), RECIPE)
    with pytest.raises(ConfigurationError, match="checkpoint"):
        make(settings_of(learner=sft), RECIPE)


def test_the_vote_may_set_labels_and_clear_what_no_longer_holds(tmp_path: Path) -> None:
    """With `agreed` = "vote" a mislabelled row takes the level both agree on."""
    rows = [
        replace(row, risk=RiskLevel.UNSAFE, categories=("Violent",)) if i < 30 and row.meta["kind"] == "Safe" else row
        for i, row in enumerate(toy_rows(450))
    ]
    kept, summary = run(rows, tmp_path / "keep")
    voted, _ = run(rows, tmp_path / "vote", agreed="vote")
    wrong = [i for i, row in enumerate(rows) if row.meta["kind"] == "Safe" and row.risk is RiskLevel.UNSAFE]
    assert sum(kept[i].risk is RiskLevel.SAFE for i in wrong) == 0
    assert sum(voted[i].risk is RiskLevel.SAFE for i in wrong) >= 8
    assert all(not row.categories for row in voted if row.risk is RiskLevel.SAFE)
    assert summary.values["prompt"]["agreed_against_label"] >= 8


def test_rows_already_controversial_teach_neither_and_are_kept(tmp_path: Path) -> None:
    """They are what is looked for."""
    rows = [
        replace(row, risk=RiskLevel.CONTROVERSIAL) if row.meta["kind"] == "Controversial" and i % 2 else row
        for i, row in enumerate(toy_rows(300))
    ]
    after, _ = run(rows, tmp_path)
    assert all(new == old for old, new in zip(rows, after, strict=True) if old.risk is RiskLevel.CONTROVERSIAL)


def test_too_few_rows_of_a_level_change_nothing_and_are_named(tmp_path: Path) -> None:
    """A kind of rows that cannot be learned passes through; the other one is voted on."""
    rows = [*toy_rows(240), *toy_rows(30, target=Direction.RESPONSE)]
    after, summary = run(rows, tmp_path)
    assert after[240:] == rows[240:]
    assert "prompt" in summary.values
    assert "response" not in summary.values
    assert any(warning.startswith("responses: fewer than 20 Safe or Unsafe rows") for warning in summary.warnings)


def test_no_rows_at_all_are_no_error(tmp_path: Path) -> None:
    """An empty recipe stays empty."""
    assert run([], tmp_path) == ([], Summary({"changed": 0}))


@pytest.mark.parametrize(("crossed", "is_warned_of"), [(0.0, False), (0.01, False), (0.02, True)])
def test_crossed_conflicts_are_warned_of(crossed: float, is_warned_of: bool) -> None:
    """Above one in a hundred; by weights alone there are none."""
    rows, settings = toy_rows(240), settings_of(safe_shares=(0.6,))
    learner = open_learner(settings.learner, Path(), 1)
    found = mine(Direction.PROMPT, rows, survey(rows, settings.salt), learner, settings, silent)
    assert found is not None
    assert found.chosen.crossed == 0
    worse = replace(found, chosen=replace(found.chosen, crossed=crossed))
    warnings = summarise([worse], [], Changes(), settings).warnings
    assert any("votes are crossed" in warning for warning in warnings) == is_warned_of


def test_the_report_shows_labels_against_votes_and_changes_by_group(tmp_path: Path) -> None:
    """Numbers of the matrix are the rows; every source has a line."""
    after, summary = run(toy_rows(300), tmp_path)
    matrix = next(f for f in summary.figures if isinstance(f, Matrix))
    assert sum(map(sum, matrix.values)) == 300
    by_source = next(f for f in summary.figures if isinstance(f, Table) and f.columns[0] == "source")
    assert sum(int(row[2] or 0) for row in by_source.rows) == summary.values["changed"]
    assert {row[0] for row in by_source.rows} == {row.source for row in after}


@pytest.mark.parametrize("changes", [{"safe_shares": ()}, {"targets": ()}])
def test_a_search_over_nothing_is_refused(changes: dict[str, object]) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match="at least one"):
        make(settings_of(**changes), RECIPE)


@pytest.mark.parametrize(
    "line", ["safe_shares = [0.4]", "safe_shares = [1.0]", 'targets = ["answer"]', "least_rows = 0"]
)
def test_settings_beyond_their_range_are_refused(line: str, tmp_path: Path) -> None:
    """A share below one half would make the loose classifier the strict one."""
    (tmp_path / "recipe.toml").write_text(f'output = "o"\n[controversial]\n{line}\n')
    with pytest.raises(ConfigurationError, match="controversial"):
        load_recipe(tmp_path / "recipe.toml")


def test_it_costs_no_calls() -> None:
    """The estimate hands the profile on."""
    stage = make(settings_of(), RECIPE)
    profile = Profile(n_prompts=5)
    assert (stage.estimate(profile).usage, stage.estimate(profile).after) == ({}, profile)
    assert isinstance(stage, ControversialStage)
    assert (stage.name, stage.models, dict(stage.materials)) == ("controversial", (), {})
