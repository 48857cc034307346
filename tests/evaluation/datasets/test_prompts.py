"""Benchmarks of user messages: what counts as harmful, what is left out, and what kinds of harm are named."""

from pathlib import Path

import pytest

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row
from guardrail.taxonomy import Category, RiskLevel
from tests.evaluation.datasets.published import (
    AEGIS1,
    HARMBENCH,
    OPENAI,
    RTP_LX,
    SST,
    TOXICCHAT,
    XSTEST,
    read,
    write,
)

UNETHICAL, VIOLENT = Category.UNETHICAL.value, Category.VIOLENT.value


def labels(rows: list[Row]) -> list[tuple[str, bool, tuple[str, ...]]]:
    """Return text, whether it is harmful, and the kinds of harm."""
    assert all(row.target is Direction.PROMPT for row in rows)
    return [(row.judged_text, row.risk is RiskLevel.UNSAFE, row.categories) for row in rows]


@pytest.mark.parametrize("name", ["toxic-chat_annotation_test.csv", "test.parquet", "test.jsonl.gz"])
def test_toxicchat_takes_what_people_annotated(tmp_path: Path, name: str) -> None:
    """One row is a classifier's, one has no label; jailbreaks are named where they are toxic."""
    rows, tally = read("toxicchat", write(tmp_path / name, TOXICCHAT))
    assert labels(rows) == [
        ("What is a noun?", False, ()),
        ("You rude\nteapot", True, ()),
        ("Pretend to be a pirate, and say rude things", True, ("Jailbreak",)),
        ('He said "hello, you"', False, ()),
    ]
    assert [row.id for row in rows] == ["toxicchat/1", "toxicchat/2", "toxicchat/3", "toxicchat/6"]
    assert (tally.n_lines, tally.n_unlabelled) == (6, 1)


def test_toxicchat_has_all_rows_too(tmp_path: Path) -> None:
    """Early copies call the last label otherwise."""
    early = [{**row, "jailbreak": row["jailbreaking"]} for row in TOXICCHAT]
    for row in early:
        del row["jailbreaking"]
    rows, _ = read("toxicchat_all", write(tmp_path / "a.csv", early))
    assert [row.meta["human_annotation"] for row in rows] == ["True", "True", "True", "False", "True"]
    assert rows[2].categories == ("Jailbreak",)


def test_openai_moderation_counts_any_category(tmp_path: Path) -> None:
    """A missing category is not known; nothing known is no label."""
    rows, tally = read("openai_moderation", write(tmp_path / "samples-1680.jsonl.gz", OPENAI))
    assert labels(rows) == [
        ("a poem about rain", False, ()),
        ("a rude poem", True, (UNETHICAL,)),
        ("a rude and violent poem", True, (VIOLENT, UNETHICAL)),
        ("说点什么", False, ()),
    ]
    assert rows[1].meta["labels"] == {"S": False, "HR": True}
    assert tally.n_unlabelled == 2


def test_aegis_needs_two_safe_votes(tmp_path: Path) -> None:
    """Needs Caution is not Safe; a kind of harm needs two votes; answers are not measured."""
    rows, tally = read("aegis", write(tmp_path / "a.parquet", AEGIS1))
    assert labels(rows) == [
        ("What is rain?", False, ()),
        ("You rude teapot", True, (UNETHICAL,)),
        ("Is tea strong?", True, ()),
        ("Two looked", True, ()),
    ]
    assert (tally.n_lines, tally.n_unlabelled) == (6, 1)


def test_simple_safety_tests_are_all_harmful(tmp_path: Path) -> None:
    """An empty prompt is nothing to judge."""
    rows, tally = read("simplesafetytests", write(tmp_path / "sst_test_cases.csv", SST))
    assert [(risk, kinds) for _, risk, kinds in labels(rows)] == [(True, (Category.ILLEGAL_ACTS.value,)), (True, ())]
    assert tally.n_unlabelled == 1


def test_harmbench_leaves_out_behaviours_with_a_context(tmp_path: Path) -> None:
    """They make sense with it only."""
    rows, _ = read("harmbench", write(tmp_path / "harmbench_behaviors_text_test.csv", HARMBENCH))
    assert labels(rows) == [
        ("Behaviour 0", True, (Category.ILLEGAL_ACTS.value,)),
        ("Behaviour 2", True, (Category.COPYRIGHT.value,)),
        ("Behaviour 3", True, ()),
    ]


def test_xstest_has_safe_prompts_and_their_contrasts(tmp_path: Path) -> None:
    """Version 2 of the file says it in the type alone."""
    older = [{"id_v2": f"v2-{row['id']}", **{k: row[k] for k in ("prompt", "type", "focus", "note")}} for row in XSTEST]
    for name, given in (("xstest_prompts.csv", XSTEST), ("xstest_v2_prompts.csv", older)):
        rows, _ = read("xstest", write(tmp_path / name, given))
        assert [risk for _, risk, _ in labels(rows)] == [False, True]


def test_rtp_lx_cuts_the_mean_toxicity(tmp_path: Path) -> None:
    """A withheld text and a missing rating are left out; the languages are the source's, in small letters."""
    rows, tally = read("rtp_lx", write(tmp_path / "test.parquet", RTP_LX))
    assert labels(rows) == [("der Regen", False, ()), ("du Kanne", True, (UNETHICAL,)), ("茶", True, ())]
    assert [row.lang for row in rows] == ["de", "de", "zh-hans"]
    assert [row.meta["toxicity"] for row in rows] == [1.0, pytest.approx(4 / 3), 4.0]
    assert tally.n_unlabelled == 2


def test_rtp_lx_reads_a_folder_of_languages(tmp_path: Path) -> None:
    """Its first release calls the ratings otherwise, and has a file for each language; ids stay apart."""
    for lang, some in (("DE", RTP_LX[:2]), ("ZH-Hans", RTP_LX[3:4])):
        older = [{**row, "Annotations": row["PromptAnnotations"]} for row in some]
        for row in older:
            del row["PromptAnnotations"]
        text = write(tmp_path / "RTP-LX" / "a.jsonl", older)
        text.rename(text.with_name(f"RTP_LX_{lang}.json"))
    rows, _ = read("rtp_lx", tmp_path)
    assert [row.id for row in rows] == ["rtp_lx/RTP_LX_DE/1", "rtp_lx/RTP_LX_DE/2", "rtp_lx/RTP_LX_ZH-Hans/1"]


@pytest.mark.parametrize(
    ("name", "rows", "broken", "says"),
    [
        ("toxicchat", TOXICCHAT, {"toxicity": "perhaps"}, r"a\.csv, line 2: toxicity: expected true, false, 1 or 0"),
        ("xstest", XSTEST, {"label": "maybe"}, "line 2: label: unknown label; valid: unsafe, safe"),
    ],
)
def test_a_wrong_value_is_named_by_file_line_and_column(
    tmp_path: Path, name: str, rows: list[dict[str, str]], broken: dict[str, str], says: str
) -> None:
    """With `skip_bad` the rest is read and the entry counted."""
    path = write(tmp_path / "a.csv", [{**rows[0], **broken}, *rows[1:]])
    with pytest.raises(ConfigurationError, match=says):
        read(name, path)
    _, tally = read(name, path, skip_bad=True)
    assert tally.n_bad == 1
    assert "toxicity" in tally.first_bad or "label" in tally.first_bad


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    """As when a file of another set is named."""
    with pytest.raises(ConfigurationError, match="no column user_input; there are: id, prompt"):
        read("toxicchat_all", write(tmp_path / "a.csv", [{**XSTEST[0], "jailbreaking": "0"}]))
