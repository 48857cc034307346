"""Fine-tuning of Qwen3Guard-Gen: a causal language model learns to write verdicts, through TRL's trainer.

Prompts are rendered and encoded by our own code: TRL's rendering would lose the template's task, policy and empty
think block (`gen/examples.py`). The trainer gets ids and labels, and brings what scale needs: accumulation, bfloat16,
adapters, several processes. Started by `accelerate launch`, every process runs this; the first one writes the files.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from guardrail.errors import MissingExtra
from guardrail.training.gen.examples import GenExample, GenExamples, read_gen_examples
from guardrail.training.gen.files import Start, open_start, write_trained
from guardrail.training.gen.following import Following, without_file_bars
from guardrail.training.gen.measuring import Measurer
from guardrail.training.gen.order import EpochOrder
from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.gen.trainer import common_arguments, drawn, follow_order, on_one_device, train_on
from guardrail.training.run_folder import STATES, RunFolder, is_first_process
from guardrail.training.settings import load_settings
from guardrail.training.tuning.model import lora_config

try:
    import datasets
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
        held_out = drawn(examples.held_out, settings.held_out_rows, settings.seed)
    folder.log({"event": "data", **_told(examples), "start_is_guard": start.is_guard})
    trainer = GenTrainer(settings, start, examples.training, held_out)
    measure = _measure(start, held_out, settings)
    with Following(folder, measure, is_shown=trainer.is_world_process_zero()) as following:
        trainer.add_callback(following)
        train_on(trainer, following, folder, is_measured=bool(held_out))
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
        follow_order(self, self._order)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:  # noqa: ARG002  # the trainer's own rows
        return self._order


def _arguments(settings: SftGenSettings) -> SFTConfig:
    return on_one_device(
        SFTConfig(
            **common_arguments(settings, settings.output / STATES),
            activation_checkpointing=settings.activation_checkpointing, report_to=list(settings.report_to),
            ddp_find_unused_parameters=False, dataset_kwargs={"skip_prepare_dataset": True},
        )
    )  # fmt: skip


def _adapters(settings: SftGenSettings) -> Any:
    """Return what adapters the trainer adds; None without any."""
    return None if settings.tune == "full" else lora_config(settings.lora, task_type="CAUSAL_LM")


def _dataset(examples: Sequence[GenExample]) -> datasets.Dataset:
    """Return ids and labels of each row, as the trainer takes them."""
    columns = {"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]}
    return datasets.Dataset.from_dict(columns)


def _measure(start: Start, held_out: Sequence[GenExample], settings: SftGenSettings) -> Any:
    chosen = held_out[: settings.measured_rows]
    return Measurer(start.tokenizer, chosen, settings.batch).measure if chosen else None


def _told(examples: GenExamples) -> dict[str, int]:
    return {"rows": len(examples.training), "held_out": len(examples.held_out), **examples.counts}


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
