"""The attention of the graph: packed tokens are spread to rows, attend to their row's past, and are packed again.

The head size of the cache is `cache_head_dim`: onnxruntime's rotation wants multiples of 16, so other heads are padded
with zeros, which changes no result.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint_config import GuardConfig
from guardrail.onnx_export.parts import MICROSOFT, Matrix, Parts

from onnx import helper  # isort: skip  # parts names the extra when onnx is missing

_HEAD_MULTIPLE = 16


def cache_head_dim(config: GuardConfig) -> int:
    """Return the size of one head in the KV cache: `head_dim`, rounded up to a multiple of 16."""
    return -(-config.head_dim // _HEAD_MULTIPLE) * _HEAD_MULTIPLE


def rotation(config: GuardConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cos and sin, float32 [position, cached head size / 2].

    The angles are products of float32 numbers, rounded where the network rounds them (but for a last bit in which torch
    itself varies with the processor): exact angles would move the logits by 6e-4 at position 8000 (measured on a tiny
    model), since the published weights never saw them.
    """
    size, n_pairs = config.head_dim, cache_head_dim(config) // 2
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1) / (config.rope_theta ** exponents.astype(np.float64)).astype(np.float32)
    frequencies = np.pad(frequencies, (0, n_pairs - size // 2))  # padding is turned by 0
    angles = np.outer(np.arange(config.max_context, dtype=np.float32), frequencies)
    return np.cos(angles), np.sin(angles)


def add_attention(parts: Parts, config: GuardConfig, i: int, x: str) -> str:
    """Add the attention of layer i over x, [N, hidden]; return its output, [N, hidden]."""
    at, prefix = f"layer{i}", f"model.layers.{i}.self_attn"
    q = parts.matmul(f"{at}_q", x, parts.read(f"{prefix}.q_proj.weight"))
    k = parts.matmul(f"{at}_k", x, parts.read(f"{prefix}.k_proj.weight"))
    v = parts.matmul(f"{at}_v", x, _pad_heads(config, parts.read(f"{prefix}.v_proj.weight")))
    inputs = [
        _head_norm(parts, config, f"{at}_q", q, f"{prefix}.q_norm.weight"),
        _head_norm(parts, config, f"{at}_k", k, f"{prefix}.k_norm.weight"),
        parts.node("Gather", [v, "spread"], f"{at}_v_rows"),
        *(f"past_key_{i}", f"past_value_{i}", "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"),
        *[""] * 7,  # positions, bias, sink, cache scales, norm weights: not used in float32 on a CPU
        "query_seqlens",
    ]
    outputs = [f"{at}_heads", f"present_key_{i}", f"present_value_{i}"]
    attention: dict[str, Any] = {
        "num_heads": config.n_heads,
        "kv_num_heads": config.n_kv_heads,
        "scale": config.head_dim**-0.5,
    }
    attention |= {"do_rotary": 1, "rotary_interleaved": 0}
    node = helper.make_node("GroupQueryAttention", inputs, outputs, domain=MICROSOFT, **attention)
    parts.nodes.append(node)
    shape = parts.constant(f"{at}_flat_shape", np.array([-1, config.n_heads * cache_head_dim(config)], np.int64))
    flat = parts.node("Reshape", [f"{at}_heads", shape], f"{at}_flat")
    output = parts.read(f"{prefix}.o_proj.weight")
    packed = parts.node("Gather", [flat, "packed"], f"{at}_packed")
    return parts.matmul(f"{at}_o", packed, _pad_heads(config, output.T).T)


def _head_norm(parts: Parts, config: GuardConfig, name: str, x: str, weight: str) -> str:
    """Normalise each head of [N, heads * size] by itself, pad it to its size in the cache, and spread it to rows,
    [B, T, heads * cached size].
    """
    size = config.head_dim
    split = parts.constant(f"{name}_split", np.array([0, -1, size], np.int64))
    join = parts.constant(f"{name}_join", np.array([0, 0, -1], np.int64))
    heads = parts.node("Reshape", [x, split], f"{name}_heads")
    normed = parts.norm(f"{name}_head", heads, weight)
    if size != cache_head_dim(config):
        spread = _pad_heads(config, np.eye(size, dtype=np.float32))
        normed = parts.plain_matmul(f"{name}_spread", normed, spread, f"{name}_padded")
    rows = parts.node("Gather", [normed, "spread"], f"{name}_rows")
    return parts.node("Reshape", [rows, join], f"{name}_normed")


def _pad_heads(config: GuardConfig, matrix: Matrix) -> Matrix:
    """Put zero rows into a matrix, float32 [heads * size, n], behind each half of each head: the rotation pairs the
    halves.
    """
    size, padded_size = config.head_dim, cache_head_dim(config)
    if size == padded_size:
        return matrix
    halves = matrix.reshape(-1, size // 2, matrix.shape[1])
    padded = np.pad(halves, ((0, 0), (0, (padded_size - size) // 2), (0, 0)))
    return padded.reshape(-1, matrix.shape[1])
