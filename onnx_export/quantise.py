"""Weight quantisation in numpy: blocks of a matrix in 8 or 4 bits, rows of the embedding in 8.

8 bits: every weight is off by at most half its scale, and scales are as small as they can be: the largest weight of a
block or row is 127 of them. 4 bits: of several scales, each block takes the one with the least squared error, fitted to
the whole numbers that it gives. (Embedded model, blocks of 32: a product's outputs are off by 2.8 %; 3.3 % when the
largest weight is always stored as 7, 3.0 % when as -8. Zero points, searched in the same way, would give 2.7 % and take
half a byte more a block.)
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

ZERO = {8: 128, 4: 8}
"""Stored value of a zero weight by bits; MatMulNBits takes it when no zero points are given."""

PLACES = tuple(6 + i / 2 for i in range(9))
"""Where 4 bits may put the largest weight of a block, from 6 to 10; it is stored as -8 at most, so beyond 8 it is cut
short for the sake of the others. The search leaves 6 % less error than 8 alone does, 16 to 17 % less than 7."""

_LARGEST = 127
_SLAB_ROWS = 8192  # of an embedding, worked on at once: bounds the temporary arrays
_SLAB_WEIGHTS = 2**16  # of a matrix in 4 bits: they stay in the processor's cache


def quantise_blocks(weight: FloatArray, bits: int, block_size: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Quantise a matrix for MatMulNBits.

    Args:
        weight: float32 [output, input], finite.
        bits: 8 or 4.
        block_size: weights of one output that share a scale.

    Returns:
        uint8 [output, block, block_size * bits / 8], offset by `ZERO`, the last block padded with zeros, two weights of
        4 bits in a byte, the first in its low half; and scales, float32 [output, block].
    """
    n_outputs, n_inputs = weight.shape
    n_blocks = -(-n_inputs // block_size)
    padded = np.zeros((n_outputs, n_blocks * block_size), np.float32)
    padded[:, :n_inputs] = weight
    blocks = padded.reshape(n_outputs, n_blocks, block_size)
    quantised, scales = _quantise(blocks) if bits == 8 else _quantise4(blocks)
    stored = (quantised + ZERO[bits]).astype(np.uint8)
    return (stored if bits == 8 else stored[..., ::2] | np.left_shift(stored[..., 1::2], 4)), scales


def quantise_rows(table: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Quantise an embedding, float32 [row, hidden], finite: int8 of the same shape and scales, float32 [row, 1]."""
    rows, scales = np.empty(table.shape, np.int8), np.empty((len(table), 1), np.float32)
    for start in range(0, len(table), _SLAB_ROWS):
        slab = slice(start, start + _SLAB_ROWS)
        quantised, scales[slab, 0] = _quantise(table[slab])
        rows[slab] = quantised
    return rows, scales


def dequantise_blocks(stored: NDArray[np.uint8], scales: FloatArray, bits: int, n_inputs: int) -> FloatArray:
    """Return the matrix that MatMulNBits multiplies by, float32 [output, input]: the other way round of
    `quantise_blocks`.
    """
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], -1).reshape(*stored.shape[:2], -1)
    blocks = (stored.astype(np.float32) - np.float32(ZERO[bits])) * scales[..., None]
    return np.ascontiguousarray(blocks.reshape(len(stored), -1)[:, :n_inputs])


def _quantise(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return whole numbers in [-127, 127] and the scale of each last axis; 1 where all is zero."""
    scales = np.abs(values).max(axis=-1) / np.float32(_LARGEST)
    scales = np.where(scales > 0, scales, np.float32(1))
    # clipped, because the scale of a subnormal maximum is itself rounded
    return np.clip(np.rint(values / scales[..., None]), -_LARGEST, _LARGEST), scales


def _quantise4(blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return whole numbers in [-8, 7] and the scale of each last axis, which may be negative; 1 where all is zero."""
    flat = blocks.reshape(-1, blocks.shape[-1])
    quantised, scales = np.empty_like(flat), np.empty(len(flat), np.float32)
    n_rows = _SLAB_WEIGHTS // flat.shape[1]
    for start in range(0, len(flat), n_rows):
        slab = slice(start, start + n_rows)
        quantised[slab], scales[slab] = _search4(flat[slab])
    return quantised.reshape(blocks.shape), scales.reshape(blocks.shape[:-1])


def _search4(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """As `_quantise4`, for blocks that stay in the cache, float32 [block, weight].

    With whole numbers q, the scale that fits weights w best is q·w / q·q, and takes (q·w)² / q·q off their square sum.
    """
    extremes = np.take_along_axis(values, np.abs(values).argmax(-1)[:, None], -1)
    extremes = np.where(extremes != 0, extremes, np.float32(1))
    shares = values / extremes  # in [-1, 1]
    best, scales, most = np.zeros_like(values), np.ones(len(values), np.float32), np.zeros(len(values), np.float32)
    for place in PLACES:
        quantised = np.clip(np.rint(shares * np.float32(-place)), -8, 7)
        overlap = np.einsum("ij,ij->i", quantised, shares)
        square = np.maximum(np.einsum("ij,ij->i", quantised, quantised), np.float32(1))
        better = overlap * overlap / square > most
        best[better] = quantised[better]
        scales[better] = (overlap / square * extremes[:, 0])[better]
        most[better] = (overlap * overlap / square)[better]
    return best, scales
