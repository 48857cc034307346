"""Four-head fine-tuning with the reference's losses, on transformers' Trainer: `guardrail train sft`.

Ours, since the report gives no hyper-parameters: all numbers of the settings, token noise, soft labels, the label rule
for answers without a span (`examples.py`), and batches by a token budget, in which every row weighs the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from guardrail.checkpoint import TOKENIZER_FILE, write_checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.loader import find_checkpoint
from guardrail.network import GuardNetwork
from guardrail.taxonomy import RiskLevel
from guardrail.training.examples import IGNORED, Example, HeadLabels, Teach, read_examples
from guardrail.training.run_folder import RunFolder, is_first_process
from guardrail.training.settings import load_settings
from guardrail.training.tuning.model import TunedGuard, add_lora, freeze_backbone, whole_weights
from guardrail.training.tuning.settings import SftSettings
from guardrail.training.tuning.start import start_network
from guardrail.whole_files import whole_folder

if TYPE_CHECKING:
    from guardrail.training.tuning.trainer import GuardTrainer

__all__ = ["SftSettings", "main", "run"]

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")
"""Whose versions the log names."""


def main(config: Path, *, resume: bool = False) -> None:
    """Run the fine-tuning that a TOML file describes, or go on with it.

    Under `accelerate launch` every process calls this; the first one alone writes.
    """
    settings = load_settings(config, SftSettings)
    run(settings, RunFolder(settings.output, config, resume=resume, packages=_PACKAGES, writes=is_first_process()))


def run(settings: SftSettings, folder: RunFolder) -> None:
    """Train and write a checkpoint in the published format, with its tokenizer."""
    from guardrail.training.tuning.trainer import GuardTrainer

    torch.set_num_threads(settings.threads)
    start = find_checkpoint(settings.start, revision=settings.revision)
    tokenizer = GuardTokenizer.from_file(start / TOKENIZER_FILE)
    network = start_network(start, settings)
    with Console(stderr=True).status("reading and encoding the rows, and fitting the teacher if there is one"):
        examples = _examples(tokenizer, settings, network.config)
    training, held_out = _split(examples, settings)
    _check_rows(settings, training, held_out)
    n_unnamed = _n_unnamed([*training, *held_out], network.config)
    folder.log({"event": "data", "rows": len(training), "held_out": len(held_out), "no_category": n_unnamed})
    trainer = GuardTrainer(settings, _model(settings, network), training, held_out, folder.path)
    _train(trainer, folder)
    weights = trainer.whole_state()
    if trainer.is_world_process_zero():
        _write(folder.path / "checkpoint", network.config, whole_weights(weights, settings.lora), settings.dtype, start)
    if trainer.share.n_processes > 1:
        trainer.accelerator.end_training()


def _train(trainer: "GuardTrainer", folder: RunFolder) -> None:
    from guardrail.training.tuning.watching import Watcher

    if not trainer.is_world_process_zero():
        trainer.run()
        return
    if trainer.first_step:
        folder.log({"event": "resumed", "step": trainer.first_step})
    with Watcher(folder, trainer.clock, trainer.plan) as watcher:
        trainer.add_callback(watcher)
        trainer.run()
    step = trainer.state.global_step
    epochs = step / trainer.plan.n_steps * trainer.settings.epochs
    folder.log({"event": "end", "step": step, "epochs": epochs, **trainer.last_figures})
    watcher.report()


def _examples(tokenizer: GuardTokenizer, settings: SftSettings, config: GuardConfig) -> list[Example]:
    teach: Teach | None = None
    if settings.teacher_share and settings.word_teacher:
        from guardrail.training import teacher

        teach = teacher.teach
    found = read_examples(
        tokenizer, settings.data_dir, settings.sources, settings.max_length, settings.seed, teach=teach,
        teacher_share=settings.teacher_share, labels=HeadLabels(config.prompt_labels, config.response_labels),
    )  # fmt: skip
    return list(found)


def _split(examples: Sequence[Example], settings: SftSettings) -> tuple[list[Example], list[Example]]:
    """Return the rows to train on, as often as they are seen, and those that are judged, each once."""
    held_out = list({id(e): e for e in examples if e.is_held_out}.values())
    if 0 < settings.held_out_rows < len(held_out):
        drawn = np.random.default_rng(settings.seed).permutation(len(held_out))[: settings.held_out_rows]
        held_out = [held_out[i] for i in sorted(drawn)]
    return [e for e in examples if not e.is_held_out], held_out


def _check_rows(settings: SftSettings, training: Sequence[Example], held_out: Sequence[Example]) -> None:
    if not training:
        raise ConfigurationError(f"no rows to train on: {len(held_out)} are held out and there are no others")
    if settings.keep == "best" and not held_out:
        raise ConfigurationError(
            'keep = "best" needs held-out rows, and there are none', hint='add rows, or set keep = "last"'
        )


def _n_unnamed(examples: Sequence[Example], config: GuardConfig) -> int:
    """Return the risky rows, each once, that name no category of the labels: only their level is learned."""
    prompt, response = (labels.risks.index(RiskLevel.SAFE) for labels in (config.prompt_labels, config.response_labels))
    distinct = {id(example): example for example in examples}.values()
    return sum(
        (e.query_category == IGNORED and e.query_risk not in (IGNORED, prompt))
        or (e.response_category == IGNORED and bool(np.isin(e.response_risk, (IGNORED, response), invert=True).any()))
        for e in distinct
    )


def _model(settings: SftSettings, network: GuardNetwork) -> TunedGuard:
    model = TunedGuard(network, settings.class_weights, bf16=settings.bf16, recompute=settings.activation_checkpointing)
    if settings.tune == "lora":
        add_lora(model, settings.lora, settings.seed)
    elif settings.tune == "heads":
        freeze_backbone(model)
    return model


def _write(folder: Path, config: GuardConfig, weights: dict[str, Tensor], dtype: str, start: Path) -> None:
    arrays = {name: value.detach().float().cpu().numpy() for name, value in weights.items()}
    with whole_folder(folder) as unfinished:
        write_checkpoint(unfinished, config, arrays, dtype=dtype)
        (unfinished / TOKENIZER_FILE).write_bytes((start / TOKENIZER_FILE).read_bytes())
