"""What a run is about: the policy model's start, prompts and judges; from models and files, or the toy's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.loader import find_checkpoint
from guardrail.training.gen.files import load_model
from guardrail.training.rewards.opening import open_rewarder
from guardrail.training.rewards.settings import RewardSettings
from guardrail.training.rl.prompts import Prompt, Renderer, read_prompts
from guardrail.training.rl.scoring import Judges
from guardrail.training.rl.settings import RlSettings
from guardrail.training.rl.toy.settings import ToySettings
from guardrail.training.run_folder import n_processes

try:
    from transformers import AutoTokenizer
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

START = "start"
"""Folder of a run that holds the toy's policy model."""

PROMPT_SEED = 1
"""Draws the prompts of a file with `max_rows`; the same for all seeds of a run, so that they meet the same ones."""


@dataclass(frozen=True, slots=True)
class World:
    """What a run is about.

    Attributes:
        start: folder of the policy model before the training.
        training: prompts to train on, not yet chosen, without modes.
        held_out: prompts to measure on, likewise.
        tokenizer: of the policy model.
        renderer: with its chat template.
    """

    start: Path
    training: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    tokenizer: Any
    renderer: Renderer

    def model(self) -> Any:
        """Return the policy model before the training, with float32 weights."""
        return load_model(self.start, torch.float32)

    def end_ids(self, model: Any) -> frozenset[int]:
        """Return the tokens that end an answer."""
        own = model.generation_config.eos_token_id
        found = [own] if isinstance(own, int) else list(own or ())
        return frozenset([*found, self.tokenizer.eos_token_id])

    def text_of(self, ids: list[int], ends: frozenset[int]) -> str:
        """Return what was written: everything up to the end token, with what other special tokens stand in it."""
        n = next((i for i, one in enumerate(ids) if one in ends), len(ids))
        return str(self.tokenizer.decode(ids[:n], skip_special_tokens=False, clean_up_tokenization_spaces=False))


def open_world(settings: RlSettings) -> World:
    """Return what a run is about; the toy's policy model is made if it is not there yet.

    Raises:
        ConfigurationError: a model or a file of prompts cannot be read, or held-out prompts lack a kind.
    """
    if settings.toy:
        start, training, held_out = _toy(settings.toy, settings.output / START)
    elif settings.policy_model:
        start = find_checkpoint(settings.policy_model.start, revision=settings.policy_model.revision)
        training, held_out = (read_prompts(files, PROMPT_SEED) for files in (settings.prompts, settings.held_out))
    else:  # `load_rl` refuses it
        raise ConfigurationError("needs policy_model, or [toy]")
    _check(training, held_out)
    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(start, trust_remote_code=False)
    return World(start, tuple(training), tuple(held_out), tokenizer, Renderer(tokenizer))


def _toy(toy: ToySettings, start: Path) -> tuple[Path, list[Prompt], list[Prompt]]:
    from guardrail.training.rl.toy.policy_model import make_policy_model
    from guardrail.training.rl.toy.world import draw_prompts

    training, held_out = draw_prompts(toy)
    if not start.is_dir():
        if n_processes() > 1:
            raise ConfigurationError("there is no policy model yet", hint="run guardrail train rollouts once before")
        make_policy_model(start, training, toy)
    return start, training, held_out


def _check(training: list[Prompt], held_out: list[Prompt]) -> None:
    if len({prompt.is_harmful for prompt in held_out}) < 2:
        raise ConfigurationError("held_out: needs harmful and benign prompts", hint="what a run does shows on both")
    if len({prompt.id for prompt in training}) < len(training):
        raise ConfigurationError("prompts: two of them share source and id", hint="make ids unique within a source")
    if both := {prompt.messages for prompt in training} & {prompt.messages for prompt in held_out}:
        raise ConfigurationError(f"{len(both)} prompts are both trained on and held out", hint="leave them out of one")


@contextmanager
def open_judges(settings: RlSettings) -> Iterator[Judges]:
    """Give the judges of a run for as long as the context lasts.

    Raises:
        ConfigurationError: a model cannot be read, or one that a reward needs is not named.
    """
    if settings.toy:
        from guardrail.training.rl.toy.judges import ToyJudges

        yield ToyJudges()
        return
    rewarder = open_rewarder(settings.judges or RewardSettings())
    try:
        for kind in settings.rewards:
            rewarder.check(kind)
        yield rewarder
    finally:
        rewarder.close()
