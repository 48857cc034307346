"""Benchmarks of a message and its answer: each target has its own label, and refusals are told."""

from pathlib import Path

import pytest

from guardrail.conversation import Role
from guardrail.decision import Direction
from guardrail.evaluation.datasets import DATASETS
from guardrail.taxonomy import Category, RiskLevel
from tests.evaluation.datasets.published import AEGIS2, POLYGUARD, WILDGUARD, Values, read, write

SAFE, UNSAFE = RiskLevel.SAFE, RiskLevel.UNSAFE
UNETHICAL = Category.UNETHICAL.value


def test_aegis2_prompts_leave_out_redacted_ones(tmp_path: Path) -> None:
    """Their text lies elsewhere; kinds of harm are of the harmful."""
    rows, tally = read("aegis2", write(tmp_path / "test.json", AEGIS2))
    assert [(row.judged_text, row.risk, row.categories) for row in rows] == [
        ("Tell me of rain", SAFE, ()),
        ("Insult a teapot", UNSAFE, (UNETHICAL,)),
        ("Insult a kettle", UNSAFE, (Category.ILLEGAL_ACTS.value,)),
        ("Insult a cup", UNSAFE, ()),
    ]
    assert tally.n_unlabelled == 2


def test_aegis2_answers_are_those_with_text(tmp_path: Path) -> None:
    """An empty one is nothing to judge; an entry without answer is no part of it."""
    rows, tally = read("aegis2_response", write(tmp_path / "test.json", AEGIS2))
    assert [(row.judged_text, row.risk) for row in rows] == [("It falls.", SAFE), ("You pot!", UNSAFE)]
    assert tally.n_unlabelled == 2


@pytest.mark.parametrize("name", ["wildguard_test.parquet", "wildguard_test.jsonl"])
def test_wildguard_judges_prompts(tmp_path: Path, name: str) -> None:
    """A prompt on which people did not agree has no label."""
    rows, tally = read("wildguardtest", write(tmp_path / name, WILDGUARD))
    assert [(row.risk, row.categories) for row in rows] == [
        (SAFE, ()),
        (UNSAFE, (UNETHICAL,)),
        (UNSAFE, (UNETHICAL,)),
        (UNSAFE, ()),
    ]
    assert all(len(row.messages) == 1 and row.refusal is None for row in rows)
    assert tally.n_unlabelled == 1


def test_wildguard_judges_answers_and_refusals(tmp_path: Path) -> None:
    """The subcategory is the prompt's, so answers have none; no answer is nothing to judge."""
    rows, tally = read("wildguardtest_response", write(tmp_path / "a.parquet", WILDGUARD))
    assert [(row.risk, row.refusal, row.categories) for row in rows] == [
        (SAFE, False, ()),
        (SAFE, True, ()),
        (UNSAFE, False, ()),
    ]
    assert [m.role for m in rows[0].messages] == [Role.USER, Role.ASSISTANT]
    assert rows[2].meta["adversarial"] is True
    assert tally.n_unlabelled == 2


def test_wildguard_without_refusals_has_none(tmp_path: Path) -> None:
    """An optional column may be missing."""
    rows = [{k: v for k, v in row.items() if k != "response_refusal_label"} for row in WILDGUARD]
    found, _ = read("wildguardtest_response", write(tmp_path / "a.jsonl", rows))
    assert [row.refusal for row in found] == [None, None, None]


@pytest.mark.parametrize("name", ["polyguard", "polyguard_response"])
def test_polyguard_has_languages(tmp_path: Path, name: str) -> None:
    """By their codes; every row has an id of its own, and the machine's labels beside people's are passed over."""
    rows, _ = read(name, write(tmp_path / "data" / "test-00000-of-00001.parquet", POLYGUARD))
    assert [row.lang for row in rows] == ["en", "zh", "th"] * 2
    assert len({row.id for row in rows}) == 6
    assert {row.lang for row in rows} <= set(DATASETS[name].languages)
    assert {row.source for row in rows} == {name}
    assert [row.risk for row in rows[:3]] == [SAFE] * 3


@pytest.mark.parametrize("rows", [AEGIS2, WILDGUARD])
def test_both_targets_of_a_set_are_named_apart(tmp_path: Path, rows: list[Values]) -> None:
    """So that no table takes one for the other."""
    first = "aegis2" if rows is AEGIS2 else "wildguardtest"
    path = write(tmp_path / "a.jsonl", rows)
    targets = {name: {row.target for row in read(name, path)[0]} for name in (first, f"{first}_response")}
    assert targets == {first: {Direction.PROMPT}, f"{first}_response": {Direction.RESPONSE}}
