"""Tiny seeded checkpoints of the published format, whose verdicts vary along a text."""

import shutil
from pathlib import Path

import torch

from guardrail.checkpoint import write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.network import GuardNetwork
from guardrail.taxonomy import GENERATIVE_RESPONSE_LABELS, RiskLevel
from guardrail.testing import default_tokenizer_file
from tests.generative.examples import write_tokenizer

VOCABULARY = 16384
"""Rows of the embedded tokenizer's vocabulary, which tiny models use."""


def tiny_config(**changes: object) -> GuardConfig:
    """A config with grouped queries and a head size that is not hidden / heads."""
    sizes = {
        "hidden_size": 48, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "intermediate_size": 96,
        "vocab_size": VOCABULARY, "guard_inner_size": 24, "max_context": 512,
    }  # fmt: skip
    return GuardConfig(**{**sizes, **changes})  # type: ignore[arg-type]  # names and types as in the dataclass


def tiny_network(config: GuardConfig, seed: int = 0) -> GuardNetwork:
    """Random weights, strong enough to matter; heads that say Safe at most positions and something else at some."""
    network = GuardNetwork.init(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
            else:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        ids = torch.randint(0, config.vocab_size, (1, 256), generator=generator)
        hidden = network.hidden_states(ids)
        paths = (
            (network.risk_level_category_pre, network.risk_level_category_layernorm, network.risk_level_head,
             config.response_labels),
            (network.query_risk_level_category_pre, network.query_risk_level_category_layernorm,
             network.query_risk_level_head, config.prompt_labels),
        )  # fmt: skip
        for pre, norm, head, labels in paths:
            inner = norm(pre(hidden))[0]
            head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.7)
            mean = inner.mean(0)
            safe = labels.risks.index(RiskLevel.SAFE)
            gaps = (inner @ head.weight.T).max(-1).values - (inner @ head.weight.T)[:, safe]
            head.weight[safe] += mean / mean.dot(mean) * gaps.quantile(0.8)
    return network.eval()


def write_tiny(folder: Path, *, seed: int = 0, dtype: str = "f32", **changes: object) -> Path:
    """Write a tiny checkpoint with the embedded model's tokenizer; return its folder."""
    tiny_network(tiny_config(**changes), seed).save_checkpoint(folder, dtype)
    copy_tokenizer(folder)
    return folder


def write_tiny_gen(folder: Path, *, seed: int = 0) -> Path:
    """Write a random Qwen3Guard-Gen checkpoint of the same sizes, with a tokenizer that has its labels as words."""
    config = tiny_config(
        guard_inner_size=48, is_generative=True, tie_word_embeddings=True,
        response_labels=GENERATIVE_RESPONSE_LABELS,
    )  # fmt: skip
    tensors = {name: p.detach().numpy() for name, p in GuardNetwork.init(config, seed).named_parameters()}
    write_checkpoint(folder, config, {name: 5 * tensors[name] for name in tensor_shapes(config)}, dtype="f32")
    write_tokenizer(folder)
    return folder


def copy_tokenizer(folder: Path) -> None:
    """Put the embedded model's tokenizer into a folder."""
    shutil.copyfile(default_tokenizer_file(), folder / "tokenizer.json")
