"""Settings of `guardrail train sft`; the report gives no hyper-parameters, so that all numbers are ours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.training.examples import LEAST_LENGTH, Source
from guardrail.training.settings import Count, NotNegative, Positive, Seed, Share

OrNone = Annotated[int, Field(ge=0)]
"""0: none."""


@dataclass(frozen=True)
class Labels:
    """Categories of one's own; the three risk levels are always the same.

    Attributes:
        prompts: categories of the query heads, in order.
        responses: categories of the response heads, in order.
    """

    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    responses: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Lora:
    """Small matrices that are trained beside those of the backbone, and added to them at the end.

    Attributes:
        rank: inner size of each.
        alpha: what they add is multiplied by alpha / rank.
        dropout: share of their input that is left out in training.
        matrices: which matrices of a layer have them.
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    matrices: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class SftSettings:
    """Settings of `sft`.

    Attributes:
        data_dir: folder of the labelled files.
        sources: file name -> how it is used.
        start: checkpoint folder or hub id to start from, with its tokenizer: Qwen3Guard-Stream, or any language model
            of the architecture Qwen3ForCausalLM, whose heads then begin at random.
        output: run folder; the checkpoint lands in its folder `checkpoint`.
        revision: commit or branch of a hub id.
        guard_inner_size: width of what the heads read, for a start without heads; 0: half of the hidden size.
        labels: categories, if they are to be others than the start's.
        tune: "full" trains all weights, "lora" small matrices beside them and the heads, "heads" the heads alone.
        lora: of tune = "lora".
        epochs: passes over the data.
        max_minutes: wall-clock bound of the steps; the schedule follows whichever of epochs and minutes is nearer its
            end. 0: none.
        batch_tokens: padded tokens an optimiser step, over all processes.
        gradient_accumulation: passes into which each process cuts its part of a step; changes memory, not the result.
        max_length: most tokens of a row; the middle of longer ones is left out.
        learning_rate: peak, of the backbone.
        head_learning_rate: peak, of the heads.
        weight_decay: of matrices.
        max_gradient: largest norm of the gradient; longer ones are scaled down to it.
        warmup: share of the run.
        token_noise: share of tokens replaced by random ones in training.
        class_weights: weight of Safe, Unsafe, Controversial in the risk terms.
        teacher_share: weight of a teacher's probabilities against the label: those of a row's `meta.teacher`, else,
            for answers, of the linear teacher in `teacher.py`. 0: labels only.
        word_teacher: whether there is a linear teacher for answers that bring no teacher of their own.
        bf16: whether the backbone computes in bfloat16; the weights are held in float32.
        activation_checkpointing: whether layers are computed anew in the backward pass: less memory, more time.
        evaluate_steps: steps between evaluations on the held-out rows.
        held_out_rows: most of them that are judged, drawn at random; 0 judges all.
        log_steps: steps between lines of the log.
        keep: which weights become the checkpoint, the "last" or those "best" on the held-out rows.
        best_by: what is best: the least "loss", or the largest mean "auc" of prompts and answers.
        patience: evaluations without a better one after which the run ends. 0: it never does.
        save_minutes: minutes between states from which the run can go on.
        save_steps: steps between them besides. 0: minutes alone count.
        seed: of fresh weights, selection, order and noise.
        threads: of torch.
        device: "auto" takes a GPU where there is one.
        dtype: of the written checkpoint.
        report_to: trackers that transformers knows, such as "tensorboard".
    """

    data_dir: Path
    sources: dict[str, Source]
    start: Path
    output: Path
    revision: str | None = None
    guard_inner_size: OrNone = 0
    labels: Labels | None = None
    tune: Literal["full", "lora", "heads"] = "full"
    lora: Lora = field(default_factory=Lora)
    epochs: Positive = 3
    max_minutes: NotNegative = 0
    batch_tokens: Count = 6144
    gradient_accumulation: Count = 1
    max_length: Annotated[int, Field(ge=LEAST_LENGTH)] = 512
    learning_rate: Positive = 6e-4
    head_learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 0.05
    max_gradient: Positive = 1.0
    warmup: Share = 0.03
    token_noise: Share = 0.05
    class_weights: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    teacher_share: Share = 0.0
    word_teacher: bool = True
    bf16: bool = True
    activation_checkpointing: bool = False
    evaluate_steps: Count = 200
    held_out_rows: OrNone = 0
    log_steps: Count = 20
    keep: Literal["last", "best"] = "last"
    best_by: Literal["loss", "auc"] = "loss"
    patience: OrNone = 0
    save_minutes: NotNegative = 5
    save_steps: OrNone = 0
    seed: Seed = 1
    threads: Count = 2
    device: Literal["auto", "cpu"] = "auto"
    dtype: Literal["f32", "bf16"] = "f32"
    report_to: tuple[str, ...] = ()
