"""The graph with an int8 KV cache: a second small file beside `model.onnx`, over the same data file.

Every channel of every head has a scale of its own, fixed at the calibration; what is held is value / scale, rounded, in
[-128, 127]. Scales are also kept as a file of their own, for people.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from guardrail.errors import MissingExtra
from guardrail.exported import KV_MODEL_FILE, KV_SCALES_FILE, MODEL_FILE

try:
    import onnx
    from onnx import TensorProto, helper
except ModuleNotFoundError as error:
    raise MissingExtra("onnx", "export") from error

_SCALE_INPUTS = {"key": 12, "value": 13}
"""Places among the inputs of GroupQueryAttention."""

Scales = Mapping[str, NDArray[np.float32]]
"""`key_i`, `value_i` -> float32 [kv heads, cached head size], of every layer."""


def write_int8_kv(exported: Path, scales: Scales, target: Path) -> None:
    """Write the graph with an int8 cache, and its scales, into a folder.

    Args:
        exported: folder with the graph whose cache is float32.
        scales: of every layer, more than 0.
        target: existing folder.
    """
    model = onnx.load(exported / MODEL_FILE, load_external_data=False)
    for value in [*model.graph.input, *model.graph.output]:
        if value.name.startswith(("past_", "present_")):
            value.type.tensor_type.elem_type = TensorProto.INT8
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            _quantise_cache(model.graph, node, scales)
    onnx.save(model, target / KV_MODEL_FILE)
    save_file({name: np.ascontiguousarray(scale) for name, scale in scales.items()}, target / KV_SCALES_FILE)


def _quantise_cache(graph: onnx.GraphProto, node: onnx.NodeProto, scales: Scales) -> None:
    layer = node.output[1].removeprefix("present_key_")
    for kind, place in _SCALE_INPUTS.items():
        name = f"{kind}_{layer}"
        graph.initializer.append(onnx.numpy_helper.from_array(scales[name].reshape(-1), f"{name}_scale"))
        node.input[place] = f"{name}_scale"
        node.attribute.append(helper.make_attribute(f"{kind[0]}_quant_type", "PER_CHANNEL"))
    node.attribute.append(helper.make_attribute("kv_cache_bit_width", 8))
