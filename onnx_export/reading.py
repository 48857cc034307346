"""The other way round: the tensors of an exported folder by their published names.

What int8 or int4 rounded away is gone: the tensors are those that the export computes with. Exported again in int8,
they give the same whole numbers. It is how training can start from the embedded model, which is shipped as an export.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import EMBEDDING, GuardConfig, tensor_shapes
from guardrail.errors import CheckpointError
from guardrail.exported import MODEL_FILE, read_manifest
from guardrail.onnx_export.attention import cache_head_dim
from guardrail.onnx_export.parts import DATA_FILE, Matrix
from guardrail.onnx_export.quantise import dequantise_blocks

import onnx  # isort: skip  # parts names the extra when it is missing
from onnx import TensorProto, helper  # isort: skip

_MATRICES = {
    "self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
}  # fmt: skip
_NORMS = {
    "self_attn.q_norm": "q_head", "self_attn.k_norm": "k_head",
    "input_layernorm": "in", "post_attention_layernorm": "post",
}  # fmt: skip
"""A layer's tensors to what the graph calls them, as `graph.py` and `attention.py` do."""

_HEADS = {
    "risk_level_category_pre": "response_pre", "query_risk_level_category_pre": "query_pre",
    "risk_level_head": "response_risk_head", "category_head": "response_category_head",
    "query_risk_level_head": "query_risk_head", "query_category_head": "query_category_head",
}  # fmt: skip
_HEAD_NORMS = {"risk_level_category_layernorm": "response", "query_risk_level_category_layernorm": "query"}


def read_tensors(folder: str | Path) -> tuple[GuardConfig, dict[str, Matrix]]:
    """Return the config of an exported folder and its tensors, float32, by their published names, in their order.

    Raises:
        CheckpointError: the folder is damaged, of another version, or holds a generative model, of whose output matrix
            an export keeps a few rows only.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    if config.is_generative:
        raise CheckpointError("the export of a generative model does not hold all of it", hint="give its checkpoint")
    graph = _Graph(folder, config)
    try:
        return config, {name: graph.tensor(name, shape) for name, shape in tensor_shapes(config).items()}
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"the graph is of version {manifest.graph_version} and cannot be read back: {error}",
            hint="start from the checkpoint that it was exported from",
        ) from error


class _Graph:
    """The initializers of a graph, and which product each of them belongs to."""

    def __init__(self, folder: Path, config: GuardConfig) -> None:
        model = onnx.load(str(folder / MODEL_FILE), load_external_data=False)
        self._data = np.memmap(folder / DATA_FILE, np.uint8, "r")
        self._found = {tensor.name: tensor for tensor in model.graph.initializer}
        self._bits = {node.input[1]: _bits(node) for node in model.graph.node if node.op_type == "MatMulNBits"}
        self._config = config

    def tensor(self, name: str, shape: tuple[int, ...]) -> Matrix:
        """Return one tensor in its published shape."""
        found = self._unpadded(name, self._stored(name.removesuffix(".weight"), shape))
        if found.shape != shape:
            raise ValueError(f"{name} is {list(found.shape)} there, expected {list(shape)}")
        return np.ascontiguousarray(found, np.float32)

    def _stored(self, name: str, shape: tuple[int, ...]) -> Matrix:
        if f"{name}.weight" == EMBEDDING:
            return self._embedding()
        if name == "model.norm":
            return self._array("final_norm_weight")
        if name in _HEADS:
            return self._array(f"{_HEADS[name]}_weight").T
        if name in _HEAD_NORMS:
            return self._array(f"{_HEAD_NORMS[name]}_norm_weight")
        layer, _, part = name.removeprefix("model.layers.").partition(".")
        if part in _NORMS:
            return self._array(f"layer{layer}_{_NORMS[part]}_norm_weight")
        return self._matrix(f"layer{layer}_{_MATRICES[part]}", self._n_inputs(part, shape))

    def _n_inputs(self, part: str, shape: tuple[int, ...]) -> int:
        """Return the columns of a layer's matrix in the graph, where heads may be padded."""
        padded = self._config.n_heads * cache_head_dim(self._config)
        return padded if part == "self_attn.o_proj" else shape[1]

    def _matrix(self, name: str, n_inputs: int) -> Matrix:
        stored = self._array(f"{name}_weight")
        bits = self._bits.get(f"{name}_weight")
        if bits is None:
            return stored.T
        return dequantise_blocks(stored, self._array(f"{name}_scales"), bits, n_inputs)

    def _embedding(self) -> Matrix:
        rows = self._array("embedding")
        return rows * self._array("embedding_scales") if "embedding_scales" in self._found else rows

    def _unpadded(self, name: str, matrix: Matrix) -> Matrix:
        """Take away what the export puts behind each half of each head (`attention.py`)."""
        size, padded = self._config.head_dim, cache_head_dim(self._config)
        if size == padded:
            return matrix
        if name.endswith("self_attn.v_proj.weight"):
            return matrix.reshape(-1, padded // 2, matrix.shape[1])[:, : size // 2].reshape(-1, matrix.shape[1])
        if name.endswith("self_attn.o_proj.weight"):
            return matrix.reshape(len(matrix), -1, padded // 2)[..., : size // 2].reshape(len(matrix), -1)
        return matrix

    def _array(self, name: str) -> NDArray[Any]:
        tensor = self._found[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
        place: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(place["offset"]), int(place["length"])
        raw = self._data[start : start + length]
        return np.asarray(raw.view(helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tuple(tensor.dims)))


def _bits(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "bits")
