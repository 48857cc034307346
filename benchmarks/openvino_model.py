"""The network in OpenVINO: a graph built from a checkpoint, and an engine that runs it.

The graph is what OpenVINO runs fastest: stateful keys and values, so that its plugin fuses them with attention; int8
weights with one scale for each output, as NNCF's INT8_SYM makes them; norms and rotations in the forms that the plugin
fuses. Heads stay fp32, as in our own export. In fp32 its logits are torch's to 1e-5 (tiny checkpoints).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Model, Node, PartialShape, Type
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

from guardrail.checkpoint import Checkpoint
from guardrail.engines.base import HEADS, Feed, Logits, ModelInfo, check_feeds, check_logits
from guardrail.onnx_export.quantise import quantise_rows

Settings = dict[str, str | int]
"""Properties of OpenVINO's CPU plugin."""


def write_model(checkpoint: Path, file: Path, precision: str) -> None:
    """Write the graph as file.xml and file.bin.

    Args:
        checkpoint: in the published format.
        file: ending in .xml.
        precision: "int8" or "fp32".
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(_Builder(Checkpoint.open(checkpoint), precision).model(), file, compress_to_fp16=False)


class _Builder:
    """Builds the graph of one checkpoint; B is always 1, T new tokens, P past ones, K key heads, D their size."""

    def __init__(self, checkpoint: Checkpoint, precision: str) -> None:
        self._checkpoint, self._precision = checkpoint, precision
        self._config = checkpoint.config
        self._assigned: list[Node] = []
        self._ids = _input("input_ids", [1, -1], np.int64)
        self._positions = _input("position_ids", [1, -1], np.int64)
        self._order = _input("beam_idx", [-1], np.int32)  # the fusion wants one; always 0
        self._cos, self._sin = self._rotation()

    def model(self) -> Model:
        """Return the whole graph."""
        config = self._config
        x = op.gather(self._weight(["model.embed_tokens"]), self._ids, _whole(0))
        for i in range(config.n_layers):
            place = f"model.layers.{i}."
            x = op.add(x, self._attention(self._norm(x, place + "input_layernorm"), i))
            x = op.add(x, self._mlp(self._norm(x, place + "post_attention_layernorm"), place + "mlp."))
        x = self._norm(x, "model.norm")
        outputs = [head for prefix in ("query_", "") for head in self._two_heads(x, prefix)]
        for name, output in zip(HEADS, outputs, strict=True):
            output.output(0).set_names({name})
        inputs = [self._ids, self._positions, self._order]
        return Model([output.output(0) for output in outputs], self._assigned, inputs, "guard")

    def _two_heads(self, x: Node, prefix: str) -> list[Node]:
        pre = self._linear(x, f"{prefix}risk_level_category_pre", precision="fp32")
        pre = self._norm(pre, f"{prefix}risk_level_category_layernorm")
        return [self._linear(pre, prefix + name, precision="fp32") for name in ("risk_level_head", "category_head")]

    def _attention(self, x: Node, layer: int) -> Node:
        config, place = self._config, f"model.layers.{layer}.self_attn."
        size = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        joined = self._linear(x, *(f"{place}{name}_proj" for name in "qkv"))
        q, k, v = op.variadic_split(joined, _whole(2), _whole([size[0], size[1], size[1]])).outputs()
        q = self._rotated(_by_head(self._norm(self._heads(q, config.n_heads), place + "q_norm")))
        k = self._rotated(_by_head(self._norm(self._heads(k, config.n_kv_heads), place + "k_norm")))
        keys, values = (
            self._held(k, f"key_{layer}"),
            self._held(_by_head(self._heads(v, config.n_kv_heads)), f"v{layer}"),
        )
        y = op.scaled_dot_product_attention(q, keys, values, causal=True)  # the plugin counts from the last key
        return self._linear(op.reshape(_by_head(y), _whole([0, 0, size[0]]), True), place + "o_proj")

    def _mlp(self, x: Node, place: str) -> Node:
        gate, up = op.split(self._linear(x, place + "gate_proj", place + "up_proj"), _whole(2), 2).outputs()
        return self._linear(op.multiply(op.swish(gate), up), place + "down_proj")

    def _held(self, new: Node, name: str) -> Node:
        """Return what is held with the new keys or values behind, [1, heads, P + T, D], and keep that for later."""
        config = self._config
        info = VariableInfo()
        info.variable_id, info.data_type = name, Type.f32
        info.data_shape = PartialShape([-1, config.n_kv_heads, -1, config.head_dim])
        variable = Variable(info)
        empty = op.concat([op.shape_of(self._order), _whole([config.n_kv_heads, 0, config.head_dim])], 0)
        past = op.gather(op.read_value(op.broadcast(_number(0), empty), variable), self._order, _whole(0))
        both = op.concat([past, new], 2)
        self._assigned.append(op.assign(both, variable))
        times = config.n_heads // config.n_kv_heads
        if times == 1:
            return both
        repeated = op.broadcast(
            op.unsqueeze(both, _whole(2)), _whole([1, 1, times, 1, 1]), broadcast_spec="BIDIRECTIONAL"
        )
        return op.reshape(repeated, _whole([0, config.n_heads, -1, config.head_dim]), True)

    def _heads(self, x: Node, n_heads: int) -> Node:
        return op.reshape(x, _whole([0, 0, n_heads, self._config.head_dim]), True)

    def _rotation(self) -> tuple[Node, Node]:
        config = self._config
        exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim
        frequencies = (1.0 / config.rope_theta**exponents).astype(np.float32)
        positions = op.unsqueeze(op.convert(self._positions, "f32"), _whole(2))
        half = op.multiply(positions, op.constant(frequencies[None, None]))
        angles = op.unsqueeze(op.concat([half, half], 2), _whole(1))
        return op.cos(angles), op.sin(angles)

    def _rotated(self, x: Node) -> Node:
        half = self._config.head_dim // 2
        left, right = op.variadic_split(x, _whole(3), _whole([half, half])).outputs()
        turned = op.concat([op.multiply(right, _number(-1)), left], -1)
        return op.add(op.multiply(x, self._cos), op.multiply(turned, self._sin))

    def _norm(self, x: Node, name: str) -> Node:
        mean = op.reduce_mean(op.power(x, _number(2)), _whole([-1]), keep_dims=True)
        root = op.sqrt(op.add(mean, _number(self._config.rms_norm_eps)))
        scale = op.constant(self._checkpoint.tensor(f"{name}.weight"))
        return op.multiply(scale, op.multiply(x, op.power(root, _number(-1))))

    def _linear(self, x: Node, *names: str, precision: str | None = None) -> Node:
        return op.matmul(x, self._weight(names, precision), False, True)

    def _weight(self, names: Sequence[str], precision: str | None = None) -> Node:
        """Return matrices over each other, float32 [output, input], as the plugin finds them compressed."""
        weight = np.concatenate([self._checkpoint.tensor(f"{name}.weight") for name in names])
        if (precision or self._precision) == "fp32":
            return op.constant(weight)
        quantised, scales = quantise_rows(weight)
        return op.multiply(op.convert(op.constant(quantised), "f32"), op.constant(scales))


def _input(name: str, shape: list[int], dtype: Any) -> Node:
    node = op.parameter(shape, dtype, name=name)
    node.output(0).set_names({name})
    return node


def _whole(value: int | Sequence[int]) -> Node:
    return op.constant(np.asarray(value, np.int64))


def _number(value: float) -> Node:
    return op.constant(np.float32(value))


def _by_head(x: Node) -> Node:
    """Swap tokens and heads."""
    return op.transpose(x, _whole([0, 2, 1, 3]))


class OpenVinoSession:
    """A request of its own, with its state."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.length = 0

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens: takes all states out, as float32, and puts them back cut."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length} of {self.length} tokens")
        if length == 0:
            self.request.reset_state()
        elif length < self.length:
            for state in self.request.query_state():
                state.state = openvino.Tensor(np.ascontiguousarray(state.state.data[:, :, :length]))
        self.length = length

    def fork(self, length: int) -> "OpenVinoSession":
        """Nobody asks for it here."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop the request."""
        self.request = None


class OpenVinoEngine:
    """Runs a graph of `write_model` with the CPU plugin; one caller at a time."""

    def __init__(self, file: Path, info: ModelInfo, *, threads: int, settings: Settings) -> None:
        """Load the graph.

        Args:
            file: of the graph.
            info: of the model.
            threads: of one call.
            settings: of the plugin, beside threads; what is not named is left to OpenVINO.
        """
        basic: Settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self._compiled: Any = openvino.Core().compile_model(file, "CPU", basic | settings)
        self.info = info

    def open(self) -> OpenVinoSession:
        """Start an empty session."""
        return OpenVinoSession(self._compiled.create_infer_request())

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits."""
        check_feeds(feeds, self.info.max_context)
        return [self._read(feed) for feed in feeds]

    def close(self) -> None:
        """Free the weights."""
        self._compiled = None

    def _read(self, feed: Feed) -> Logits:
        session, n_tokens = feed.session, len(feed.ids)
        if not isinstance(session, OpenVinoSession):
            raise TypeError("the session belongs to another engine")
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": np.asarray(feed.ids, np.int64)[None],
            "position_ids": np.arange(session.length, session.length + n_tokens, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        outputs = session.request.infer(inputs, share_inputs=True)
        logits = Logits(**{name: np.array(outputs[name][0]) for name in HEADS})
        check_logits(logits, n_tokens, self.info)
        session.length += n_tokens
        return logits
