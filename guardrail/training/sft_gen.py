"""Fine-tuning of Qwen3Guard-Gen: a causal language model learns to write verdicts, through TRL's trainer.

Prompts are rendered and encoded by our own code: TRL's rendering would lose the template's task, policy and empty
think block (`gen/examples.py`). The trainer gets ids and labels, and brings what scale needs: accumulation, bfloat16,
adapters, several processes. Started by `accelerate launch`, every process runs this; the first one writes the files.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from guardrail.errors import MissingExtra
from guardrail.training.gen.examples import GenExample, GenExamples, read_gen_examples
from guardrail.training.gen.files import Start, open_start, write_trained
from guardrail.training.gen.following import (
    WHOLE,
    Epochs,
    Following,
    WholeStates,
    drop_unfinished,
    without_file_bars,
)
from guardrail.training.gen.measuring import Measurer
from guardrail.training.gen.order import EpochOrder
from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.run_folder import STATES, RunFolder, is_first_process, newest_state, step_of
from guardrail.training.settings import load_settings
from guardrail.training.tuning.model import lora_config

try:
    import datasets
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
except ModuleNotFoundError as error:
    raise MissingExtra("trl", "train") from error

CHECKPOINT = "checkpoint"
"""Folder of a run that holds the finished model."""

_PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "tokenizers", "numpy")
"""Whose versions the log names."""


def main(config: Path, *, resume: bool = False) -> None:
    """Run the fine-tuning that a TOML file describes, or go on with it.

    Under `accelerate launch` every process calls this; the first one alone writes.
    """
    settings = load_settings(config, SftGenSettings)
    with without_file_bars():
        run(settings, RunFolder(settings.output, config, resume=resume, packages=_PACKAGES, writes=is_first_process()))


def run(settings: SftGenSettings, folder: RunFolder) -> None:
    """Train, and write a checkpoint in the published format with its tokenizer."""
    torch.set_num_threads(settings.threads)
    start = open_start(settings)
    with Console(stderr=True).status("reading and encoding the rows"):
        examples = read_gen_examples(start.tokenizer, settings)
        held_out = _drawn(examples.held_out, settings.held_out_rows, settings.seed)
    folder.log({"event": "data", **_told(examples), "start_is_guard": start.is_guard})
    trainer = GenTrainer(settings, start, examples.training, held_out)
    measure = _measure(start, held_out, settings)
    with Following(folder, measure, is_shown=trainer.is_world_process_zero()) as following:
        trainer.add_callback(following)
        _train(trainer, held_out, following, folder)
    _finish(trainer, start, settings)
    end = {**following.last, "event": "end", "step": trainer.state.global_step, "epochs": trainer.state.epoch}
    folder.log(end)


class GenTrainer(SFTTrainer):
    """TRL's trainer on rows that are ready, met in an order of our own."""

    def __init__(
        self,
        settings: SftGenSettings,
        start: Start,
        training: Sequence[GenExample],
        held_out: Sequence[GenExample],
    ) -> None:
        arguments = _arguments(settings)
        group = settings.batch * arguments.world_size if settings.group_by_length else 1
        self._order = EpochOrder([len(example.ids) for example in training], group, settings.seed)
        arguments.eval_strategy = "steps" if held_out else "no"
        super().__init__(
            model=start.model(),
            args=arguments,
            train_dataset=_dataset(training),
            eval_dataset=_dataset(held_out) if held_out else None,
            processing_class=start.hugging_face_tokenizer(),
            peft_config=_adapters(settings),
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(Epochs(self._order))
        self.add_callback(WholeStates(settings.output / STATES, self.accelerator.wait_for_everyone))

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:  # noqa: ARG002  # the trainer's own rows
        return self._order


def _arguments(settings: SftGenSettings) -> SFTConfig:
    is_on_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(settings.output / STATES),
        num_train_epochs=settings.epochs, max_steps=settings.max_steps or -1,
        per_device_train_batch_size=settings.batch, per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate, lr_scheduler_type="cosine", warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay, max_grad_norm=settings.max_gradient, bf16=settings.bf16,
        activation_checkpointing=settings.activation_checkpointing,
        logging_steps=settings.log_steps, logging_nan_inf_filter=False, disable_tqdm=True,
        report_to=list(settings.report_to), save_steps=settings.save_steps, save_total_limit=2,
        eval_steps=settings.evaluate_steps, seed=settings.seed, use_cpu=is_on_cpu,
        dataloader_pin_memory=not is_on_cpu, ddp_find_unused_parameters=False, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    # One process is one device: else a step would have more rows where several GPUs are in sight.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _adapters(settings: SftGenSettings) -> Any:
    """Return what adapters the trainer adds; None without any."""
    return None if settings.tune == "full" else lora_config(settings.lora, task_type="CAUSAL_LM")


def _dataset(examples: Sequence[GenExample]) -> datasets.Dataset:
    """Return ids and labels of each row, as the trainer takes them."""
    columns = {"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]}
    return datasets.Dataset.from_dict(columns)


def _drawn(examples: Sequence[GenExample], most: int, seed: int) -> list[GenExample]:
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[i] for i in order[:most]]


def _measure(start: Start, held_out: Sequence[GenExample], settings: SftGenSettings) -> Any:
    chosen = held_out[: settings.measured_rows]
    return Measurer(start.tokenizer, chosen, settings.batch).measure if chosen else None


def _told(examples: GenExamples) -> dict[str, int]:
    return {"rows": len(examples.training), "held_out": len(examples.held_out), **examples.counts}


def _train(trainer: GenTrainer, held_out: Sequence[GenExample], following: Following, folder: RunFolder) -> None:
    """Train to the end, from the newest state if there is one, and measure what came of it."""
    states = Path(str(trainer.args.output_dir))
    if trainer.is_world_process_zero():
        drop_unfinished(states)
    trainer.accelerator.wait_for_everyone()
    state = newest_state(states, WHOLE)
    if state:
        folder.log({"event": "resumed", "step": step_of(state)})
    trainer.args.eval_on_start = bool(held_out) and state is None
    trainer.train(resume_from_checkpoint=str(state) if state else None)
    if held_out and following.last.get("step") != trainer.state.global_step:
        trainer.evaluate()


def _finish(trainer: GenTrainer, start: Start, settings: SftGenSettings) -> None:
    """Write the checkpoint; all processes hand in their part of a model that is spread over them."""
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trained = settings.output / "trained"
    trainer.save_model(str(trained))
    if trainer.is_world_process_zero():
        write_trained(start, trained, settings.output / CHECKPOINT, settings)
        shutil.rmtree(trained)
    trainer.accelerator.wait_for_everyone()
