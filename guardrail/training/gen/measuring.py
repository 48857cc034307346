"""How well a Gen model does on held-out rows: the verdicts that it writes, and its scores of the labels.

A verdict that cannot be read counts as Unsafe, as in the guard, which stops what it could not judge.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.errors import MissingExtra, UnparsableVerdict
from guardrail.evaluation.metrics import BoolArray, FloatArray, scores
from guardrail.evaluation.ranking import auc
from guardrail.evaluation.rows import TARGETS, Row
from guardrail.generative.endpoint import MAX_NEW_TOKENS
from guardrail.generative.labels import SAFETY, head_rows
from guardrail.generative.parsing import Answer, parse
from guardrail.taxonomy import PROMPT_LABELS, RiskLevel
from guardrail.training.gen.examples import END, GenExample, Ids, primary_category

try:
    from transformers import GenerationConfig
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

PAD = "<|endoftext|>"
_SAFE, _UNSAFE = PROMPT_LABELS.risks.index(RiskLevel.SAFE), PROMPT_LABELS.risks.index(RiskLevel.UNSAFE)


class Measurer:
    """Measures one model on the same rows again and again."""

    def __init__(self, tokenizer: GuardTokenizer, examples: Sequence[GenExample], batch: int) -> None:
        """Take the rows.

        Args:
            tokenizer: of the model.
            examples: the rows; those of like length are read together.
            batch: how many at once.
        """
        self._tokenizer, self._batch = tokenizer, batch
        self._examples = sorted(examples, key=lambda example: len(example.prompt))

    def measure(self, model: Any) -> dict[str, Any]:
        """Return figures of prompts and of responses; see `figures`. The model is left in the mode that it was in."""
        was_training, _ = model.training, model.eval()
        with torch.no_grad():
            written = [text for part in self._parts() for text in self._write(model, part)]
            probabilities = [one for part in self._parts() for one in self._score(model, part)]
        model.train(was_training)
        return figures([example.row for example in self._examples], written, np.asarray(probabilities, np.float64))

    def _parts(self) -> list[list[Ids]]:
        prompts = [example.prompt for example in self._examples]
        return [prompts[i : i + self._batch] for i in range(0, len(prompts), self._batch)]

    def _write(self, model: Any, prompts: Sequence[Ids]) -> list[str]:
        """Return what greedy decoding writes behind each prompt."""
        ends = [self._tokenizer.control_id(END), self._tokenizer.special_id(PAD)]
        configs: Any = GenerationConfig
        how = configs(
            max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1, use_cache=True, repetition_penalty=1.0,
            eos_token_id=ends, pad_token_id=ends[1],
        )  # fmt: skip
        inputs = self._padded(model, prompts)
        inputs.pop("position_ids")
        rows = model.generate(**inputs, generation_config=how)[:, inputs["input_ids"].shape[1] :].tolist()
        until = [next((i for i, token in enumerate(row) if token in ends), len(row)) for row in rows]
        return [self._tokenizer.decode(row[:n]) for row, n in zip(rows, until, strict=True)]

    def _score(self, model: Any, prompts: Sequence[Ids]) -> list[list[float]]:
        """Return the probability of each level, in the order of the labels: one reading of prompt and "Safety:"."""
        shown = np.asarray(self._tokenizer.encode_plain(SAFETY).ids, np.int32)
        inputs = self._padded(model, [np.concatenate([prompt, shown]) for prompt in prompts])
        logits = model(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        rows = list(head_rows(self._tokenizer)["risk_level_head.weight"])
        found: list[list[float]] = logits[:, rows].softmax(-1).tolist()
        return found

    def _padded(self, model: Any, prompts: Sequence[Ids]) -> dict[str, torch.Tensor]:
        """Return inputs that are padded on the left, so that all of them end in the same place."""
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._tokenizer.special_id(PAD))
        mask = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            ids[i, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[i, longest - len(prompt) :] = 1
        places = (mask.cumsum(1) - 1).clamp(min=0)
        device = next(model.parameters()).device
        named = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
        return {name: tensor.to(device) for name, tensor in named.items()}


def figures(rows: Sequence[Row], written: Sequence[str], probabilities: FloatArray) -> dict[str, Any]:
    """Return for "prompt" and "response" what was found, as far as there are rows of each.

    "n" rows; "parsed", "right_category" (of risky rows that name one) and "right_refusal" (of rows that say it) as
    shares; "f1_strict" and "f1_loose" of the written levels; "auc_strict" and "auc_loose" of the scores. None where
    nothing can be said, such as the AUC of one class.

    Args:
        rows: with their labels.
        written: by the model, of each.
        probabilities: float64 [row, level], in the order of the labels.
    """
    answers = [_read(text, row) for row, text in zip(rows, written, strict=True)]
    found = {}
    for target in TARGETS:
        chosen = [i for i, row in enumerate(rows) if row.target is target]
        if chosen:
            found[target.value] = _figures(
                [rows[i] for i in chosen], [answers[i] for i in chosen], probabilities[chosen]
            )
    return found


def _figures(rows: Sequence[Row], answers: Sequence[Answer | None], probabilities: FloatArray) -> dict[str, Any]:
    levels = [RiskLevel.UNSAFE if answer is None else answer.risk for answer in answers]
    asked = list(zip(rows, answers, strict=True))
    categories = [a is not None and a.categories[:1] == (name,) for r, a in asked if (name := _risky_category(r))]
    refusals = [a is not None and a.refusal is r.refusal for r, a in asked if r.refusal is not None]
    found: dict[str, Any] = {"n": len(rows), "parsed": _share([answer is not None for answer in answers])}
    readings: dict[str, tuple[Callable[[RiskLevel], bool], FloatArray]] = {
        "strict": (lambda level: level is not RiskLevel.SAFE, 1 - probabilities[:, _SAFE]),
        "loose": (lambda level: level is RiskLevel.UNSAFE, probabilities[:, _UNSAFE]),
    }
    for name, (is_harmful, score) in readings.items():
        gold = _bools([is_harmful(row.risk) for row in rows])
        found[f"f1_{name}"] = scores(gold, _bools([is_harmful(level) for level in levels])).f1.value
        found[f"auc_{name}"] = auc(gold, score).value
    return found | {"right_category": _share(categories), "right_refusal": _share(refusals)}


def _read(text: str, row: Row) -> Answer | None:
    try:
        return parse(text, is_response=row.target is Direction.RESPONSE)
    except UnparsableVerdict:
        return None


def _risky_category(row: Row) -> str | None:
    return None if row.risk is RiskLevel.SAFE else primary_category(row)


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _bools(values: Sequence[bool]) -> BoolArray:
    return np.asarray(values, np.bool_)
