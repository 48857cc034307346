"""The nodes and tensors of a graph under construction: what all its parts are put together with."""

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import CheckpointError, MissingExtra
from guardrail.onnx_export.precision import WeightFormat
from guardrail.onnx_export.quantise import quantise_blocks, quantise_rows

try:
    import onnx
    from onnx import TensorProto, helper
except ModuleNotFoundError as error:
    raise MissingExtra("onnx", "export") from error

DATA_FILE = "model.onnx.data"
MICROSOFT = "com.microsoft"
"""Domain of onnxruntime's own operators."""

_ALIGNMENT = 4096  # external data is memory-mapped
_LEAST_EXTERNAL = 1024  # bytes

Matrix = NDArray[np.float32]
ReadTensor = Callable[[str], Matrix]


class Parts:
    """Nodes and initializers in order. Tensors go to the data file as they come, one in memory at a time.

    Attributes:
        nodes: of the graph.
        initializers: of the graph; large ones point into the data file.
    """

    def __init__(self, read: ReadTensor, data: BinaryIO, weights: WeightFormat, *, epsilon: float) -> None:
        """Start an empty graph.

        Args:
            read: returns a tensor by its published name.
            data: data file, open for writing.
            weights: storage of the matrices and of the embedding.
            epsilon: of every norm.
        """
        self._source, self._data, self._weights, self._epsilon = read, data, weights, epsilon
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def read(self, name: str) -> Matrix:
        """Return a tensor that is finite: NaN rounded to whole numbers would look like weights."""
        tensor = self._source(name)
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinity")
        return tensor

    def node(self, op: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output."""
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def norm(self, name: str, x: str, weight: str) -> str:
        """Normalise x's last axis."""
        scale = self.constant(f"{name}_norm_weight", self.read(weight))
        return self.node("SimplifiedLayerNormalization", [x, scale], f"{name}_norm", axis=-1, epsilon=self._epsilon)

    def add_and_norm(self, name: str, x: str, addend: str, weight: str) -> tuple[str, str]:
        """Add two tensors; return the sum's norm, and the sum."""
        scale = self.constant(f"{name}_norm_weight", self.read(weight))
        normed, total = f"{name}_norm", f"{name}_sum"
        op, outputs = "SkipSimplifiedLayerNormalization", [normed, "", "", total]
        self.nodes.append(helper.make_node(op, [x, addend, scale], outputs, domain=MICROSOFT, epsilon=self._epsilon))
        return normed, total

    def embedding(self, table: Matrix, ids: str) -> str:
        """Look up rows of a table, float32 [row, hidden]; quantised exports keep it in int8, per row."""
        if self._weights.precision == "fp32":
            return self.node("Gather", [self.constant("embedding", table), ids], "embedded")
        rows, scales = quantise_rows(table)
        raw = self.node("Gather", [self.constant("embedding", rows), ids], "embedded_int8")
        scale = self.node("Gather", [self.constant("embedding_scales", scales), ids], "embedded_scale")
        values = self.node("Cast", [raw], "embedded_float", to=TensorProto.FLOAT)
        return self.node("Mul", [values, scale], "embedded")

    def matmul(self, name: str, x: str, matrix: Matrix) -> str:
        """Multiply x by a matrix, float32 [output, input], in the precision of the weights."""
        bits, block_size = self._weights.bits, self._weights.block_size
        if block_size is None:
            return self.plain_matmul(name, x, matrix, f"{name}_product")
        quantised, scales = quantise_blocks(matrix, bits, block_size)
        inputs = [x, self.constant(f"{name}_weight", quantised), self.constant(f"{name}_scales", scales)]
        sizes = {"N": matrix.shape[0], "K": matrix.shape[1], "bits": bits, "block_size": block_size}
        return self.node("MatMulNBits", inputs, f"{name}_product", domain=MICROSOFT, **sizes, accuracy_level=4)

    def plain_matmul(self, name: str, x: str, matrix: Matrix, output: str) -> str:
        """Multiply x by a matrix, float32 [output, input], in float32 whatever the precision."""
        transposed = np.ascontiguousarray(matrix.T)
        return self.node("MatMul", [x, self.constant(f"{name}_weight", transposed)], output)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Store a tensor: small ones in the graph, others in the data file."""
        if array.nbytes < _LEAST_EXTERNAL:
            self.initializers.append(onnx.numpy_helper.from_array(array, name))
            return name
        array = np.ascontiguousarray(array)
        self._data.write(b"\0" * (-self._data.tell() % _ALIGNMENT))
        tensor = TensorProto(name=name, data_location=TensorProto.EXTERNAL, dims=array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        place = {"location": DATA_FILE, "offset": self._data.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(array.data)
        self.initializers.append(tensor)
        return name
