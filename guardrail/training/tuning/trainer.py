"""transformers' Trainer with our data order, loss, evaluation and saved states.

Several processes work on one step: each takes its share of the step's rows, and all count the terms of the whole step.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Sampler

from guardrail.errors import MissingExtra
from guardrail.training.examples import Example
from guardrail.training.losses import TERMS, RowScores
from guardrail.training.run_folder import STATES, cosine, newest_state, step_of
from guardrail.training.tuning.batches import Share, StepPlan, TrainParts, held_out_parts
from guardrail.training.tuning.model import BACKBONE, TunedGuard
from guardrail.training.tuning.pace import PROGRESS_FILE, Clock, Pace, finish_state, restore_clock
from guardrail.training.tuning.settings import SftSettings

try:
    from transformers import PrinterCallback, Trainer, TrainingArguments
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

_WEIGHTS_FILE = "model.safetensors"

_BETAS = (0.9, 0.98)

_THRESHOLD = 0.5
"""Score from which on a row is called harmful in F1."""


class GuardTrainer(Trainer):
    """Trains a `TunedGuard`; a step is a function of the settings and its number alone.

    Attributes:
        clock: where the run stands.
        plan: which rows each step takes.
        first_step: steps that were taken before, in the run that goes on.
        last_figures: what the last evaluation found, by name; empty before the first.
    """

    def __init__(
        self,
        settings: SftSettings,
        model: TunedGuard,
        training: Sequence[Example],
        held_out: Sequence[Example],
        folder: Path,
    ) -> None:
        """Set up, at the newest whole state of the run if there is one.

        Args:
            settings: of the run.
            model: to be trained.
            training: rows to train on.
            held_out: rows for validation; may be none.
            folder: of the run.
        """
        self.settings = settings
        self.plan = StepPlan(training, settings.batch_tokens, settings.epochs, settings.seed)
        self.clock = Clock(self.plan.n_steps, settings.max_minutes)
        self.last_figures: dict[str, float] = {}
        self._held_out, self._guard = held_out, model
        self._states = folder / STATES
        self._state = newest_state(self._states, PROGRESS_FILE)
        if self._state:
            restore_clock(self.clock, self._state)
        self.first_step = step_of(self._state) if self._state else 0
        n_steps = self.first_step if self.clock.has_ended else self.plan.n_steps
        arguments = _arguments(settings, self._states, n_steps)
        super().__init__(model, arguments, callbacks=[Pace(settings, self.clock, evaluates=bool(held_out))])
        self.remove_callback(PrinterCallback)
        self.share = Share(self.args.process_index, self.args.world_size, settings.gradient_accumulation)
        self._parts = TrainParts(
            training, self.plan, self.share, model.network, noise=settings.token_noise, seed=settings.seed
        )

    def run(self) -> None:
        """Train to the end; the weights are then those that the settings ask for."""
        self.train(resume_from_checkpoint=str(self._state) if self._state else None)
        if self.settings.keep == "best" and self.clock.best_step:
            self._load_from_checkpoint(str(self._folder_of(self.clock.best_step)), self._guard)

    def whole_state(self) -> dict[str, Tensor]:
        """Return all weights, whole; of several processes the first has them."""
        state: dict[str, Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return state

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the forward passes from the step on at which the run stands."""
        n_passes = self.share.n_passes
        sampler = _From(self.first_step * n_passes, self.args.max_steps * n_passes)
        # A generator of its own: else each start would draw from that of the process, and a resumed run with dropout
        # would go another way.
        return DataLoader(self._parts, batch_size=None, sampler=sampler, generator=torch.Generator())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return AdamW with a rate of their own for the heads, and no decay of what is no matrix."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in (model or self._guard).named_parameters():
            if parameter.requires_grad:
                peak = self.settings.learning_rate if BACKBONE in name else self.settings.head_learning_rate
                decay = self.settings.weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((peak, decay), []).append(parameter)
        values = [{"params": params, "lr": peak, "weight_decay": decay} for (peak, decay), params in groups.items()]
        self.optimizer = self._optimizer = torch.optim.AdamW(values, betas=_BETAS, fused=True)
        return self._optimizer

    def create_scheduler(
        self,
        num_training_steps: int,  # noqa: ARG002 - the clock knows
        optimizer: torch.optim.Optimizer | None = None,
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the warm-up and cosine over the share of the run that is done, by steps or by the clock."""
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self._optimizer, lambda step: cosine(self.clock.share(step), self.settings.warmup)
        )
        self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - each part knows its step
    ) -> Tensor:
        """Add the gradient of one forward pass and return its share of the step's loss.

        The loss is a part of the step's already, whose parts add up; between processes gradients are averaged, hence
        the factor.
        """
        model.train()
        loss: Tensor = model(**self._prepare_inputs(inputs))["loss"] * self.share.n_processes
        self.accelerator.backward(loss)
        return loss.detach()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Judge the held-out rows, log what is found and return it by name."""
        metrics = self.last_figures = self._judge_held_out()
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _judge_held_out(self) -> dict[str, float]:
        self._guard.eval()
        budget = max(1, self.settings.batch_tokens // (self.share.n_passes * self.share.n_processes))
        sums, counts, found = torch.zeros(len(TERMS)), torch.zeros(len(TERMS)), []
        with torch.no_grad():
            for inputs in held_out_parts(self._held_out, budget, self.share):
                said = self._guard(**self._prepare_inputs(inputs))
                sums, counts = sums + said["sums"].cpu(), counts + said["counts"].cpu()
                found.append(said["scores"])
        self._guard.train()
        return _metrics(_gathered((sums, counts, _on_cpu(found))))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a state, mark it as whole when it is, and only then delete those before it, but for the best."""
        super()._save_checkpoint(model, trial)
        if self.share.n_processes > 1:
            distributed.barrier()
        if self.args.should_save:
            step = self.state.global_step
            finish_state(self._folder_of(step), self.clock)
            kept = {step, self.clock.best_step if self.settings.keep == "best" else step}
            for folder in self._states.glob("checkpoint-*"):
                if step_of(folder) not in kept:
                    shutil.rmtree(folder)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Save the weights that are trained; the others are the start's."""
        if not self.args.should_save or output_dir is None:
            return
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        trained = {name for name, parameter in self._guard.named_parameters() if parameter.requires_grad}
        state = state_dict or self._guard.state_dict()
        save_file(
            {name: state[name].contiguous() for name in state if name in trained}, Path(output_dir) / _WEIGHTS_FILE
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load the weights that `_save` saved, or that FSDP did."""
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            found = self._guard.load_state_dict(load_file(Path(resume_from_checkpoint) / _WEIGHTS_FILE), strict=False)
            assert not found.unexpected_keys  # noqa: S101 - saved by the same settings

    def _folder_of(self, step: int) -> Path:
        return self._states / f"checkpoint-{step}"


class _From(Sampler[int]):
    """Numbers from the first that is left; its length is that of all, since the Trainer counts steps by it."""

    def __init__(self, first: int, end: int) -> None:
        self._first, self._end = first, end

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._end))

    def __len__(self) -> int:
        return self._end


def _arguments(settings: SftSettings, states: Path, n_steps: int) -> TrainingArguments:
    """Return the Trainer's own settings; `Pace` decides when to log, evaluate and save."""
    arguments = TrainingArguments(
        output_dir=str(states), max_steps=n_steps, per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.gradient_accumulation, max_grad_norm=settings.max_gradient,
        logging_strategy="no", eval_strategy="no", save_strategy="no", logging_nan_inf_filter=False, disable_tqdm=True,
        report_to=list(settings.report_to) or "none", seed=settings.seed, use_cpu=settings.device == "cpu",
        remove_unused_columns=False, ignore_data_skip=True, ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,
    )  # fmt: skip
    # One process is one device: where several GPUs are in sight, the Trainer would split each batch between them, with
    # its counts; a launcher starts a process for each.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


_Judged = tuple[Tensor, Tensor, list[RowScores]]


def _gathered(own: _Judged) -> list[_Judged]:
    """Return what all processes have found, the same to each."""
    if not distributed.is_initialized():
        return [own]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, own)
    return found


def _on_cpu(found: Sequence[RowScores]) -> list[RowScores]:
    return [RowScores(*(getattr(one, name).cpu() for name in RowScores.__dataclass_fields__)) for one in found]


def _metrics(judged: Sequence[_Judged]) -> dict[str, float]:
    """Return the mean loss of each term and what prompts and answers are judged like, by name."""
    sums = torch.stack([one[0] for one in judged]).sum(0)
    counts = torch.stack([one[1] for one in judged]).sum(0)
    means = (sums / counts.clamp(min=1)).tolist()
    found = {"held_out": sum(means)}
    found |= {f"held_out_{term}": mean for term, mean, n in zip(TERMS, means, counts.tolist(), strict=True) if n}
    rows = [row for one in judged for row in one[2]]
    for name in ("query", "response"):
        score = torch.cat([getattr(row, name) for row in rows]).double().numpy()
        gold = torch.cat([getattr(row, f"{name}_is_harmful") for row in rows]).numpy()
        is_judged = ~np.isnan(score)
        found |= _figures(name, gold[is_judged], score[is_judged])
    areas = [found[name] for name in ("query_auc", "response_auc") if name in found]
    return found | ({"auc": sum(areas) / len(areas)} if areas else {})


def _figures(name: str, gold: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, float]:
    """Return F1 and AUC, as far as there are rows for them."""
    found = {f"{name}_f1": float(f1_score(gold, score > _THRESHOLD))} if gold.any() else {}
    return found | ({f"{name}_auc": float(roc_auc_score(gold, score))} if gold.any() and not gold.all() else {})
