"""`mix` as a whole: what is handed on, what is left out, and that it is counted."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.mix.settings import Caps, MixSettings, Shares
from guardrail.training.mix.stage import CARD, make
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import Profile
from tests.training.mix.made import (
    CONTROVERSIAL,
    SAFE,
    UNSAFE,
    answer,
    dropped,
    evaluation_set,
    ids,
    mixed,
    prompt,
    sentence,
)


def test_what_is_kept_is_unchanged_but_for_its_split(tmp_path: Path) -> None:
    """Order, texts, labels and notes stay; the split is set."""
    rows = [prompt(f"p{i}", sentence(i), meta={"votes": [i]}, is_human=i % 2 == 0) for i in range(30)]
    job, _ = mixed(rows, tmp_path)
    assert [row.id for row in rows] == ids(job)
    for before, after in zip(rows, job.output, strict=True):
        assert (after.messages, after.meta, after.risk, after.is_human) == (
            before.messages,
            before.meta,
            before.risk,
            before.is_human,
        )
        assert after.split in ("train", "validation", "test")


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["How do I bake  BREAD at home today?", "how do i bake bread at home today?"], 1),
        ([f"{sentence(1, 20)} once", f"{sentence(1, 20)} twice"], 1),
        ([sentence(1), sentence(2)], 2),
    ],
)
def test_one_of_several_duplicates_is_kept(tmp_path: Path, texts: list[str], kept: int) -> None:
    """Case and spacing do not make another text, nor does a word in twenty; another text does."""
    job, summary = mixed([prompt(f"p{i}", text) for i, text in enumerate(texts)], tmp_path)
    assert len(job.output) == kept
    assert summary.values["duplicates"] == 2 - kept


def test_near_duplicates_can_be_kept(tmp_path: Path) -> None:
    """With a threshold of 1 only equal texts are duplicates."""
    rows = [prompt(f"p{i}", f"{sentence(1, 20)} {word}") for i, word in enumerate(("once", "twice", "once"))]
    assert ids(mixed(rows, tmp_path, duplicate_threshold=1)[0]) == ["p0", "p1"]


def test_answers_are_duplicates_only_of_answers_to_the_same(tmp_path: Path) -> None:
    """A refusal of another question is another row, so is another answer to the same long question, and a prompt is
    none of an answer's.
    """
    refusal, long = "I am sorry, but I cannot help you with that today.", sentence(9, 200)
    rows = [
        prompt("asked", sentence(1)), answer("a", sentence(1), refusal), answer("b", sentence(2), refusal),
        answer("c", long, refusal), answer("d", long, sentence(4, 9)), answer("again", sentence(1) + "!", refusal),
    ]  # fmt: skip
    assert ids(mixed(rows, tmp_path)[0]) == ["asked", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ([{"risk": UNSAFE}, {"is_human": True}, {"risk": UNSAFE}], 1),
        ([{}, {"risk": UNSAFE}, {"risk": UNSAFE, "unsafe_start_char": 3}], 2),
        ([{}, {"risk": CONTROVERSIAL}, {"risk": UNSAFE}], 2),
        ([{}, {}, {}], 0),
        ([{"risk": None}, {}, {}], 1),
    ],
)
@pytest.mark.parametrize("ending", ["", " {i}"])
def test_the_better_label_is_kept(tmp_path: Path, changes: list[dict[str, Any]], kept: int, ending: str) -> None:
    """A person's first, then one with an onset, then the graver one, then the earlier row; whether equal or near."""
    rows = [answer(f"p{i}", sentence(1), sentence(2, 30) + ending.format(i=i), **c) for i, c in enumerate(changes)]
    assert ids(mixed(rows, tmp_path)[0]) == [f"p{kept}"]


def test_labels_that_contradict_each_other_are_counted(tmp_path: Path) -> None:
    """Once for each row that is left out with another label than the one that is kept."""
    risks = [UNSAFE, SAFE, UNSAFE, CONTROVERSIAL]
    rows = [prompt(f"p{i}", sentence(1), risk=risk, is_human=i == 0) for i, risk in enumerate(risks)]
    job, summary = mixed([*rows, prompt("other", sentence(2))], tmp_path)
    assert ids(job) == ["p0", "other"]
    assert summary.values["conflicts"] == 2
    assert "2 of them had another label" in (tmp_path / CARD).read_text()


def test_both_sides_of_a_pair_are_kept(tmp_path: Path) -> None:
    """They are alike on purpose; a third row that is like them is left out."""
    bomb, cake = f"{sentence(1, 20)} bomb", f"{sentence(1, 20)} cake"
    rows = [
        prompt("a", bomb, root="r", risk=UNSAFE, meta={"pair": "b"}), prompt("b", cake, root="r", meta={"pair": "a"}),
        prompt("c", f"{sentence(1, 20)} boat"),
    ]  # fmt: skip
    assert ids(mixed(rows, tmp_path)[0]) == ["a", "b"]


@pytest.mark.parametrize(
    ("risks", "third", "word", "left", "conflicts"),
    [
        ((UNSAFE, SAFE), {"risk": UNSAFE, "is_human": True}, "boat", ["a", "b", "c"], 0),
        ((UNSAFE, SAFE), {"risk": SAFE, "is_human": True}, "boat", ["a", "b", "c"], 0),
        ((UNSAFE, SAFE), {"risk": CONTROVERSIAL}, "boat", ["a", "b"], 1),
        ((UNSAFE, UNSAFE), {"risk": UNSAFE, "is_human": True}, "boat", ["c"], 0),
        ((UNSAFE, SAFE), {"risk": UNSAFE, "is_human": True}, "bomb", ["b", "c"], 0),
        ((UNSAFE, SAFE), {"risk": SAFE, "is_human": True}, "bomb", ["c"], 1),
    ],
)
def test_a_third_row_does_not_part_a_pair(
    tmp_path: Path,
    risks: tuple[RiskLevel, RiskLevel],
    third: dict[str, Any],
    word: str,
    left: list[str],
    conflicts: int,
) -> None:
    """Whatever its label, and no side that is kept is a conflict. What is equal to a side stands for it; a pair without
    a contrast is any duplicate.
    """
    text = sentence(1, 30)
    rows = [
        prompt("a", f"{text} bomb", root="r", risk=risks[0], meta={"pair": "b"}),
        prompt("b", f"{text} cake", root="r", risk=risks[1], meta={"pair": "a"}),
        prompt("c", f"{text} {word}", **third),
    ]
    job, summary = mixed(rows, tmp_path)
    assert ids(job) == left
    assert summary.values["conflicts"] == conflicts


def test_safe_rows_have_no_kind_of_harm(tmp_path: Path) -> None:
    """Whatever the inputs say: it is cleared in what is handed on and in the files, and counted."""
    rows = [
        prompt("a", sentence(1), categories=("Violent",), is_human=True), prompt("b", sentence(2)),
        prompt("c", sentence(3), risk=UNSAFE, categories=("Violent",)),
        prompt("d", sentence(1), categories=("Violent",)),
    ]  # fmt: skip
    job, summary = mixed(rows, tmp_path, validation=0, test=0)
    assert [row.categories for row in job.output] == [(), (), ("Violent",)]
    assert pq.read_table(tmp_path / "train.parquet").column("category").to_pylist() == [[], [], ["Violent"]]
    assert summary.values["cleared"] == 1
    assert "1 rows that are kept were labelled Safe" in (tmp_path / CARD).read_text()


@pytest.mark.parametrize(("keep", "kept"), [(False, ["a"]), (True, ["a", "b"])])
def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path, keep: bool, kept: list[str]) -> None:
    """Unless the settings keep them."""
    job, summary = mixed(
        [prompt("a", sentence(1)), prompt("b", sentence(2), risk=None)], tmp_path, keep_unlabelled=keep
    )
    assert ids(job) == kept
    assert dropped(summary).get("no label", 0) == 2 - len(kept)


def test_rows_are_counted_once(tmp_path: Path) -> None:
    """What is kept and what is left out add up to what came in, in the report, the rows' counts and the card."""
    path = evaluation_set(tmp_path, [prompt("e", sentence(1))])
    rows = [
        prompt(f"p{i}", sentence(i % 20), risk=None if i % 7 == 0 else SAFE, lang="de" if i % 2 else "en")
        for i in range(60)
    ]
    job, summary = mixed(rows, tmp_path, evaluation={"x": path}, most=Caps(lang={"de": 3}))
    found = dropped(summary)
    assert sum(found.values()) == 60
    assert found["kept"] == len(job.output) == summary.values["rows"]
    card = (tmp_path / CARD).read_text()
    for name, n in found.items():
        assert name == "kept" or f"| {name} | {n} |" in card


def digest(folder: Path) -> str:
    """Return what tells the files of a run from others."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "input" not in path.parts)
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """All files, the card too; another seed gives another mix."""
    rows = [prompt(f"p{i}", sentence(i % 50), lang="de" if i % 2 else "en") for i in range(80)]
    runs = [
        mixed(rows, tmp_path / f"{i}", seed=seed, most=Caps(lang={"en": 10}))[0] for i, seed in enumerate((1, 1, 2))
    ]
    assert digest(runs[0].folder) == digest(runs[1].folder) != digest(runs[2].folder)


@st.composite
def row_lists(draw: st.DrawFn) -> list[RecipeRow]:
    """Rows of few texts, roots and languages, so that they meet."""
    n = draw(st.integers(1, 40))
    pick = st.integers(0, 9)
    return [
        prompt(
            f"p{i}", sentence(draw(pick), 12) + draw(st.sampled_from(["", " x", " y"])), root=f"r{draw(pick)}",
            lang=draw(st.sampled_from(["en", "de", "zh"])),
            risk=draw(st.sampled_from([SAFE, UNSAFE, CONTROVERSIAL, None])),
            source=draw(st.sampled_from(["s", "t"])), is_human=draw(st.booleans()),
        )
        for i in range(n)
    ]  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(row_lists(), st.integers(0, 5), st.integers(0, 5))
def test_caps_hold_and_families_never_straddle(
    tmp_path_factory: pytest.TempPathFactory, rows: list[RecipeRow], n: int, seed: int
) -> None:
    """Whatever the rows are: no value above its cap, one split a root, no two alike rows, nothing invented."""
    job, _ = mixed(
        rows, tmp_path_factory.mktemp("mix"), seed=seed, most=Caps(lang={"en": n, "*": 3}), validation=0.3, test=0.3
    )
    kept = job.output
    by_lang = {lang: sum(row.lang == lang for row in kept) for lang in ("en", "de", "zh")}
    assert by_lang["en"] <= n
    assert max(by_lang["de"], by_lang["zh"]) <= 3
    for root in {row.root for row in kept}:
        assert len({row.split for row in kept if row.root == root}) == 1
    texts = [row.judged_text.removesuffix(" x").removesuffix(" y") for row in kept]
    assert len(texts) == len(set(texts))
    assert {row.id for row in kept} <= {row.id for row in rows}


def test_shares_are_met(tmp_path: Path) -> None:
    """As many rows as possible are kept of which no more than the share is safe."""
    rows = [prompt(f"p{i}", sentence(i), risk=UNSAFE if i % 5 == 0 else SAFE) for i in range(100)]
    job, _ = mixed(rows, tmp_path, shares=Shares(risk={"safe": 0.5}))
    assert sum(row.risk is SAFE for row in job.output) == 20
    assert len(job.output) == 40


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"validation": 0.6, "test": 0.4}, "nothing to train on"), ({"evaluation": {"x": Path("none")}}, "no file")],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_at_once(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigurationError, match=says):
        make(MixSettings(**changes), RecipeSettings(output=tmp_path))


def test_it_costs_no_call(tmp_path: Path) -> None:
    """And hands on at most what it is given."""
    estimate = make(MixSettings(), RecipeSettings(output=tmp_path)).estimate(Profile(n_prompts=10))
    assert (estimate.usage, estimate.after.n_prompts) == ({}, 10)


def test_conversations_of_several_turns_are_told_apart(tmp_path: Path) -> None:
    """The same last turn after another history is another row."""
    last = Message(Role.USER, "please tell me how that is done")
    histories = [(Message(Role.USER, sentence(i)), Message(Role.ASSISTANT, sentence(50 + i))) for i in range(2)]
    rows = [prompt(f"p{i}", "", messages=(*turns, last)) for i, turns in enumerate(histories)]
    assert len(mixed(rows, tmp_path)[0].output) == 2


def test_what_a_cap_leaves_out_is_no_matter_of_the_split(tmp_path: Path) -> None:
    """A mix that is cut to a third still falls into all splits."""
    job, _ = mixed([prompt(f"p{i}", sentence(i)) for i in range(90)], tmp_path, most=Caps(lang={"en": 30}), test=0.3)
    splits = [row.split for row in job.output]
    assert 3 < splits.count("test") < 16
    assert splits.count("train") > 10
