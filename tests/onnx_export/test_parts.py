"""What a graph is put together with."""

from io import BytesIO

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from guardrail.engines.base import FloatArray
from guardrail.onnx_export.parts import MICROSOFT, Parts
from guardrail.onnx_export.precision import Precision, WeightFormat
from guardrail.onnx_export.quantise import ZERO, quantise_blocks

WEIGHT = np.random.default_rng(0).standard_normal((3, 70)).astype(np.float32)


def multiply(weights: WeightFormat, x: FloatArray) -> FloatArray:
    """Multiply rows, float32 [row, 70], by `WEIGHT` with a graph of one node."""
    parts = Parts({"weight": WEIGHT}.__getitem__, BytesIO(), weights, epsilon=1e-6)
    output = parts.matmul("m", "x", parts.read("weight"))
    x_info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 70])
    output_info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", 3])
    graph = helper.make_graph(parts.nodes, "one", [x_info], [output_info], parts.initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("block_size", [32, 64, 128, 256])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_onnxruntime_multiplies_by_the_weights_that_are_stored(precision: Precision, block_size: int) -> None:
    """One input at a time shows each weight as the runtime unpacks it: order, offset, scale and the padded end."""
    weights = WeightFormat(precision, block_size)
    stored, scales = quantise_blocks(WEIGHT, weights.bits, block_size)
    if precision == "int4":
        stored = np.stack([stored & 15, stored >> 4], axis=-1).reshape(*stored.shape[:-1], -1)
    expected = ((stored.astype(np.float32) - ZERO[weights.bits]) * scales[..., None]).reshape(3, -1)[:, :70]
    found = multiply(weights, np.eye(70, dtype=np.float32))
    assert np.abs(found.T - expected).max() < 1e-5


def test_fp32_multiplies_by_the_matrix_itself() -> None:
    """Without blocks nothing is rounded."""
    found = multiply(WeightFormat("fp32"), np.eye(70, dtype=np.float32))
    assert np.array_equal(found.T, WEIGHT)
