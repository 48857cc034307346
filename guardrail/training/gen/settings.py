"""Settings of `guardrail train sft-gen`; the report gives no hyper-parameters, so that all numbers are ours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.examples import Source
from guardrail.training.settings import Count, NotNegative, Positive, Seed
from guardrail.training.tuning.settings import Lora, OrNone


@dataclass(frozen=True)
class SftGenSettings:
    """Settings of `sft-gen`; what `sft` has too is called the same there.

    Attributes:
        data_dir: folder of the labelled files.
        sources: file name -> how it is used, as in `sft`; rows without a label cannot be used.
        start: folder of a Qwen3ForCausalLM checkpoint with its tokenizer, or a hub id such as
            Qwen/Qwen3Guard-Gen-0.6B.
        output: run folder; the checkpoint lands in its folder `checkpoint`.
        revision: commit or branch of a hub id.
        tune: "full" trains all weights, "lora" small matrices beside them.
        lora: of tune = "lora".
        epochs: passes over the data.
        max_steps: optimiser steps in place of `epochs`; 0: as many as the epochs take.
        learning_rate: peak; a cosine goes from it to 0.
        warmup: share of the run in which it rises.
        weight_decay: of matrices.
        max_gradient: largest norm of the gradient; longer ones are scaled down to it.
        batch: rows that a process reads at once.
        gradient_accumulation: such batches in one optimiser step.
        max_length: most tokens of a row, its task and policy (about 300) and its answer included; `examples.py` says
            what longer ones lose.
        group_by_length: whether rows of like length share a batch.
        bf16: whether activations are in bfloat16; weights and the optimiser's state are float32 either way.
        activation_checkpointing: whether layers are computed anew in the backward pass: less memory, more time.
        evaluate_steps: steps between two measurements on held-out rows.
        held_out_rows: most held-out rows that the loss is measured on, drawn at random.
        measured_rows: most of these whose verdict is written and scored; 0 measures the loss alone.
        log_steps: steps between two lines of the log.
        save_steps: steps between two states that `--resume` can go on from.
        seed: of selection, order and dropout.
        threads: of torch on a CPU.
        device: "auto" takes a GPU where there is one.
        dtype: of the written checkpoint.
        report_to: trackers that transformers knows, such as "tensorboard".
    """

    data_dir: Path
    sources: dict[str, Source]
    start: str
    output: Path
    revision: str | None = None
    tune: Literal["full", "lora"] = "full"
    lora: Lora = field(default_factory=Lora)
    epochs: Positive = 2
    max_steps: OrNone = 0
    learning_rate: Positive = 1e-5
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: NotNegative = 0.0
    max_gradient: Positive = 1.0
    batch: Count = 4
    gradient_accumulation: Count = 8
    max_length: Count = 2048
    group_by_length: bool = True
    bf16: bool = True
    activation_checkpointing: bool = False
    evaluate_steps: Count = 500
    held_out_rows: Count = 1024
    measured_rows: OrNone = 128
    log_steps: Count = 10
    save_steps: Count = 500
    seed: Seed = 1
    threads: Count = 2
    device: Literal["auto", "cpu"] = "auto"
    dtype: Literal["f32", "bf16"] = "bf16"
    report_to: tuple[str, ...] = ()
