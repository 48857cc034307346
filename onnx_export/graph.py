"""Builds the ONNX graph straight from a checkpoint's tensors: no tracing, no torch, one tensor in memory at a time.

Backbone: GroupQueryAttention with past and present in one buffer and `query_seqlens` for ragged batches (onnxruntime
>= 1.32). Heads stay float32. In int8, matrices become MatMulNBits (8 bits, block 32, accuracy_level 4: without it
decoding is about 14 times slower, `onnx_perf.md` section 3) and the embedding is int8 per row.

Inputs, B rows and T new tokens each: `input_ids` int64 [B, T]; `seqlens_k` int32 [B], tokens a row holds afterwards
minus 1; `total_sequence_length` int32 [], the largest of those plus 1; `query_seqlens` int32 [B], valid new tokens a
row; `past_key_i`, `past_value_i` float32 [B, kv heads, capacity, head size]. Outputs: four logits float32 [B, T, n],
`present_key_i`, `present_value_i`. The head size of the cache is `cache_head_dim`: onnxruntime's rotation wants
multiples of 16, so other heads are padded with zeros, which changes no result.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import CheckpointError, ConfigurationError, MissingExtra
from guardrail.onnx_export.quantise import BLOCK, quantise_blocks, quantise_rows

try:
    import onnx
    from onnx import TensorProto, helper
except ModuleNotFoundError as error:
    raise MissingExtra("onnx", "export") from error

OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")
Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

GRAPH_VERSION = 3
"""Raised when the graph of one checkpoint changes; cached exports of older versions are not used."""

DATA_FILE = "model.onnx.data"

_OPSET, _MS_OPSET, _IR_VERSION = 21, 1, 10
_ALIGNMENT = 4096  # external data is memory-mapped
_MS = "com.microsoft"
_HEAD_MULTIPLE = 16

ReadTensor = Callable[[str], NDArray[np.float32]]
Matrix = NDArray[np.float32]


def write_graph(
    config: GuardConfig,
    read: ReadTensor,
    target: Path,
    precision: Precision,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write `model.onnx` and `model.onnx.data` into a folder; the same input gives the same bytes.

    Args:
        config: sizes and labels.
        read: returns a tensor by its published name.
        target: existing folder.
        precision: "fp32" or "int8".
        progress: called with layers done and layers in all.

    Raises:
        CheckpointError: a tensor holds NaN or infinity.
    """
    with (target / DATA_FILE).open("wb") as data:
        model = _Builder(config, read, data, int8=precision == "int8").build(progress)
    onnx.save(model, target / "model.onnx")


def check_precision(name: str) -> Precision:
    """Return the precision of that name.

    Raises:
        ConfigurationError: there is none.
    """
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise ConfigurationError(f"unknown precision {name!r}; valid: {', '.join(PRECISIONS)}")


def cache_head_dim(config: GuardConfig) -> int:
    """Return the size of one head in the KV cache: `head_dim`, rounded up to a multiple of 16."""
    return -(-config.head_dim // _HEAD_MULTIPLE) * _HEAD_MULTIPLE


def _signature(config: GuardConfig) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the graph's inputs and outputs."""
    describe = helper.make_tensor_value_info
    inputs = [
        describe("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        describe("seqlens_k", TensorProto.INT32, ["batch"]),
        describe("total_sequence_length", TensorProto.INT32, []),
        describe("query_seqlens", TensorProto.INT32, ["batch"]),
    ]
    labels = config.prompt_labels, config.response_labels
    widths = [len(names) for label_set in labels for names in (label_set.risks, label_set.categories)]
    outputs = [
        describe(name, TensorProto.FLOAT, ["batch", "tokens", width])
        for name, width in zip(OUTPUTS, widths, strict=True)
    ]
    cache: list[str | int | None] = ["batch", config.n_kv_heads, "capacity", cache_head_dim(config)]
    for name in [f"{kind}_{i}" for i in range(config.n_layers) for kind in ("key", "value")]:
        inputs.append(describe(f"past_{name}", TensorProto.FLOAT, cache))
        outputs.append(describe(f"present_{name}", TensorProto.FLOAT, cache))
    return inputs, outputs


class _Builder:
    def __init__(self, config: GuardConfig, read: ReadTensor, data: BinaryIO, *, int8: bool) -> None:
        self._config, self._source, self._data, self._int8 = config, read, data, int8
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def build(self, progress: Callable[[int, int], object] | None) -> onnx.ModelProto:
        """Add every node, in order, and wrap them up."""
        config = self._config
        self._rotary()
        x = self._embed()
        for i in range(config.n_layers):
            x = self._layer(i, x)
            if progress:
                progress(i + 1, config.n_layers)
        x = self._norm("final", x, "model.norm.weight")
        self._heads("query", "query_", x)
        self._heads("response", "", x)
        graph = helper.make_graph(self._nodes, "guard", *_signature(config), self._initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MS, _MS_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="guardrail")

    def _read(self, name: str) -> Matrix:
        """Return a tensor that is finite: NaN rounded to whole numbers would look like weights."""
        tensor = self._source(name)
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinity")
        return tensor

    def _rotary(self) -> None:
        """Store cos and sin, float32 [position, cached head size / 2].

        The angles are products of float32 numbers, rounded where the network rounds them (but for a last bit in which
        torch itself varies with the processor): exact angles would move the logits by 6e-4 at position 8000 (measured
        on a tiny model), since the published weights never saw them.
        """
        size, n_pairs = self._config.head_dim, cache_head_dim(self._config) // 2
        exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        frequencies = np.float32(1) / (self._config.rope_theta ** exponents.astype(np.float64)).astype(np.float32)
        frequencies = np.pad(frequencies, (0, n_pairs - size // 2))  # padding is turned by 0
        angles = np.outer(np.arange(self._config.max_context, dtype=np.float32), frequencies)
        self._constant("cos_cache", np.cos(angles))
        self._constant("sin_cache", np.sin(angles))

    def _embed(self) -> str:
        table = self._read("model.embed_tokens.weight")
        if not self._int8:
            return self._node("Gather", [self._constant("embedding", table), "input_ids"], "embedded")
        rows, scales = quantise_rows(table)
        raw = self._node("Gather", [self._constant("embedding", rows), "input_ids"], "embedded_int8")
        scale = self._node("Gather", [self._constant("embedding_scales", scales), "input_ids"], "embedded_scale")
        values = self._node("Cast", [raw], "embedded_float", to=TensorProto.FLOAT)
        return self._node("Mul", [values, scale], "embedded")

    def _layer(self, i: int, x: str) -> str:
        prefix, at = f"model.layers.{i}", f"layer{i}"
        normed = self._norm(f"{at}_in", x, f"{prefix}.input_layernorm.weight")
        attended = self._attention(i, normed)
        x = self._node("Add", [x, attended], f"{at}_attended")
        normed = self._norm(f"{at}_post", x, f"{prefix}.post_attention_layernorm.weight")
        gate = self._matmul(f"{at}_gate", normed, self._read(f"{prefix}.mlp.gate_proj.weight"))
        up = self._matmul(f"{at}_up", normed, self._read(f"{prefix}.mlp.up_proj.weight"))
        activated = self._node("QuickGelu", [gate], f"{at}_silu", domain=_MS, alpha=1.0)  # alpha 1 is SiLU
        product = self._node("Mul", [activated, up], f"{at}_gated")
        down = self._matmul(f"{at}_down", product, self._read(f"{prefix}.mlp.down_proj.weight"))
        return self._node("Add", [x, down], f"{at}_out")

    def _attention(self, i: int, x: str) -> str:
        config, at, prefix = self._config, f"layer{i}", f"model.layers.{i}.self_attn"
        q = self._matmul(f"{at}_q", x, self._read(f"{prefix}.q_proj.weight"))
        k = self._matmul(f"{at}_k", x, self._read(f"{prefix}.k_proj.weight"))
        v = self._matmul(f"{at}_v", x, self._pad_heads(self._read(f"{prefix}.v_proj.weight")))
        inputs = [
            self._head_norm(f"{at}_q", q, f"{prefix}.q_norm.weight"),
            self._head_norm(f"{at}_k", k, f"{prefix}.k_norm.weight"),
            *(v, f"past_key_{i}", f"past_value_{i}", "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"),
            *[""] * 7,  # positions, bias, sink, cache scales, norm weights: not used on a CPU
            "query_seqlens",
        ]
        node = helper.make_node(
            "GroupQueryAttention",
            inputs,
            [f"{at}_heads", f"present_key_{i}", f"present_value_{i}"],
            domain=_MS,
            num_heads=config.n_heads,
            kv_num_heads=config.n_kv_heads,
            scale=config.head_dim**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
        )
        self._nodes.append(node)
        output = self._read(f"{prefix}.o_proj.weight")
        return self._matmul(f"{at}_o", f"{at}_heads", self._pad_heads(output.T).T)

    def _head_norm(self, name: str, x: str, weight: str) -> str:
        """Normalise each head of [batch, tokens, heads * size] by itself, then pad it to its size in the cache."""
        size = self._config.head_dim
        split = self._constant(f"{name}_split", np.array([0, 0, -1, size], np.int64))
        join = self._constant(f"{name}_join", np.array([0, 0, -1], np.int64))
        heads = self._node("Reshape", [x, split], f"{name}_heads")
        normed = self._norm(f"{name}_head", heads, weight)
        if size != cache_head_dim(self._config):
            spread = self._pad_heads(np.eye(size, dtype=np.float32))
            normed = self._plain_matmul(f"{name}_spread", normed, spread, f"{name}_padded")
        return self._node("Reshape", [normed, join], f"{name}_normed")

    def _pad_heads(self, matrix: Matrix) -> Matrix:
        """Put zero rows into a matrix, float32 [heads * size, n], behind each half of each head: the rotation pairs
        the halves.
        """
        size, padded_size = self._config.head_dim, cache_head_dim(self._config)
        if size == padded_size:
            return matrix
        halves = matrix.reshape(-1, size // 2, matrix.shape[1])
        padded = np.pad(halves, ((0, 0), (0, (padded_size - size) // 2), (0, 0)))
        return padded.reshape(-1, matrix.shape[1])

    def _heads(self, role: str, prefix: str, x: str) -> None:
        """Add one pair of heads, in float32 whatever the precision."""
        inner = self._head(f"{role}_pre", x, f"{prefix}risk_level_category_pre.weight", f"{role}_inner")
        normed = self._norm(role, inner, f"{prefix}risk_level_category_layernorm.weight")
        self._head(f"{role}_risk_head", normed, f"{prefix}risk_level_head.weight", f"{role}_risk")
        self._head(f"{role}_category_head", normed, f"{prefix}category_head.weight", f"{role}_category")

    def _head(self, name: str, x: str, weight: str, output: str) -> str:
        return self._plain_matmul(name, x, self._read(weight), output)

    def _norm(self, name: str, x: str, weight: str) -> str:
        scale = self._constant(f"{name}_norm_weight", self._read(weight))
        epsilon = self._config.rms_norm_eps
        return self._node("SimplifiedLayerNormalization", [x, scale], f"{name}_norm", axis=-1, epsilon=epsilon)

    def _matmul(self, name: str, x: str, matrix: Matrix) -> str:
        """Multiply x by a matrix, float32 [output, input], in the graph's precision."""
        if not self._int8:
            return self._plain_matmul(name, x, matrix, f"{name}_product")
        quantised, scales = quantise_blocks(matrix)
        inputs = [x, self._constant(f"{name}_weight", quantised), self._constant(f"{name}_scales", scales)]
        sizes = {"N": matrix.shape[0], "K": matrix.shape[1], "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        return self._node("MatMulNBits", inputs, f"{name}_product", domain=_MS, **sizes)

    def _plain_matmul(self, name: str, x: str, matrix: Matrix, output: str) -> str:
        transposed = np.ascontiguousarray(matrix.T)
        return self._node("MatMul", [x, self._constant(f"{name}_weight", transposed)], output)

    def _node(self, op: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        """Store a tensor: small ones in the graph, others in the data file."""
        if array.nbytes < 1024:
            self._initializers.append(onnx.numpy_helper.from_array(array, name))
            return name
        array = np.ascontiguousarray(array)
        self._data.write(b"\0" * (-self._data.tell() % _ALIGNMENT))
        tensor = TensorProto(name=name, data_location=TensorProto.EXTERNAL, dims=array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        place = {"location": DATA_FILE, "offset": self._data.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(array.data)
        self._initializers.append(tensor)
        return name
