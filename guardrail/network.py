"""The one definition of the model in torch: Qwen3 backbone, two head paths, and the names of the published tensors.

Used by the torch engine, training and parity checks. Source: the published config and tensor lists; the backbone is
Qwen3's (RMSNorm, per-head query and key norm, rotary positions, grouped-query attention, SwiGLU).
Shapes use B batch, T new positions, P past positions, H heads, D head size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from guardrail.checkpoint import Checkpoint, write_checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import MissingExtra

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error


@dataclass(frozen=True, slots=True)
class GuardOutput:
    """Raw logits at every new position, float32 [B, T, n]."""

    risk_level_logits: Tensor
    category_logits: Tensor
    query_risk_level_logits: Tensor
    query_category_logits: Tensor


class KVCache:
    """Keys and values of the past, [B, kv heads, P, D] a layer. Not safe for two threads."""

    def __init__(self, n_layers: int) -> None:
        self._keys: list[Tensor | None] = [None] * n_layers
        self._values: list[Tensor | None] = [None] * n_layers

    @property
    def length(self) -> int:
        """Positions held."""
        first = self._keys[0]
        return 0 if first is None else first.shape[2]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions to one layer and return all of its keys and values."""
        past_keys, past_values = self._keys[layer], self._values[layer]
        if past_keys is not None and past_values is not None:
            keys, values = torch.cat([past_keys, keys], 2), torch.cat([past_values, values], 2)
        self._keys[layer], self._values[layer] = keys, values
        return keys, values

    def crop(self, length: int) -> None:
        """Forget every position from `length` on.

        Raises:
            ValueError: `length` is negative or more than is held.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop to {length} of {self.length} positions")
        self._keys = [None if k is None or not length else k[:, :, :length] for k in self._keys]
        self._values = [None if v is None or not length else v[:, :, :length] for v in self._values]

    def copy(self) -> "KVCache":
        """Return another cache over the same tensors; appending to either makes new ones."""
        other = KVCache(len(self._keys))
        other._keys, other._values = [*self._keys], [*self._values]
        return other

    def reset(self) -> None:
        """Forget everything."""
        self.crop(0)


class _Norm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self._eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [B, H, T, D] with cos and sin [T, D]."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class _Attention(nn.Module):
    def __init__(self, config: GuardConfig, layer: int) -> None:
        super().__init__()
        self._layer, self._config = layer, config
        hidden, size = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(hidden, config.n_heads * size, bias=False)
        self.k_proj = nn.Linear(hidden, config.n_kv_heads * size, bias=False)
        self.v_proj = nn.Linear(hidden, config.n_kv_heads * size, bias=False)
        self.o_proj = nn.Linear(config.n_heads * size, hidden, bias=False)
        self.q_norm = _Norm(size, config.rms_norm_eps)
        self.k_norm = _Norm(size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None) -> Tensor:
        batch, length, _ = x.shape
        size = self._config.head_dim
        q = _rotate(self.q_norm(self.q_proj(x).view(batch, length, -1, size)).transpose(1, 2), cos, sin)
        k = _rotate(self.k_norm(self.k_proj(x).view(batch, length, -1, size)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, length, -1, size).transpose(1, 2)
        if cache is not None:
            k, v = cache.append(self._layer, k, v)
        n_past = k.shape[2] - length
        mask = None
        if n_past and length > 1:
            mask = torch.ones(length, k.shape[2], dtype=torch.bool, device=x.device).tril(n_past)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not n_past, enable_gqa=True)
        merged: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return merged


class _Mlp(nn.Module):
    def __init__(self, config: GuardConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class DecoderLayer(nn.Module):
    """One layer of the backbone: what is sharded, or computed anew in the backward pass, as one piece."""

    def __init__(self, config: GuardConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = _Attention(config, layer)
        self.mlp = _Mlp(config)
        self.input_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = _Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        y: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return y


class _Backbone(nn.Module):
    def __init__(self, config: GuardConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.n_layers))
        self.norm = _Norm(config.hidden_size, config.rms_norm_eps)


class GuardNetwork(nn.Module):
    """Qwen3 backbone with a response and a query head path; parameter names are the published tensor names.

    The heads of a generative model read the backbone's states, without a path of their own.
    """

    def __init__(self, config: GuardConfig) -> None:
        super().__init__()
        self.config = config
        inner, hidden = config.guard_inner_size, config.hidden_size
        self.model = _Backbone(config)
        if not config.is_generative:
            self.risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
            self.risk_level_category_layernorm = _Norm(inner, config.rms_norm_eps)
        self.risk_level_head = nn.Linear(inner, len(config.response_labels.risks), bias=False)
        self.category_head = nn.Linear(inner, len(config.response_labels.categories), bias=False)
        if not config.is_generative:
            self.query_risk_level_category_pre = nn.Linear(hidden, inner, bias=False)
            self.query_risk_level_category_layernorm = _Norm(inner, config.rms_norm_eps)
        self.query_risk_level_head = nn.Linear(inner, len(config.prompt_labels.risks), bias=False)
        self.query_category_head = nn.Linear(inner, len(config.prompt_labels.categories), bias=False)

    def hidden_states(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the states behind the final norm, [B, T, hidden], for ids, int64 [B, T].

        Rows of unequal length are padded on the right: under causal attention that changes no earlier position.
        With a cache, ids continue what it holds.
        """
        start = cache.length if cache else 0
        x = self.model.embed_tokens(ids)
        cos, sin = self._rotary(start, ids.shape[1], x.device)
        for layer in self.model.layers:
            x = layer(x, cos.to(x.dtype), sin.to(x.dtype), cache)
        normed: Tensor = self.model.norm(x)
        return normed

    def heads(self, hidden: Tensor) -> GuardOutput:
        """Return the four heads' logits, in float32, for states [..., hidden]."""
        return GuardOutput(*self.response_heads(hidden), *self.query_heads(hidden))

    def response_heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a response's risk and category, in float32, for states [..., hidden]."""
        with torch.autocast(hidden.device.type, enabled=False):
            inner = hidden.float()
            if not self.config.is_generative:
                inner = self.risk_level_category_layernorm(self.risk_level_category_pre(inner))
            return self.risk_level_head(inner), self.category_head(inner)

    def query_heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a prompt's risk and category, in float32, for states [..., hidden]."""
        with torch.autocast(hidden.device.type, enabled=False):
            inner = hidden.float()
            if not self.config.is_generative:
                inner = self.query_risk_level_category_layernorm(self.query_risk_level_category_pre(inner))
            return self.query_risk_level_head(inner), self.query_category_head(inner)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> GuardOutput:
        """Return the logits at every position of ids, int64 [B, T]."""
        return self.heads(self.hidden_states(ids, cache))

    def _rotary(self, start: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin, float32 [T, D]; the frequencies are transformers' to the bit, since far positions
        multiply their rounding by thousands.
        """
        size = self.config.head_dim
        exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
        frequencies = 1.0 / (self.config.rope_theta**exponents)
        positions = torch.arange(start, start + length, dtype=torch.float32, device=device)
        angles = torch.outer(positions, frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()

    @classmethod
    def init(cls, config: GuardConfig, seed: int) -> Self:
        """Return a network with fresh weights: normal with deviation 0.02 (Qwen's initializer_range), norms at one."""
        generator = torch.Generator().manual_seed(seed)
        network = cls(config)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, 0.02, generator=generator)
        return network

    @classmethod
    def from_checkpoint(cls, folder: str | Path) -> Self:
        """Load a checkpoint in the published format, as float32.

        Raises:
            CheckpointError: as `Checkpoint.open`.
        """
        checkpoint = Checkpoint.open(Path(folder))
        network = cls(checkpoint.config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.from_numpy(checkpoint.tensor(name)))
        return network.eval()

    def save_checkpoint(self, folder: str | Path, dtype: str = "bf16") -> None:
        """Write a checkpoint in the published format."""
        tensors = {name: p.detach().float().cpu().numpy() for name, p in self.named_parameters()}
        write_checkpoint(Path(folder), self.config, tensors, dtype=dtype)
