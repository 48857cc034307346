"""Settings of `guardrail train helpfulness`; no source gives any, so that all numbers are ours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.examples import Source
from guardrail.training.settings import Count, NotNegative, Positive, Seed
from guardrail.training.tuning.settings import OrNone


@dataclass(frozen=True)
class HelpfulnessSettings:
    """Settings of `helpfulness`; what `sft-gen` has too is called the same there.

    Attributes:
        data_dir: folder of the files.
        sources: file name -> how it is used; taken are answers to a user's turn that are labelled Safe and do not
            refuse. Of the options of a source, those that choose rows count.
        start: folder of a checkpoint of the Qwen3 kind with its tokenizer (of `pretrain`, `distil` or `sft`, or a
            language model that transformers can read), or a hub id.
        output: run folder; the model lands in its folder `checkpoint`.
        refusals: file name -> how it is used; taken are short answers that refuse by their label and by their words.
            They join the texts that come with this package, in languages that these lack.
        fresh: whether the weights begin at random; of the start, sizes and tokenizer are taken.
        revision: commit or branch of a hub id.
        epochs: passes over the data.
        max_steps: optimiser steps in place of `epochs`; 0: as many as the epochs take.
        learning_rate: peak; a cosine goes from it to 0.
        warmup: share of the run in which it rises.
        weight_decay: of matrices.
        max_gradient: largest norm of the gradient; longer ones are scaled down to it.
        centring: weight of the term that holds scores around 0, so that -5 and -10 of the reward `mixed` mean
            something.
        batch: pairs that a process reads at once.
        gradient_accumulation: such batches in one optimiser step.
        max_length: most tokens of a conversation; the middle of longer ones is left out.
        bf16: whether activations are in bfloat16.
        evaluate_steps: steps between two measurements on held-out rows.
        held_out_rows: most held-out rows that are measured, drawn at random.
        log_steps: steps between two lines of the log.
        save_steps: steps between two states that `--resume` can go on from.
        seed: of selection, pairs, order and fresh weights.
        threads: of torch on a CPU.
        device: "auto" takes a GPU where there is one.
    """

    data_dir: Path
    sources: Annotated[dict[str, Source], Field(min_length=1)]
    start: str
    output: Path
    refusals: dict[str, Source] = field(default_factory=dict)
    fresh: bool = False
    revision: str | None = None
    epochs: Positive = 1
    max_steps: OrNone = 0
    learning_rate: Positive = 1e-4
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: NotNegative = 0.01
    max_gradient: Positive = 1.0
    centring: NotNegative = 0.01
    batch: Count = 8
    gradient_accumulation: Count = 1
    max_length: Count = 512
    bf16: bool = False
    evaluate_steps: Count = 200
    held_out_rows: Count = 256
    log_steps: Count = 20
    save_steps: Count = 200
    seed: Seed = 1
    threads: Count = 2
    device: Literal["auto", "cpu"] = "auto"
