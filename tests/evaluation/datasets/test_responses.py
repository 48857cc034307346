"""Benchmarks of answers: several annotators, two answers, a sample of pairs, refusals from a second file."""

from pathlib import Path
from random import Random

import pytest

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets import DATASETS
from guardrail.taxonomy import Category, RiskLevel
from tests.evaluation.datasets.published import (
    BEAVERTAILS,
    HARMBENCH_RESPONSE,
    SAFE_RLHF,
    XSTEST_REFUSAL,
    XSTEST_RESPONSE,
    Values,
    read,
    write,
)

SAFE, UNSAFE = RiskLevel.SAFE, RiskLevel.UNSAFE


def test_harmbench_takes_the_majority_of_three(tmp_path: Path) -> None:
    """Of the file's one object; a missing vote is no label; what was attacked is told."""
    rows, tally = read("harmbench_response", write(tmp_path / "text_behaviors_val_set.json", HARMBENCH_RESPONSE))
    assert [(row.messages[0].content, row.judged_text, row.risk) for row in rows] == [
        ("Ask", "Told", UNSAFE),
        ("Ask!", "No", SAFE),
    ]
    assert [row.meta["is_adversarial"] for row in rows] == [False, True]
    assert [row.id for row in rows] == ["harmbench_response/1-b0-0", "harmbench_response/1-b0-1"]
    assert tally.n_unlabelled == 1


def test_harmbench_answers_may_be_lines(tmp_path: Path) -> None:
    """As one may have flattened them."""
    flat = [answer for answers in HARMBENCH_RESPONSE.values() for answer in answers]
    rows, _ = read("harmbench_response", write(tmp_path / "a.jsonl", flat))
    assert [row.risk for row in rows] == [UNSAFE, SAFE]


@pytest.mark.parametrize("value", [{"b0": "told"}, {"b0": ["told"]}])
def test_harmbench_of_another_shape_is_a_clear_error(tmp_path: Path, value: Values) -> None:
    """The behaviour is named."""
    with pytest.raises(ConfigurationError, match="row 1: b0: expected a list"):
        read("harmbench_response", write(tmp_path / "a.json", value))


def test_beavertails_has_kinds_of_harm(tmp_path: Path) -> None:
    """Those with a clear meaning; all stay in meta."""
    rows, tally = read("beavertails", write(tmp_path / "round0" / "30k" / "test.jsonl.gz", BEAVERTAILS))
    assert [(row.risk, row.categories) for row in rows] == [(SAFE, ()), (UNSAFE, (Category.UNETHICAL.value,))]
    assert rows[1].meta["category"] == ["hate_speech,offensive_language", "animal_abuse"]
    assert tally.n_unlabelled == 1


def test_beavertails_finds_its_two_releases_in_one_folder(tmp_path: Path) -> None:
    """Each by its own path."""
    write(tmp_path / "round0" / "30k" / "test.jsonl.gz", BEAVERTAILS[:1])
    write(tmp_path / "round0" / "330k" / "test.jsonl.xz", BEAVERTAILS)
    assert [len(read(name, tmp_path)[0]) for name in ("beavertails", "beavertails_330k")] == [1, 2]


def test_safe_rlhf_takes_entries_whose_answers_differ(tmp_path: Path) -> None:
    """Both of them."""
    rows, _ = read("saferlhf", write(tmp_path / "round0" / "test.jsonl.xz", SAFE_RLHF))
    assert [(row.judged_text, row.risk) for row in rows] == [
        ("First 0", SAFE),
        ("Second 0", UNSAFE),
        ("First 2", UNSAFE),
        ("Second 2", SAFE),
        ("First 4", SAFE),
        ("Second 4", UNSAFE),
    ]
    assert [row.id for row in rows[:2]] == ["saferlhf/1-0", "saferlhf/1-1"]


def test_safe_rlhf_samples_as_the_wildguard_evaluation_does(tmp_path: Path) -> None:
    """It draws 1,000 positions among the entries that differ, by seed 42, and takes both answers of each."""
    entries = [{**SAFE_RLHF[n % 5], "prompt": f"Ask {n}"} for n in range(2500)]
    differing = [e["prompt"] for e in entries if e["is_response_0_safe"] != e["is_response_1_safe"]]
    chosen = {differing[i] for i in Random(42).sample(range(len(differing)), 1000)}
    rows, tally = read("saferlhf", write(tmp_path / "test.jsonl", entries))
    assert {row.messages[0].content for row in rows} == chosen
    assert [sum(row.risk is risk for row in rows) for risk in (SAFE, UNSAFE)] == [1000, 1000]
    assert (len(rows), tally.n_lines) == (2000, 2500)


def test_safe_rlhf_of_later_releases_has_kinds_of_harm(tmp_path: Path) -> None:
    """The first has none."""
    later = [{**SAFE_RLHF[0], "response_1_harm_category": {"Cybercrime": True, "Violence": False}}]
    rows, _ = read("saferlhf", write(tmp_path / "test.jsonl", later))
    assert [row.categories for row in rows] == [(), (Category.ILLEGAL_ACTS.value,)]


def test_xstest_answers_learn_refusals_from_the_other_file(tmp_path: Path) -> None:
    """By the same prompt and answer, when a folder holds both."""
    answers = write(tmp_path / "data" / "response_harmfulness-00000-of-00001.parquet", XSTEST_RESPONSE)
    alone, _ = read("xstest_response", tmp_path)
    write(tmp_path / "data" / "response_refusal-00000-of-00001.parquet", XSTEST_REFUSAL[1:])
    both, _ = read("xstest_response", tmp_path)
    assert [row.risk for row in both] == [SAFE, SAFE, UNSAFE]
    assert [row.refusal for row in alone] == [None] * 3
    assert [row.refusal for row in both] == [None, True, False]
    assert [row.refusal for row in read("xstest_response", answers)[0]] == [None] * 3


def test_samples_are_of_pairs_only() -> None:
    """No other set is cut."""
    assert [name for name, dataset in DATASETS.items() if dataset.n_pairs] == ["saferlhf"]
