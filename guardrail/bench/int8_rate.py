"""The machine's int8 matrix rate: what one large product of whole numbers reaches, through onnxruntime.

The product is `MatMulInteger`, unsigned by signed bytes, whose right side is constant and so laid out once, as weights
are. The model is a hundred bytes and the constant, written here so that no package is needed for it.
"""

import numpy as np
import onnxruntime

from guardrail.bench.timing import seconds_of

_UINT8, _INT8, _INT32 = 2, 3, 6


class Int8Product:
    """A product that can be timed again and again."""

    def __init__(self, size: int, *, threads: int) -> None:
        """Make the matrices.

        Args:
            size: of the square right side; the left side has twice as many rows.
            threads: of the product.
        """
        rng = np.random.default_rng(0)
        self._left = rng.integers(0, 256, (2 * size, size), np.uint8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        right = rng.integers(-127, 128, (size, size), np.int8)
        model = product_model(size, right.tobytes())
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._operations = 2 * self._left.size * size

    def gop_per_s(self, passes: int = 3) -> float:
        """Return the best rate of a few passes, in 10^9 multiplications and additions a second."""
        feed = {"a": self._left}
        return self._operations / min(seconds_of(lambda: self._session.run(None, feed)) for _ in range(passes)) / 1e9


def product_model(size: int, right: bytes) -> bytes:
    """Return an ONNX model of c = a b: a uint8 [n, size], the constant b int8 [size, size], c int32 [n, size]."""
    node = _field(1, b"a") + _field(1, b"b") + _field(2, b"c") + _field(4, b"MatMulInteger")
    constant = _number(1, size) + _number(1, size) + _number(2, _INT8) + _field(8, b"b") + _field(9, right)
    graph = _field(1, node) + _field(2, b"product") + _field(5, constant)
    graph += _field(11, _value(b"a", _UINT8)) + _field(12, _value(b"c", _INT32))
    return _number(1, 8) + _field(8, _field(1, b"") + _number(2, 13)) + _field(7, graph)


def _value(name: bytes, element: int) -> bytes:
    """Return a description of a tensor of any shape."""
    return _field(1, name) + _field(2, _field(1, _number(1, element)))


def _field(number: int, data: bytes) -> bytes:
    """Return a protocol buffer field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    """Return a protocol buffer field of a whole number."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
