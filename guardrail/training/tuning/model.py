"""What is trained: the network with its loss as one forward pass, and the ways to train less than all of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from guardrail.errors import MissingExtra
from guardrail.network import GuardNetwork
from guardrail.training.losses import Batch, guard_losses, row_scores
from guardrail.training.tuning.settings import Lora

NETWORK = "network."
"""Begins the names of all parameters."""

BACKBONE = "network.model."
"""Begins the names of the backbone's parameters."""

_LORA_A, _LORA_B, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer.weight"
"""Ends of the names that peft gives to the parts of an adapted matrix."""


class TunedGuard(nn.Module):
    """A network whose forward pass returns its loss, so that whatever wraps the module sees one pass.

    Attributes:
        network: what is trained.
    """

    def __init__(
        self, network: GuardNetwork, class_weights: tuple[float, ...], *, bf16: bool, recompute: bool = False
    ) -> None:
        """Wrap a network.

        Args:
            network: to be trained.
            class_weights: weight of each level in the risk terms, in the order of `PUBLISHED_RISKS`.
            bf16: whether the backbone computes in bfloat16; weights, heads and loss stay in float32.
            recompute: whether each layer is computed anew in the backward pass, which saves memory.
        """
        super().__init__()
        self.network = network
        self._bf16 = bf16
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)
        if recompute:
            for layer in network.model.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

    def forward(self, counts: Tensor | None = None, weight: Tensor | None = None, **values: Tensor) -> dict[str, Any]:
        """Return the loss and what it consists of, and in evaluation the scores of each row.

        Args:
            counts: [4], rows of the whole step that have each term; None: the batch is the step.
            weight: of the step.
            values: fields of `Batch`.
        """
        batch = Batch(**values)
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self._bf16):
            hidden = self.network.hidden_states(batch.ids)
        losses = guard_losses(self.network, hidden, batch, self.class_weights)
        loss = losses.mean(counts) * (1.0 if weight is None else weight)
        found = {"loss": loss, "sums": losses.sums.detach(), "counts": losses.counts}
        return found if self.training else {**found, "scores": row_scores(self.network, hidden, batch)}


def freeze_backbone(model: TunedGuard) -> None:
    """Train the heads alone."""
    model.network.model.requires_grad_(False)


def add_lora(model: TunedGuard, lora: Lora, seed: int) -> None:
    """Train small matrices beside those of the backbone, and the heads.

    Raises:
        MissingExtra: peft is not installed.
    """
    config = lora_config(lora)
    from peft import inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.network.model)


def lora_config(lora: Lora, **more: Any) -> Any:
    """Return how peft is told of small matrices, and of what else it takes.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ModuleNotFoundError as error:
        raise MissingExtra("peft", "train") from error
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.matrices), **more
    )


def whole_weights(state: Mapping[str, Tensor], lora: Lora) -> dict[str, Tensor]:
    """Return the weights of the published names, with small matrices, if any, added to those beside which they stand.

    Args:
        state: all parameters of a `TunedGuard`.
        lora: with which it was trained.
    """
    found = {}
    for name, value in state.items():
        stem = name.removesuffix(_BASE)
        if stem != name:
            down, up = state[stem + _LORA_A].float(), state[stem + _LORA_B].float()
            found[stem.removeprefix(NETWORK) + ".weight"] = value.float() + lora.alpha / lora.rank * (up @ down)
        elif not name.endswith((_LORA_A, _LORA_B)):
            found[name.removeprefix(NETWORK)] = value
    return found
