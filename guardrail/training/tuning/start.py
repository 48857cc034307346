"""What a run starts from: a guard with its heads, or a language model that gets fresh ones."""

from dataclasses import replace
from pathlib import Path

import torch

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import ConfigurationError
from guardrail.network import GuardNetwork
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, category_name
from guardrail.training.tuning.settings import Labels, SftSettings

_LEAST_INNER = 32
_INITIAL_DEVIATION = 0.02  # Qwen's initializer_range


def start_network(folder: Path, settings: SftSettings) -> GuardNetwork:
    """Return the network to train, in float32: what the checkpoint has of it, the rest at random from the seed.

    Raises:
        CheckpointError: the folder holds no checkpoint of that architecture.
        ConfigurationError: the settings ask for labels or sizes that it cannot have.
    """
    checkpoint = Checkpoint.open(folder, with_heads=False)
    has_heads = not checkpoint.config.is_generative
    network = GuardNetwork(_guard_config(checkpoint.config, settings))
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1 and not name.startswith("model."):
                parameter.normal_(0.0, _INITIAL_DEVIATION, generator=generator)
            if has_heads and "category_head" in name:
                _carry_over(name, parameter, checkpoint, network.config)
            elif has_heads or name.startswith("model."):
                parameter.copy_(torch.from_numpy(checkpoint.tensor(name)))
    return network


def _carry_over(name: str, parameter: torch.Tensor, checkpoint: Checkpoint, config: GuardConfig) -> None:
    """Copy the rows of a category head whose categories the start knows; the others stay as they are."""
    is_query = name.startswith("query_")
    before, after = (c.prompt_labels if is_query else c.response_labels for c in (checkpoint.config, config))
    rows = checkpoint.tensor(name)
    for i, category in enumerate(after.categories):
        if category in before.categories:
            parameter[i] = torch.from_numpy(rows[before.categories.index(category)])


def _guard_config(config: GuardConfig, settings: SftSettings) -> GuardConfig:
    inner = settings.guard_inner_size
    if config.is_generative:
        inner = inner or max(_LEAST_INNER, config.hidden_size // 2)
        config = replace(
            config, is_generative=False, guard_inner_size=inner, prompt_labels=PROMPT_LABELS,
            response_labels=RESPONSE_LABELS,
        )  # fmt: skip
    elif inner not in (0, config.guard_inner_size):
        raise ConfigurationError(
            f"guard_inner_size is {inner}, but the start has heads of {config.guard_inner_size}", hint="leave it out"
        )
    return _with_labels(config, settings.labels) if settings.labels else config


def _with_labels(config: GuardConfig, labels: Labels) -> GuardConfig:
    try:
        return replace(
            config, prompt_labels=_relabelled(config.prompt_labels, labels.prompts),
            response_labels=_relabelled(config.response_labels, labels.responses),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigurationError(f"labels: {error}") from None


def _relabelled(labels: LabelSet, categories: tuple[str, ...]) -> LabelSet:
    return LabelSet(labels.risks, tuple(category_name(name) for name in categories))
