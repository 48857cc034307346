"""`guardrail train helpfulness`: a pairwise loss (Bradley-Terry) on the pairs of triples, through TRL's RewardTrainer.

The trainer gets ids: conversations are rendered and cut as they are when the model is used.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from guardrail.errors import MissingExtra
from guardrail.training.gen.following import Following, without_file_bars
from guardrail.training.gen.order import EpochOrder
from guardrail.training.gen.trainer import common_arguments, drawn, follow_order, on_one_device, train_on
from guardrail.training.rewards.classifier import encoded
from guardrail.training.rewards.helpfulness import chat
from guardrail.training.rewards.learning.measuring import Measurer
from guardrail.training.rewards.learning.settings import HelpfulnessSettings
from guardrail.training.rewards.learning.start import open_start, write_trained
from guardrail.training.rewards.learning.triples import Triple, read_triples
from guardrail.training.run_folder import STATES, RunFolder, is_first_process
from guardrail.training.settings import load_settings

try:
    import datasets
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer
except ModuleNotFoundError as error:
    raise MissingExtra("trl", "train") from error

CHECKPOINT = "checkpoint"
"""Folder of a run that holds the finished model."""

_PACKAGES = ("torch", "transformers", "trl", "accelerate", "tokenizers", "numpy")
"""Whose versions the log names."""

Pair = tuple[list[int], list[int]]
"""Ids of the conversation with the better answer, and with the worse one."""


def main(config: Path, *, resume: bool = False) -> None:
    """Run the training that a TOML file describes, or go on with it.

    Under `accelerate launch` every process calls this; the first one alone writes.
    """
    settings = load_settings(config, HelpfulnessSettings)
    with without_file_bars():
        run(settings, RunFolder(settings.output, config, resume=resume, packages=_PACKAGES, writes=is_first_process()))


def run(settings: HelpfulnessSettings, folder: RunFolder) -> None:
    """Train, and write the model with its tokenizer."""
    torch.set_num_threads(settings.threads)
    with Console(stderr=True).status("reading and encoding the rows"):
        triples = read_triples(settings.data_dir, settings.sources, settings.refusals, settings.seed)
        tokenizer, model = open_start(settings)
        held_out = drawn(triples.held_out, settings.held_out_rows, settings.seed)
        training = list(_pairs(tokenizer, triples.training, settings.max_length))
        measured = list(_pairs(tokenizer, held_out, settings.max_length))
    folder.log({"event": "data", **triples.counts, "pairs": len(training), "held_out_pairs": len(measured)})
    measure = Measurer(tokenizer, held_out, settings.max_length, settings.batch).measure if held_out else None
    trainer = HelpfulnessTrainer(settings, model, tokenizer, training, measured)
    with Following(folder, measure, is_shown=trainer.is_world_process_zero(), name="helpfulness") as following:
        trainer.add_callback(following)
        train_on(trainer, following, folder, is_measured=bool(held_out))
    if trainer.is_world_process_zero():
        write_trained(trainer.accelerator.unwrap_model(trainer.model), tokenizer, settings.output / CHECKPOINT)
    trainer.accelerator.wait_for_everyone()
    folder.log({**following.last, "event": "end", "step": trainer.state.global_step, "epochs": trainer.state.epoch})


class HelpfulnessTrainer(RewardTrainer):
    """TRL's trainer on pairs that are ready, met in an order of our own."""

    def __init__(
        self,
        settings: HelpfulnessSettings,
        model: Any,
        tokenizer: Any,
        training: Sequence[Pair],
        held_out: Sequence[Pair],
    ) -> None:
        arguments = _arguments(settings)
        group = settings.batch * arguments.world_size
        self._order = EpochOrder([max(map(len, pair)) for pair in training], group, settings.seed)
        arguments.eval_strategy = "steps" if held_out else "no"
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=_dataset(training),
            eval_dataset=_dataset(held_out) if held_out else None,
            processing_class=tokenizer,
        )
        follow_order(self, self._order)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:  # noqa: ARG002  # the trainer's own rows
        return self._order


def _arguments(settings: HelpfulnessSettings) -> RewardConfig:
    return on_one_device(
        RewardConfig(
            **common_arguments(settings, settings.output / STATES), activation_checkpointing=False, report_to=[],
            center_rewards_coefficient=settings.centring or None,
        )
    )  # fmt: skip


def _pairs(tokenizer: Any, triples: Sequence[Triple], max_length: int) -> Iterator[Pair]:
    """Yield the three pairs of each triple, as ids."""
    for triple in triples:
        texts = {text for pair in triple.pairs for text in pair}
        ids = {text: encoded(tokenizer, chat(triple.prompt, text), max_length) for text in texts}
        yield from ((ids[better], ids[worse]) for better, worse in triple.pairs)


def _dataset(pairs: Sequence[Pair]) -> datasets.Dataset:
    """Return pairs as the trainer takes them."""
    better, worse = zip(*pairs, strict=True)
    return datasets.Dataset.from_dict({"chosen_ids": list(better), "rejected_ids": list(worse)})
