"""Before the training: counts and doubts, the parts of the rows, and the checkpoint to start from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.checkpoint import Checkpoint
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row
from guardrail.onnx_export import export_checkpoint
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.training.own.mixing import mixed
from guardrail.training.own.settings import OwnSettings, begin
from guardrail.training.own.splitting import Part, split
from guardrail.training.own.starting import write_start
from guardrail.training.own.survey import Survey
from tests.tiny import write_tiny, write_tiny_gen

SHARES = {Part.HELD_OUT: 0.2, Part.THRESHOLDS: 0.1}
NAMES = {Direction.PROMPT: ("Advice", "Violent"), Direction.RESPONSE: ()}


def row(number: int, text: str, risk: RiskLevel = RiskLevel.SAFE, category: str = "") -> Row:
    """A prompt."""
    named = (category,) if category else ()
    return Row(f"r{number}", "test", "en", (Message(Role.USER, text),), Direction.PROMPT, risk, named)


def unlike(number: int) -> str:
    """A text that shares no word with another number's."""
    return " ".join(f"w{number}x{i}" for i in range(6))


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(RiskLevel)), min_size=1, max_size=60), st.integers(0, 3))
def test_every_row_falls_into_one_part_and_families_into_the_same(
    drawn: list[tuple[int, RiskLevel]], seed: int
) -> None:
    """Near duplicates (one word of seven is another) are never on two sides; nothing is lost or doubled."""
    rows = [row(i, f"{unlike(family)} v{i}", risk) for i, (family, risk) in enumerate(drawn)]
    parts = split(rows, SHARES, seed)
    assert sorted(r.id for its in parts.values() for r in its) == sorted(r.id for r in rows)
    sides = [{r.judged_text.split()[0] for r in its} for its in parts.values()]
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])


def test_each_kind_gives_each_part_its_share() -> None:
    """Of 50 unlike rows of each of three kinds; the same ones in every run, others by another seed."""
    kinds = [(RiskLevel.SAFE, ""), (RiskLevel.UNSAFE, "A"), (RiskLevel.UNSAFE, "B")]
    rows = [row(50 * k + i, unlike(50 * k + i), *kind) for k, kind in enumerate(kinds) for i in range(50)]
    parts = split(rows, SHARES, 1)
    assert [len(its) for its in parts.values()] == [105, 15, 30]
    assert [sum(r.categories == ("A",) for r in its) for its in parts.values()] == [35, 5, 10]
    assert split(rows, SHARES, 1) == parts
    assert split(rows, SHARES, 2) != parts


def test_a_survey_tells_what_is_doubtful() -> None:
    """Few rows of a kind, rows without a category, names that look alike, a direction without rows."""
    rows = [row(i, unlike(i)) for i in range(30)]
    rows += [row(100 + i, unlike(100 + i), RiskLevel.UNSAFE, "Medical Advice") for i in range(25)]
    rows += [row(200, unlike(200), RiskLevel.UNSAFE, "medical-advice"), row(201, unlike(201), RiskLevel.UNSAFE)]
    survey = Survey.of(rows)
    told = "\n".join(survey.warnings)
    assert survey.problems == ()
    assert "no answers" in told
    assert "1 unsafe of 'medical-advice'" in told
    assert "25 unsafe" not in told
    assert "1 rows that are not safe name no category" in told
    assert "differ in spelling alone: 'Medical Advice', 'medical-advice'" in told
    assert survey.categories == {
        Direction.PROMPT: ("Medical Advice", "medical-advice"), Direction.RESPONSE: ()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("risk", "n", "what"),
    [
        (RiskLevel.SAFE, 20, "every row is safe"),
        (RiskLevel.UNSAFE, 20, "no row is safe"),
        (RiskLevel.SAFE, 3, "3 usable"),
    ],
)
def test_one_class_or_a_handful_of_rows_is_no_start(risk: RiskLevel, n: int, what: str) -> None:
    """Such a file is a problem as a whole."""
    assert what in " ".join(p.what for p in Survey.of([row(i, unlike(i), risk) for i in range(n)]).problems)


@given(
    st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.sampled_from(RiskLevel)), max_size=30),
    st.integers(0, 9),
)
def test_mixed_rows_are_halves_of_two_of_a_kind(drawn: list[tuple[str, RiskLevel]], seed: int) -> None:
    """One for each row, of its label; every word of it stands in one of the two rows; the same in every run."""
    rows = [row(i, text, risk) for i, (text, risk) in enumerate(drawn)]
    made = mixed(rows, seed)
    assert [one.id for one in made] == [f"{one.id} mixed" for one in rows]
    by_id = {one.id: one for one in rows}
    for one, first in zip(made, rows, strict=True):
        second = by_id[one.meta["mixed_with"]]
        assert one.risk == first.risk == second.risk
        assert one.judged_text.strip()
        assert set(one.judged_text) <= set(first.judged_text) | set(second.judged_text) | {" "}
    assert mixed(rows, seed) == made


def test_mixed_texts_break_the_sentence_and_keep_the_words() -> None:
    """Half of the words of each, side by side."""
    rows = [row(0, "one two three four", RiskLevel.UNSAFE, "A"), row(1, "five six seven eight", RiskLevel.UNSAFE, "B")]
    halves = {"one two", "two three", "three four"}
    (first, _) = mixed(rows, 1)
    words = first.judged_text.split()
    assert {" ".join(words[:2]), " ".join(words[2:])} <= halves


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_the_start_keeps_all_that_it_knew(tmp_path: Path, kind: str) -> None:
    """New names come behind the old ones with rows of zeros; every other tensor is the source's."""
    source = write_tiny(tmp_path / "checkpoint")
    given = source if kind == "checkpoint" else export_checkpoint(source, tmp_path / "export", precision="fp32")
    write_start(str(given), tmp_path / "start", NAMES, only_own=False)
    old, new = Checkpoint.open(source), Checkpoint.open(tmp_path / "start")
    assert new.config.prompt_labels.categories == (*PROMPT_LABELS.categories, "Advice")
    assert new.config.response_labels == RESPONSE_LABELS
    head = new.tensor("query_category_head.weight")
    assert np.array_equal(head[:-1], old.tensor("query_category_head.weight"))
    assert not head[-1].any()
    for name in ("model.embed_tokens.weight", "query_risk_level_head.weight", "category_head.weight"):
        assert np.array_equal(new.tensor(name), old.tensor(name))
    assert (tmp_path / "start" / "tokenizer.json").exists()


def test_only_own_names_keep_the_row_of_a_published_one(tmp_path: Path) -> None:
    """The file's names alone, in its order; "Violent" is still what the source knew of it."""
    source = write_tiny(tmp_path / "checkpoint")
    write_start(str(source), tmp_path / "start", NAMES, only_own=True)
    new = Checkpoint.open(tmp_path / "start")
    assert new.config.prompt_labels.categories == ("Advice", "Violent")
    row_of = PROMPT_LABELS.categories.index("Violent")
    old = Checkpoint.open(source).tensor("query_category_head.weight")[row_of]
    assert np.array_equal(new.tensor("query_category_head.weight")[1], old)


def test_the_embedded_model_is_a_start(tmp_path: Path) -> None:
    """It needs no network and no checkpoint: its export is read back."""
    write_start("default", tmp_path / "start", NAMES, only_own=False)
    assert Checkpoint.open(tmp_path / "start").config.hidden_size == 256


def test_a_generative_start_is_refused(tmp_path: Path) -> None:
    """It has no heads; the message says where to look."""
    with pytest.raises(ConfigurationError, match="sft_gen"):
        write_start(str(write_tiny_gen(tmp_path / "gen")), tmp_path / "start", NAMES, only_own=False)


def test_a_folder_is_gone_on_with_under_the_same_rows_and_settings_alone(tmp_path: Path) -> None:
    """And only when that is asked for."""
    rows, output = tmp_path / "rows.csv", tmp_path / "run"
    rows.write_text("prompt,label\n", "utf-8")
    begin(output, rows, OwnSettings(), resume=False)
    begin(output, rows, OwnSettings(), resume=True)
    with pytest.raises(ConfigurationError, match="--resume"):
        begin(output, rows, OwnSettings(), resume=False)
    with pytest.raises(ConfigurationError, match="other epochs"):
        begin(output, rows, OwnSettings(epochs=3), resume=True)
    rows.write_text("prompt,label\nx,safe\n", "utf-8")
    with pytest.raises(ConfigurationError, match="other rows"):
        begin(output, rows, OwnSettings(), resume=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into it."""
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    rows = tmp_path / "notes.txt"
    with pytest.raises(ConfigurationError, match="something else"):
        begin(tmp_path, rows, OwnSettings(), resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("changes", [{"epochs": 0.0}, {"held_out": 0.6}, {"target_fpr": 0.0}, {"max_length": 10}])
def test_settings_beyond_their_range_are_refused(changes: dict[str, float]) -> None:
    """The setting is named."""
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        OwnSettings(**changes).checked()  # type: ignore[arg-type]  # wrong values are what is tested
