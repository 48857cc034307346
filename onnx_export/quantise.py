"""Weight quantisation in numpy: symmetric 8-bit, per block of 32 for matrices, per row for the embedding.

Every weight is off by at most half its scale, and scales are as small as they can be: the largest weight of a block
or row is 127 of them.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

BLOCK = 32
"""Weights that share one scale (`onnx_perf.md` section 7: the most accurate int8 variant measured)."""

ZERO = 128
"""Stored value of a zero weight; MatMulNBits takes it when no zero points are given."""

_LARGEST = 127
_SLAB_ROWS = 8192  # of an embedding, worked on at once: bounds the temporary arrays


def quantise_blocks(weight: FloatArray) -> tuple[NDArray[np.uint8], FloatArray]:
    """Quantise a matrix for MatMulNBits.

    Args:
        weight: float32 [output, input], finite.

    Returns:
        uint8 [output, block, 32], offset by 128, the last block padded with zeros, and scales, float32 [output, block].
    """
    n_outputs, n_inputs = weight.shape
    n_blocks = -(-n_inputs // BLOCK)
    blocks = np.zeros((n_outputs, n_blocks * BLOCK), np.float32)
    blocks[:, :n_inputs] = weight
    quantised, scales = _quantise(blocks.reshape(n_outputs, n_blocks, BLOCK))
    return (quantised + ZERO).astype(np.uint8), scales


def quantise_rows(table: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Quantise an embedding, float32 [row, hidden], finite: int8 of the same shape and scales, float32 [row, 1]."""
    rows, scales = np.empty(table.shape, np.int8), np.empty((len(table), 1), np.float32)
    for start in range(0, len(table), _SLAB_ROWS):
        slab = slice(start, start + _SLAB_ROWS)
        quantised, scales[slab, 0] = _quantise(table[slab])
        rows[slab] = quantised
    return rows, scales


def _quantise(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return whole numbers in [-127, 127] and the scale of each last axis; 1 where all is zero."""
    scales = np.abs(values).max(axis=-1) / np.float32(_LARGEST)
    scales = np.where(scales > 0, scales, np.float32(1))
    # clipped, because the scale of a subnormal maximum is itself rounded
    return np.clip(np.rint(values / scales[..., None]), -_LARGEST, _LARGEST), scales
