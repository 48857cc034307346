"""Settings of `guardrail train rl` and `guardrail train rollouts`; numbers without a source are ours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.settings import ModelSettings
from guardrail.training.rewards import RewardKind
from guardrail.training.rewards.settings import RewardSettings
from guardrail.training.rl.toy.settings import ToySettings
from guardrail.training.settings import Count, Positive, Seed, Share, load_settings
from guardrail.training.tuning.settings import OrNone

Group = Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class PolicyModelSettings:
    """The language model that is trained.

    Attributes:
        start: folder of a causal language model with tokenizer and chat template, or a hub id.
        revision: commit or branch of a hub id.
        dtype: of the written checkpoint; training holds the weights in float32.
    """

    start: str
    revision: str | None = None
    dtype: Literal["f32", "bf16"] = "bf16"


@dataclass(frozen=True)
class PromptSettings:
    """A file of prompts in the data schema; its labels say which are harmful, all but the Safe ones.

    Attributes:
        path: JSONL, gzipped or not, or Parquet. A row that judges an answer gives the prompt before it.
        max_rows: most prompts, drawn at random; 0 takes all.
        is_benign: whether its prompts are benign; None leaves it to each row's label, which only says so where it is
            the prompt's.
    """

    path: Path
    max_rows: OrNone = 0
    is_benign: bool | None = None


@dataclass(frozen=True)
class RolloutSettings:
    """The data stage: which prompts are worth training on.

    Attributes:
        samples: answers that are drawn for a prompt. The report says 8.
        model: who writes them: a server of the policy model, or None for the policy model itself, run here one prompt
            at a time.
        thinks: the modes in which each prompt is asked: without thinking, with it. A template that knows no
            `enable_thinking` renders both alike: then name one.
        keep_all: whether prompts whose answers are all safe, or all unsafe, stay in.
        part: prompts whose answers are judged together; as many are asked at once, within the model's `concurrency`.
    """

    samples: Group = 8
    model: ModelSettings | None = None
    thinks: Annotated[tuple[bool, ...], Field(min_length=1, max_length=2)] = (False, True)
    keep_all: bool = False
    part: Count = 64


@dataclass(frozen=True)
class VllmSettings:
    """Rollouts by vLLM, passed through to TRL.

    Attributes:
        mode: "auto" takes "colocate" where there are a GPU and vLLM, else "off"; "colocate" shares the GPUs of the
            training; "server" asks `trl vllm-serve` or `vllm serve`; "off" lets transformers write.
        base_url: of the server.
        gpu_memory: share of a GPU's memory for "colocate".
        tensor_parallel: GPUs that share one copy, for "colocate".
    """

    mode: Literal["auto", "off", "colocate", "server"] = "auto"
    base_url: str = "http://localhost:8000"
    gpu_memory: Annotated[float, Field(gt=0, le=1)] = 0.3
    tensor_parallel: Count = 1


@dataclass(frozen=True)
class GspoSettings:
    """The optimisation. What makes it GSPO is no setting: see `gspo.py`.

    Attributes:
        steps: optimiser steps.
        batch: answers in a step of one process; with all processes a multiple of `answers`.
        answers: for one prompt; rewards are compared among them.
        mini_batches: steps that are taken on the answers that were drawn at once. 1 would make the ratio exactly 1,
            and nothing would ever be clipped: that is not GSPO.
        epsilon: how far the ratio of a sequence may fall below 1. The paper's.
        epsilon_high: how far it may rise above 1. The paper's.
        learning_rate: peak.
        schedule: what it does after the warm-up: it stays, or falls to 0 along a line.
        warmup: share of the run in which it rises.
        max_gradient: largest norm of the gradient.
        max_new_tokens: most tokens of an answer, its thinking included.
        temperature: of sampling.
        top_p: of sampling.
        bf16: whether activations are in bfloat16.
        activation_checkpointing: whether layers are computed anew in the backward pass: less memory, more time.
        log_kl: whether the divergence from the start model is measured on the answers of each rollout: it holds the
            start's weights a second time. It is no part of the loss.
        log_steps: steps between two lines of the log.
        save_steps: steps between two states that `--resume` can go on from; a multiple of `mini_batches`.
        evaluate_steps: steps between two measurements besides those before and after; 0: only these.
    """

    steps: Count = 1000
    batch: Count = 32
    answers: Group = 8
    mini_batches: Group = 4
    epsilon: Positive = 3e-4
    epsilon_high: Positive = 4e-4
    learning_rate: Positive = 1e-6
    schedule: Literal["constant", "linear"] = "constant"
    warmup: Share = 0.0
    max_gradient: Positive = 1.0
    max_new_tokens: Count = 2048
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    bf16: bool = True
    activation_checkpointing: bool = False
    log_kl: bool = True
    log_steps: Count = 10
    save_steps: Count = 100
    evaluate_steps: OrNone = 0


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured before and after.

    Attributes:
        answers: drawn for each held-out prompt.
        batch: answers that a process draws at once; a multiple of `answers`.
    """

    answers: Group = 8
    batch: Count = 64


@dataclass(frozen=True)
class RlSettings:
    """Settings of a run: either `toy`, or `policy_model`, `prompts`, `held_out` and `judges`.

    Attributes:
        output: run folder.
        rewards: each is trained on its own, from the same start.
        seeds: each is trained on its own.
        policy_model: what is trained.
        prompts: to train on.
        held_out: prompts, harmful and benign, that are measured before and after.
        judges: guard, detector of refusals, helpfulness model; as of `guardrail reward`.
        rollouts: how prompts are chosen.
        gspo: the optimisation.
        measure: how it is measured.
        vllm: rollouts on GPUs.
        toy: a world of 23 words in place of models and data.
        threads: of torch on a CPU.
        device: "auto" takes a GPU where there is one.
        report_to: trackers that transformers knows, such as "tensorboard".
    """

    output: Path
    rewards: Annotated[tuple[RewardKind, ...], Field(min_length=1)] = ("mixed",)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    policy_model: PolicyModelSettings | None = None
    prompts: tuple[PromptSettings, ...] = ()
    held_out: tuple[PromptSettings, ...] = ()
    judges: RewardSettings | None = None
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    gspo: GspoSettings = field(default_factory=GspoSettings)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    vllm: VllmSettings = field(default_factory=VllmSettings)
    toy: ToySettings | None = None
    threads: Count = 2
    device: Literal["auto", "cpu"] = "auto"
    report_to: tuple[str, ...] = ()


def load_rl(path: Path) -> RlSettings:
    """Return the settings that a TOML file holds.

    Raises:
        ConfigurationError: as `load_settings`, or they do not fit together.
    """
    settings = load_settings(path, RlSettings)
    real = [settings.policy_model, settings.prompts, settings.held_out, settings.judges]
    if settings.toy and any(real):
        raise ConfigurationError(f"{path.name}: [toy] stands in place of policy_model, prompts, held_out and judges")
    if not settings.toy and not all(real):
        raise ConfigurationError(f"{path.name}: needs policy_model, prompts, held_out and judges, or [toy]")
    gspo, measure = settings.gspo, settings.measure
    for said, value, of, unit in (
        ("gspo.save_steps", gspo.save_steps, "gspo.mini_batches", gspo.mini_batches),
        ("measure.batch", measure.batch, "measure.answers", measure.answers),
    ):
        if value % unit:
            raise ConfigurationError(f"{path.name}: {said} must be a multiple of {of}, {unit}")
    for name, values in (("rewards", settings.rewards), ("seeds", settings.seeds)):
        if len(set(values)) < len(values):
            raise ConfigurationError(f"{path.name}: {name} names one twice")
    return settings
