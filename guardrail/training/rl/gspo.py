"""GSPO through TRL's GRPO trainer: the arguments that make it GSPO, and the divergence from the start as a figure.

Source of the arguments: section 5.1 of the GSPO paper (arXiv 2507.18071) as TRL's paper index gives it. TRL's own
defaults are another algorithm: `loss_type` is "dapo", which weighs a sequence by its length.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.training.gen.following import WholeStates
from guardrail.training.gen.trainer import on_one_device
from guardrail.training.rl.prompts import Rendered
from guardrail.training.rl.scoring import Scoring, Tally
from guardrail.training.rl.settings import RlSettings
from guardrail.training.rl.vllm import vllm_arguments

try:
    import datasets
    from accelerate.utils import gather_object
    from transformers import PrinterCallback
    from trl.models.utils import prepare_fsdp
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.utils import add_fused_lm_head
except ModuleNotFoundError as error:
    raise MissingExtra("trl", "train") from error

MUST_BE: dict[str, Any] = {
    "importance_sampling_level": "sequence", "loss_type": "grpo", "beta": 0.0, "gradient_accumulation_steps": 1,
    "num_iterations": 1, "scale_rewards": "group",
}  # fmt: skip
"""Arguments without which it would be another algorithm."""


_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear"}


def gspo_arguments(settings: RlSettings, states: Path, seed: int) -> GRPOConfig:
    """Return the trainer's arguments.

    Raises:
        ConfigurationError: `batch` does not fit, vLLM cannot be had, or TRL made something else than GSPO of them.
    """
    gspo, is_on_cpu = settings.gspo, settings.device == "cpu" or not torch.cuda.is_available()
    try:
        arguments = GRPOConfig(
            output_dir=str(states), max_steps=gspo.steps, **MUST_BE,
            epsilon=gspo.epsilon, epsilon_high=gspo.epsilon_high, steps_per_generation=gspo.mini_batches,
            num_generations=gspo.answers, num_generations_eval=settings.measure.answers,
            per_device_train_batch_size=gspo.batch, per_device_eval_batch_size=settings.measure.batch,
            learning_rate=gspo.learning_rate, lr_scheduler_type=_SCHEDULES[gspo.schedule],
            warmup_steps=gspo.warmup, weight_decay=0.0, max_grad_norm=gspo.max_gradient,
            max_completion_length=gspo.max_new_tokens, temperature=gspo.temperature, top_p=gspo.top_p,
            bf16=gspo.bf16 and not is_on_cpu, use_cpu=is_on_cpu,
            activation_checkpointing=gspo.activation_checkpointing,
            logging_steps=gspo.log_steps, logging_nan_inf_filter=False, disable_tqdm=True,
            report_to=list(settings.report_to), save_steps=gspo.save_steps, save_total_limit=2,
            eval_strategy="steps", eval_steps=min(gspo.evaluate_steps or gspo.steps, gspo.steps), seed=seed,
            dataloader_pin_memory=not is_on_cpu, ddp_find_unused_parameters=False,
            **vllm_arguments(settings.vllm, is_on_cpu=is_on_cpu),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigurationError(f"gspo: {error}", hint="batch x processes is a multiple of answers") from error
    check_gspo(arguments)
    return on_one_device(arguments)


def check_gspo(arguments: GRPOConfig) -> None:
    """Refuse arguments that are not GSPO, whoever changed them.

    Raises:
        ConfigurationError: one of them is not as the paper has it.
    """
    for name, value in MUST_BE.items():
        if getattr(arguments, name) != value:
            raise ConfigurationError(f"not GSPO: {name} is {getattr(arguments, name)!r}, not {value!r}")
    if (arguments.steps_per_generation or 1) < 2:
        raise ConfigurationError("not GSPO: with one mini-batch the ratio is always 1", hint="raise mini_batches")


class GspoTrainer(GRPOTrainer):
    """TRL's trainer, and the divergence of its model from the one it started as."""

    def __init__(
        self,
        arguments: GRPOConfig,
        model: Any,
        tokenizer: Any,
        scoring: Scoring,
        training: Sequence[tuple[int, Rendered]],
        held_out: Sequence[tuple[int, Rendered]],
        *,
        measured: Callable[[int, Mapping[str, float]], object],
        log_kl: bool,
    ) -> None:
        """Prepare.

        Args:
            arguments: of the run.
            model: to be trained.
            tokenizer: of it.
            scoring: the reward.
            training: prompts with their number in `scoring`.
            held_out: likewise.
            measured: is told the figures of the held-out prompts, and at which step.
            log_kl: whether a copy of the start is kept to measure the divergence from it.
        """
        start = copy.deepcopy(model).eval().requires_grad_(False) if log_kl else None
        reward: Any = scoring  # TRL's type has lists where it takes sequences
        super().__init__(
            model=model, args=arguments, reward_funcs=reward, processing_class=tokenizer,
            train_dataset=_dataset(training), eval_dataset=_dataset(held_out),
        )  # fmt: skip
        self._scoring, self._measured = scoring, measured
        self._start = self._prepared(start)
        self.remove_callback(PrinterCallback)
        self.add_callback(WholeStates(Path(str(arguments.output_dir)), self.accelerator.wait_for_everyone))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the run folder says more."""

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Draw answers for the held-out prompts, and tell the means of their figures over all processes."""
        self._scoring.tally = tally = Tally()
        found: dict[str, float] = super().evaluate(*arguments, **options)
        self._scoring.tally = None
        figures = Tally.of(gather_object([tally])).means()
        self._measured(self.state.global_step, figures)
        return {**found, **figures}

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        found: Any = super()._generate_and_score_completions(inputs)
        model: Any = self.model
        if self._start is not None and model.training:
            self._log_divergence(found)
        return found

    def _log_divergence(self, found: Any) -> None:
        """Log the mean divergence of a token, estimated as TRL estimates it where it is part of the loss."""
        ids, mask = (torch.cat([found[f"prompt_{name}"], found[f"completion_{name}"]], 1) for name in ("ids", "mask"))
        written = found["completion_mask"]
        with torch.no_grad():
            start, *_ = self._get_per_token_logps_and_entropies(
                self._start, ids, mask, written.shape[1], self.args.per_device_train_batch_size
            )
        ratio = start - found["old_per_token_logps"]
        sums = torch.stack([((ratio.exp() - ratio - 1) * written).sum(), written.sum()])
        total, n = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._metrics["train"]["kl"].append(total / max(n, 1.0))

    def _prepared(self, start: Any) -> Any:
        """Return the start as TRL prepares a reference model: it gives log-probabilities, and may be spread."""
        if start is None:
            return None
        add_fused_lm_head(start, temperature=self.temperature)
        if self.is_fsdp_enabled:
            return prepare_fsdp(start, self.accelerator)
        return self.accelerator.prepare_model(start, evaluation_mode=True)


def _dataset(rows: Sequence[tuple[int, Rendered]]) -> datasets.Dataset:
    """Return the prompts as the trainer reads them."""
    return datasets.Dataset.from_dict({"prompt": [one.text for _, one in rows], "index": [i for i, _ in rows]})
