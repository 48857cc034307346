"""Soft labels: by teachers that have not seen a row's family, for the rows where they make sense, and for no others."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardrail.errors import ConfigurationError
from guardrail.training.corpus import read_objects
from guardrail.training.distil.texts import Place, Unit
from guardrail.training.distil.vectors import save_units, text_vectors
from guardrail.training.examples import Source, select_rows
from guardrail.training.settings import load_settings
from guardrail.training.teach import stage
from guardrail.training.teach.members import Lesson, by_vectors, by_words
from guardrail.training.teach.settings import TeachSettings
from tests.training.distil.tiny_encoder import write_encoder

HARMFUL, SAFE = ("stab", "poison", "bomb"), ("garden", "bread", "song")


def _row(i: int, text: str, risk: str | None, **more: Any) -> dict[str, Any]:
    return {
        "id": str(i), "source": "toy", "lang": "en", "risk": risk, "category": [], "unsafe_start_char": None,
        "target": "prompt", "messages": [{"role": "user", "content": text}], **more,
    }  # fmt: skip


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    ends = rng.choice(("cat", "sea", "rain"), 120)
    texts = [f"how to {rng.choice((HARMFUL, SAFE)[i % 2])} the {end} {i}" for i, end in enumerate(ends)]
    found = [_row(i, text, "unsafe" if i % 2 == 0 else "safe") for i, text in enumerate(texts)]
    tool = {"messages": [{"role": "user", "content": "ask"}, {"role": "tool", "content": "stab"}]}
    answer = {"target": "response", "messages": [{"role": "assistant", "content": "walk, then stab"}]}
    return [
        *found,
        _row(200, "how to poison a cat", None),
        _row(201, "x", "unsafe", **tool),
        _row(202, "x", "unsafe", **{**answer, "unsafe_start_char": 6}),
    ]


@pytest.fixture
def write_config(tmp_path: Path, rows: list[dict[str, Any]]) -> Callable[..., Path]:
    encoder = write_encoder(tmp_path / "encoder")
    (tmp_path / "toy.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))

    def write(**changes: Any) -> Path:
        values = {
            "data_dir": str(tmp_path), "output": str(tmp_path / "taught"), "folds": 3, "strength": 10.0,
            "threads": 1, **changes,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        tables = f'[encoder]\nmodel = "{encoder}"\n[sources."toy.jsonl.gz"]\nunlabelled = true\n'
        path = tmp_path / "teach.toml"
        path.write_text("\n".join([*lines, tables]))
        return path

    return write


@pytest.mark.parametrize("members", [["words"], ["encoder"], ["words", "encoder"]])
def test_teachers_tell_harm_in_rows_they_have_not_seen(
    write_config: Callable[..., Path], tmp_path: Path, rows: list[dict[str, Any]], members: list[str]
) -> None:
    """The soft labels rank all rows rightly, the unlabelled one too, and the figures say so."""
    stage.main(write_config(members=members))
    written = list(read_objects(tmp_path / "taught" / "toy.jsonl.gz"))
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    harm = [1 - row["meta"]["teacher"][0] for row in written[:121]]
    assert min(harm[0:120:2]) > max(harm[1:120:2])
    assert harm[120] > 0.5
    figures = json.loads((tmp_path / "taught" / "teachers.json").read_text())
    assert figures["prompt"]["all"]["all sources"] == 1.0
    assert set(figures["prompt"]) == {*members, "all"}


def test_places_and_tool_results_have_no_soft_label(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Where a few words decide, or where the label says more than a whole answer's probability, teachers are silent;
    what is written is still data of the recipe.
    """
    config = write_config(members=["words"])
    stage.main(config)
    written = list(read_objects(tmp_path / "taught" / "toy.jsonl.gz"))
    assert ["teacher" in (row.get("meta") or {}) for row in written[-3:]] == [True, False, False]
    settings = load_settings(config, TeachSettings)
    source = settings.sources["toy.jsonl.gz"]
    assert len(select_rows(tmp_path / "taught" / "toy.jsonl.gz", source, 1)) == len(written)


def test_no_row_is_taught_by_a_teacher_that_saw_its_family() -> None:
    """Rows of a family that carry wrong labels do not teach each other: with random labels, soft labels are no better
    than chance, although families repeat.
    """
    rng = np.random.default_rng(0)
    kept = [
        stage.Taught("f", _row(i, f"{i // 4} walk {i // 4}", str(rng.choice(["safe", "unsafe"]))))
        for i in range(0, 400, 4)
    ]
    rows = [one for one in kept for _ in range(4)]
    settings = TeachSettings(Path(), {}, Path(), members=("words",), folds=4)
    _, figures = stage.teach(rows, settings)
    assert 0.3 < figures["prompt"]["words"]["all sources"] < 0.7


def test_members_learn_only_from_the_rows_they_are_given() -> None:
    """A teacher's answer does not change with the label of a row that it is asked about."""
    texts = ["bad thing", "good thing", "bad day", "good day"] * 5
    levels = np.array([2, 0, 2, 0] * 5)
    vectors = np.array([[1, 0], [0, 1], [1, 0.2], [0.1, 1]] * 5, np.float32)
    learned, asked = np.arange(16), np.arange(16, 20)
    changed = np.where(np.arange(20) < 16, levels, 0)
    lessons = [Lesson(texts, one, np.ones(20, np.float32), vectors) for one in (levels, changed)]
    words = [by_words(lesson, learned, asked) for lesson in lessons]
    read = [by_vectors(lesson, learned, asked, 1.0) for lesson in lessons]
    assert np.array_equal(words[0], words[1])
    assert np.array_equal(read[0], read[1])


def test_texts_of_a_distillation_are_taught_where_they_stand(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Those that labelled rows say something about are left out. Those of plain documents count as Safe, and teachers
    soften that; of answers no row says anything, so they have no soft label. The distillation's vectors are taken.
    """
    folder = tmp_path / "distil"
    folder.mkdir()
    units = [
        Unit("how to poison a cat", Place.PROMPT),
        Unit("how to stab the sea", Place.PROMPT),
        Unit("how to poison the bread", Place.PROMPT, is_plain=True),
        Unit("how to song the garden", Place.PROMPT, is_plain=True),
        Unit("a song", Place.ANSWER, is_plain=True),
    ]
    save_units(units, folder / "units.jsonl")
    config = write_config(units=str(folder))
    encoder = load_settings(config, TeachSettings).encoder
    assert encoder
    text_vectors([unit.text for unit in units], encoder, folder / "vectors")
    kept = [path.read_bytes() for path in folder.rglob("*.npy")]
    stage.main(config)
    assert [path.read_bytes() for path in folder.rglob("*.npy")] == kept, "found again by what they hold"
    *prompts, answer = read_objects(tmp_path / "taught" / stage.UNITS)
    assert [(row["messages"], row["risk"]) for row in prompts] == [
        ([{"role": "user", "content": unit.text}], "safe" if unit.is_plain else None) for unit in units[1:4]
    ]
    harm = [1 - row["meta"]["teacher"][0] for row in prompts]
    assert harm[0] > 0.5
    assert harm[1] > harm[2]
    assert (answer["target"], answer["messages"][0]["role"], answer.get("meta")) == ("response", "assistant", None)
    assert len(select_rows(tmp_path / "taught" / stage.UNITS, Source(unlabelled=True), 1)) == 4


def test_what_a_safe_answer_answers_is_known() -> None:
    """Its label says that the request is harmless too; that of a harmful answer says nothing of the request."""
    messages = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}]
    known = [
        stage.Taught("f", _row(0, "", risk, target="response", messages=messages)).known for risk in ("safe", "unsafe")
    ]
    assert known == [["ask", "say"], ["say"]]


def test_a_distillation_that_was_never_run_is_named(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """The error says which file is missing, and nothing is written."""
    with pytest.raises(ConfigurationError, match=r"units\.jsonl does not exist"):
        stage.main(write_config(units=str(tmp_path / "nowhere")))
    assert not (tmp_path / "taught").exists()


def test_the_encoder_must_be_named(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """A member that reads vectors without an encoder is refused before anything is read."""
    config = write_config()
    config.write_text(
        config.read_text().replace("[encoder]", "[other]").replace("[other]\n", "").replace('model = "', '# "')
    )
    with pytest.raises(ConfigurationError, match=r"needs an \[encoder\]"):
        stage.main(config)
