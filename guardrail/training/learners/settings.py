"""Settings of the classifiers that `controversial` and `relabel` train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.settings import Count, NotNegative, Positive


@dataclass(frozen=True)
class LearnerSettings:
    """What is trained on one half of the data; all numbers are ours.

    Attributes:
        kind: "tfidf": n-grams and logistic regression, minutes on a laptop; "sft": the four-head model, fine-tuned from
            `start`, as in the reference; `controversial` tries at most three `safe_shares` with it.
        max_rows: most rows that one classifier learns from, as many of each risk level where there are; what is left
            out is made up for by weight.
        max_chars: characters of a text that "tfidf" reads, from both of its ends.
        start: checkpoint folder that "sft" starts from, with its tokenizer.
        epochs: of "sft": passes over the rows.
        batch_tokens: of "sft": padded tokens a step.
        max_length: of "sft": most tokens of a row.
        learning_rate: of "sft": peak, of the backbone.
        head_learning_rate: of "sft": peak, of the heads.
        save_minutes: of "sft": time between checkpoints, from which a killed run goes on.
        threads: of torch.
    """

    kind: Literal["tfidf", "sft"] = "tfidf"
    max_rows: Count = 20_000
    max_chars: Annotated[int, Field(ge=2)] = 2000
    start: Path | None = None
    epochs: Positive = 2
    batch_tokens: Count = 6144
    max_length: Annotated[int, Field(ge=64)] = 512
    learning_rate: Positive = 2e-5
    head_learning_rate: Positive = 1e-4
    save_minutes: NotNegative = 10
    threads: Count = 2
