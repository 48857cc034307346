"""Rows for heads with labels of their own, and rows that bring a teacher."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.training.examples import IGNORED, HeadLabels, Source, read_examples, to_example
from tests.training.labelled_rows import answer_row, prompt_row, write

UNSAFE = RESPONSE_LABELS.risks.index(RiskLevel.UNSAFE)


# long: one set of rows, read in every way
def test_a_row_may_bring_its_own_teacher(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """For prompts and answers, in the order of the heads' labels; it goes before the teacher of all rows."""
    said = {"teacher": [0.1, 0.3, 0.6]}
    rows = [
        prompt_row(meta=said), answer_row("labelled", meta=said), answer_row("other"),
        prompt_row("unlabelled", risk=None, category=[], meta=said), prompt_row("nobody knows", risk=None, category=[]),
    ]  # fmt: skip
    write(tmp_path / "a.jsonl.gz", rows)
    sources, seen = {"a.jsonl.gz": Source(unlabelled=True)}, []

    def teach(given: Sequence[Any]) -> list[tuple[float, ...] | None]:
        seen.append(len(given))
        return [(0.7, 0.2, 0.1) if row["target"] == "response" else None for row in given]

    examples = list(read_examples(tokenizer, tmp_path, sources, 100, 1, teach=teach, teacher_share=0.5))
    own = (0.1, 0.6, 0.3)  # Safe, Unsafe, Controversial
    assert [e.teacher for e in examples] == [own, own, (0.7, 0.2, 0.1), own]
    assert [e.query_share for e in examples] == [0.5, 0, 0, 1.0]
    assert [e.teacher_share for e in examples] == [0, 0.5, 0.5, 0]
    assert examples[3].query_risk == UNSAFE
    turned = HeadLabels(
        replace(PROMPT_LABELS, risks=PROMPT_LABELS.risks[::-1]),
        replace(RESPONSE_LABELS, risks=(RiskLevel.UNSAFE, RiskLevel.SAFE, RiskLevel.CONTROVERSIAL)),
    )
    others = list(read_examples(tokenizer, tmp_path, sources, 100, 1, teach=teach, teacher_share=0.5, labels=turned))
    assert [e.teacher for e in others] == [(0.3, 0.6, 0.1), (0.6, 0.1, 0.3), (0.2, 0.7, 0.1), (0.3, 0.6, 0.1)]
    assert others[0].query_risk == turned.prompt.risks.index(RiskLevel.UNSAFE)
    assert max(others[1].response_risk) == turned.response.risks.index(RiskLevel.UNSAFE)
    assert seen == [5, 5]
    write(tmp_path / "a.jsonl.gz", rows[:2])
    assert len(list(read_examples(tokenizer, tmp_path, sources, 100, 1, teach=teach, teacher_share=0.5))) == 2
    assert seen == [5, 5]  # nobody needed it
    hard = list(read_examples(tokenizer, tmp_path, sources, 100, 1, teacher_share=0.0))
    assert [e.teacher for e in hard] == [(), ()]


@pytest.mark.parametrize(
    "said", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.5, 0.0], "safe", ["a", "b", "c"], [True, 0, 0.5]]
)
def test_a_teacher_that_says_no_probabilities_is_refused(said: Any, tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Named by the row's id."""
    write(tmp_path / "a.jsonl.gz", [prompt_row(id="17", meta={"teacher": said})])
    with pytest.raises(ConfigurationError, match=r"row '17': meta\.teacher is no list of three probabilities"):
        list(read_examples(tokenizer, tmp_path, {"a.jsonl.gz": Source()}, 100, 1))


def test_categories_of_ones_own_are_labels_like_others(tokenizer: GuardTokenizer) -> None:
    """By the labels of the heads that are trained; what they do not know has no category loss."""
    labels = HeadLabels(
        replace(PROMPT_LABELS, categories=("Violent", "Insider Trading")),
        replace(RESPONSE_LABELS, categories=("Insider Trading",)),
    )
    row = prompt_row(category=["Insider Trading"])
    assert to_example(tokenizer, row, 100, labels=labels).query_category == 1
    assert to_example(tokenizer, row, 100).query_category == IGNORED
    assert (
        to_example(tokenizer, answer_row("x", category=["Insider Trading"]), 100, labels=labels).response_category == 0
    )
    assert to_example(tokenizer, answer_row("x"), 100, labels=labels).response_category == IGNORED
