"""Figures on held-out rows: by hand, and of a real model, row by row as in batches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.rows import parse_row
from guardrail.taxonomy import PROMPT_LABELS, RiskLevel
from guardrail.training.gen import measuring
from guardrail.training.gen.examples import GenEncoder, GenExample
from guardrail.training.gen.measuring import Measurer, figures
from tests.generative.examples import EXAMPLES
from tests.training.gen.conftest import ROWS

SAFE, UNSAFE, CONTROVERSIAL = ([float(level is risk) for risk in PROMPT_LABELS.risks] for level in
                               (RiskLevel.SAFE, RiskLevel.UNSAFE, RiskLevel.CONTROVERSIAL))  # fmt: skip
PROMPTS = [row for row in map(parse_row, ROWS[:6]) if row]
RESPONSES = [row for row in map(parse_row, ROWS[6:]) if row]


def test_what_is_right_counts_as_right() -> None:
    """All lines as labelled, all scores on the label."""
    vectors = {RiskLevel.SAFE: SAFE, RiskLevel.UNSAFE: UNSAFE, RiskLevel.CONTROVERSIAL: CONTROVERSIAL}
    rows = PROMPTS + RESPONSES
    found = figures(rows, [e.written for e in EXAMPLES], np.array([vectors[row.risk] for row in rows]))
    assert found["prompt"] == {
        "n": 6, "parsed": 1, "f1_strict": 1, "auc_strict": 1, "f1_loose": 1, "auc_loose": 1, "right_category": 1,
        "right_refusal": None,
    }  # fmt: skip
    assert found["response"] == {**found["prompt"], "n": 5, "right_refusal": 1}


def test_what_is_wrong_counts_as_it_should() -> None:
    """A verdict that cannot be read is Unsafe; a Refusal line is none of a prompt's; the first category counts."""
    written = [
        "Safety: Safe\nCategories: None", "nothing", "Safety: Unsafe\nCategories: PII, Violent",
        "Safety: Safe\nCategories: None", "Safety: Unsafe\nCategories: PII",
        "Safety: Controversial\nCategories: Suicide & Self-Harm\nRefusal: No",
    ]  # fmt: skip
    found = figures(PROMPTS, written, np.array([SAFE, UNSAFE, UNSAFE, SAFE, UNSAFE, CONTROVERSIAL]))
    prompt = found["prompt"]
    assert found.keys() == {"prompt"}
    assert prompt["parsed"] == pytest.approx(4 / 6)
    assert prompt["f1_strict"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))  # hits 2, 4, 5; misses 3; false 1
    assert prompt["f1_loose"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 3))  # hit 2; misses 3; false 1, 4, 5
    assert prompt["right_category"] == pytest.approx(1 / 4)  # PII of row 4
    assert prompt["auc_strict"] == pytest.approx((3 * 1.5 + 0.5) / 8)
    assert prompt["right_refusal"] is None


def test_one_class_has_no_figures() -> None:
    """None in the log, not a number that means nothing."""
    found = figures(PROMPTS[:2], ["Safety: Safe\nCategories: None"] * 2, np.array([SAFE, SAFE]))["prompt"]
    assert (found["f1_strict"], found["auc_strict"], found["right_category"]) == (None, None, None)


def test_padding_changes_neither_writing_nor_scores(untaught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches as one by one; the scores are the softmax of transformers over the words of the three levels."""
    models: Any = AutoModelForCausalLM
    model = models.from_pretrained(untaught, dtype=torch.float32).train()
    tokenizer = GuardTokenizer.from_file(untaught / "tokenizer.json")
    encoder = GenEncoder(tokenizer, 1000)
    longer = replace(PROMPTS[0], messages=(replace(PROMPTS[0].messages[0], content="bread " * 40),))
    examples = [encoder.example(row) for row in (PROMPTS[0], longer, *RESPONSES)]
    monkeypatch.setattr(measuring, "MAX_NEW_TOKENS", 8)  # random weights never end
    seen: list[tuple[list[str], np.ndarray[Any, Any]]] = []

    def see(_: Any, written: list[str], probabilities: "np.ndarray[Any, Any]") -> dict[str, Any]:
        seen.append((written, probabilities))
        return {}

    monkeypatch.setattr(measuring, "figures", see)
    for batch in (1, 5):
        Measurer(tokenizer, examples, batch).measure(model)
    assert model.training
    (alone, scores), (together, others) = seen
    assert alone == together
    assert len(alone) == len(examples)
    np.testing.assert_allclose(scores, others, atol=1e-5)
    shortest_first: list[GenExample] = sorted(examples, key=lambda e: len(e.prompt))
    ids = [*shortest_first[0].prompt.tolist(), *tokenizer.encode_plain("Safety:").ids]
    words = [tokenizer.encode_plain(f" {level}").ids[0] for level in PROMPT_LABELS.risks]
    with torch.inference_mode():
        expected = model.eval()(torch.tensor([ids])).logits[0, -1, words].softmax(-1)
    np.testing.assert_allclose(scores[0], expected.numpy(), atol=1e-5)
