"""Builds the ONNX graph straight from a checkpoint's tensors: no tracing, no torch, one tensor in memory at a time.

Backbone: GroupQueryAttention with past and present in one buffer and `query_seqlens` for ragged batches (onnxruntime
>= 1.32). Heads stay float32. In int8 and int4, matrices become MatMulNBits (accuracy_level 4: without it decoding is
about 14 times slower, `onnx_perf.md` section 3) and the embedding is int8 per row.

The tokens of all rows are packed: everything but attention sees N tokens and no padding, so an idle row costs nothing
and a long chunk beside fifteen single tokens costs its own length, not sixteen times it. Only the attention sees rows,
B of them with at most T new tokens each.

Inputs: `input_ids` int64 [N]; `spread` int64 [B, T], which packed token stands there (any, behind a row's last);
`packed` int64 [N], where each token stands in the flattened [B * T]; `seqlens_k` int32 [B], tokens a row holds
afterwards minus 1, at least 0; `total_sequence_length` int32 [], the largest of those plus 1; `query_seqlens` int32
[B], new tokens of a row, 0 for an idle one; `past_key_i`, `past_value_i` float32 [B, kv heads, capacity, head size].
Outputs: four logits float32 [N, n], `present_key_i`, `present_value_i`. Head sizes are those of the
cache, `cache_head_dim`.
"""

from collections.abc import Callable
from pathlib import Path

from guardrail.checkpoint_config import GuardConfig
from guardrail.onnx_export.attention import add_attention, cache_head_dim, rotation
from guardrail.onnx_export.parts import DATA_FILE, MICROSOFT, Parts, ReadTensor
from guardrail.onnx_export.precision import WeightFormat

import onnx  # isort: skip  # parts names the extra when it is missing
from onnx import TensorProto, helper  # isort: skip

OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")

GRAPH_VERSION = 4
"""Raised when the graph of one checkpoint changes; cached exports of older versions are not used."""

_OPSET, _MS_OPSET, _IR_VERSION = 21, 1, 10

Progress = Callable[[int, int], object]
"""Called with how many are done and how many there are: layers, or texts."""


def write_graph(
    config: GuardConfig, read: ReadTensor, target: Path, weights: WeightFormat, progress: Progress | None = None
) -> None:
    """Write `model.onnx` and `model.onnx.data` into a folder; the same input gives the same bytes.

    Args:
        config: sizes and labels.
        read: returns a tensor by its published name.
        target: existing folder.
        weights: how matrices are stored.
        progress: told of each layer.

    Raises:
        CheckpointError: a tensor holds NaN or infinity.
    """
    with (target / DATA_FILE).open("wb") as data:
        parts = Parts(read, data, weights, epsilon=config.rms_norm_eps)
        _add_all(parts, config, progress)
    graph = helper.make_graph(parts.nodes, "guard", *_signature(config), parts.initializers)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, _MS_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="guardrail")
    onnx.save(model, target / "model.onnx")


def _signature(config: GuardConfig) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the graph's inputs and outputs."""
    describe = helper.make_tensor_value_info
    inputs = [
        describe("input_ids", TensorProto.INT64, ["packed_tokens"]),
        describe("spread", TensorProto.INT64, ["batch", "tokens"]),
        describe("packed", TensorProto.INT64, ["packed_tokens"]),
        describe("seqlens_k", TensorProto.INT32, ["batch"]),
        describe("total_sequence_length", TensorProto.INT32, []),
        describe("query_seqlens", TensorProto.INT32, ["batch"]),
    ]
    labels = config.prompt_labels, config.response_labels
    widths = [len(names) for label_set in labels for names in (label_set.risks, label_set.categories)]
    outputs = [
        describe(name, TensorProto.FLOAT, ["packed_tokens", width]) for name, width in zip(OUTPUTS, widths, strict=True)
    ]
    cache: list[str | int | None] = ["batch", config.n_kv_heads, "capacity", cache_head_dim(config)]
    for name in [f"{kind}_{i}" for i in range(config.n_layers) for kind in ("key", "value")]:
        inputs.append(describe(f"past_{name}", TensorProto.FLOAT, cache))
        outputs.append(describe(f"present_{name}", TensorProto.FLOAT, cache))
    return inputs, outputs


def _add_all(parts: Parts, config: GuardConfig, progress: Progress | None) -> None:
    """Add every node, in order. Each residual sum is made by the norm that comes next."""
    for name, table in zip(("cos_cache", "sin_cache"), rotation(config), strict=True):
        parts.constant(name, table)
    x, addend = parts.embedding(parts.read("model.embed_tokens.weight"), "input_ids"), None
    for i in range(config.n_layers):
        x, addend = _add_layer(parts, config, i, x, addend)
        if progress:
            progress(i + 1, config.n_layers)
    normed, _ = _add_and_norm(parts, "final", x, addend, "model.norm.weight")
    for role, prefix in (("query", "query_"), ("response", "")):
        _add_heads(parts, role, prefix, normed if config.is_generative else _head_path(parts, role, prefix, normed))


def _add_layer(parts: Parts, config: GuardConfig, i: int, x: str, addend: str | None) -> tuple[str, str]:
    """Add a layer over the residual stream and what is still to be added to it; return the two behind the layer."""
    prefix, at = f"model.layers.{i}", f"layer{i}"
    normed, x = _add_and_norm(parts, f"{at}_in", x, addend, f"{prefix}.input_layernorm.weight")
    attended = add_attention(parts, config, i, normed)
    normed, x = parts.add_and_norm(f"{at}_post", x, attended, f"{prefix}.post_attention_layernorm.weight")
    gate = parts.matmul(f"{at}_gate", normed, parts.read(f"{prefix}.mlp.gate_proj.weight"))
    up = parts.matmul(f"{at}_up", normed, parts.read(f"{prefix}.mlp.up_proj.weight"))
    activated = parts.node("QuickGelu", [gate], f"{at}_silu", domain=MICROSOFT, alpha=1.0)  # alpha 1 is SiLU
    product = parts.node("Mul", [activated, up], f"{at}_gated")
    return x, parts.matmul(f"{at}_down", product, parts.read(f"{prefix}.mlp.down_proj.weight"))


def _add_and_norm(parts: Parts, name: str, x: str, addend: str | None, weight: str) -> tuple[str, str]:
    """Return the residual stream's norm and the stream; in front of the first layer nothing is to be added to it."""
    return (parts.norm(name, x, weight), x) if addend is None else parts.add_and_norm(name, x, addend, weight)


def _head_path(parts: Parts, role: str, prefix: str, x: str) -> str:
    """Add what stands before one pair of heads, in float32 whatever the precision."""
    pre = parts.read(f"{prefix}risk_level_category_pre.weight")
    inner = parts.plain_matmul(f"{role}_pre", x, pre, f"{role}_inner")
    return parts.norm(role, inner, f"{prefix}risk_level_category_layernorm.weight")


def _add_heads(parts: Parts, role: str, prefix: str, x: str) -> None:
    """Add one pair of heads, in float32 whatever the precision."""
    for head, name in (("risk_level", "risk"), ("category", "category")):
        weight = parts.read(f"{prefix}{head}_head.weight")
        parts.plain_matmul(f"{role}_{name}_head", x, weight, f"{role}_{name}")
