"""What the trainers of TRL share here: arguments, rows in our order, and a run that goes on from its newest state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from guardrail.errors import MissingExtra
from guardrail.training.gen.following import WHOLE, Epochs, WholeStates, drop_unfinished
from guardrail.training.gen.order import EpochOrder
from guardrail.training.run_folder import RunFolder, newest_state, step_of

try:
    from transformers import PrinterCallback
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

T = TypeVar("T")
A = TypeVar("A")


class Tuning(Protocol):
    """Settings that such runs have in common; see `SftGenSettings`."""

    @property
    def epochs(self) -> float: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def max_gradient(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def gradient_accumulation(self) -> int: ...
    @property
    def bf16(self) -> bool: ...
    @property
    def evaluate_steps(self) -> int: ...
    @property
    def log_steps(self) -> int: ...
    @property
    def save_steps(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...


def common_arguments(settings: Tuning, states: Path) -> dict[str, Any]:
    """Return the trainer's arguments that follow from common settings.

    Args:
        settings: of the run.
        states: folder of the states that the trainer writes.
    """
    is_on_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    return {
        "output_dir": str(states), "num_train_epochs": settings.epochs, "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch, "per_device_eval_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "learning_rate": settings.learning_rate, "lr_scheduler_type": "cosine", "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay, "max_grad_norm": settings.max_gradient, "bf16": settings.bf16,
        "logging_steps": settings.log_steps, "logging_nan_inf_filter": False, "disable_tqdm": True,
        "save_steps": settings.save_steps, "save_total_limit": 2, "eval_steps": settings.evaluate_steps,
        "seed": settings.seed, "use_cpu": is_on_cpu, "dataloader_pin_memory": not is_on_cpu, "max_length": None,
    }  # fmt: skip


def on_one_device(arguments: A) -> A:
    """Return the arguments of a process that is one device: else a step would have more rows where several GPUs are in
    sight.
    """
    given: Any = arguments
    given._n_gpu = min(given.n_gpu, 1)
    return arguments


def follow_order(trainer: Any, order: EpochOrder) -> None:
    """Have a trainer tell the order its epochs, mark whole states, and print nothing of its own."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Epochs(order))
    trainer.add_callback(WholeStates(states_of(trainer), trainer.accelerator.wait_for_everyone))


def states_of(trainer: Any) -> Path:
    """Return the folder of a trainer's states."""
    return Path(str(trainer.args.output_dir))


def drawn(rows: Sequence[T], most: int, seed: int) -> list[T]:
    """Return at most so many rows, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order[:most]]


class Measured(Protocol):
    """What knows the figures that were measured last, with their step."""

    @property
    def last(self) -> dict[str, Any]: ...


def train_on(trainer: Any, following: Measured, folder: RunFolder, *, is_measured: bool) -> None:
    """Train to the end, from the newest state if there is one.

    Args:
        trainer: of TRL or transformers.
        following: of the run.
        folder: whose log says from where it went on.
        is_measured: whether there is something to measure on, before the first step and after the last one.
    """
    states = states_of(trainer)
    if trainer.is_world_process_zero():
        drop_unfinished(states)
    trainer.accelerator.wait_for_everyone()
    state = newest_state(states, WHOLE)
    if state:
        folder.log({"event": "resumed", "step": step_of(state)})
    trainer.args.eval_on_start = is_measured and state is None
    trainer.train(resume_from_checkpoint=str(state) if state else None)
    if is_measured and following.last.get("step") != trainer.state.global_step:
        trainer.evaluate()
