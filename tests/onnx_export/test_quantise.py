"""Quantisation against hand-computed values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from guardrail.onnx_export.quantise import ZERO, quantise_blocks, quantise_rows

BLOCK = 32


def unpacked(stored: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    """The whole numbers of MatMulNBits, float32 [output, block, weight]."""
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], axis=-1).reshape(*stored.shape[:-1], -1)
    return stored.astype(np.float32) - ZERO[bits]


def restored(weight: NDArray[np.float32], bits: int, block_size: int) -> NDArray[np.float32]:
    """What a multiplication sees of a matrix."""
    stored, scales = quantise_blocks(weight, bits, block_size)
    return (unpacked(stored, bits) * scales[..., None]).reshape(len(weight), -1)[:, : weight.shape[1]]


def test_a_known_block() -> None:
    """The largest weight, 127, makes the scale 1: whole numbers are kept, halves go to the even one."""
    weight = np.zeros((1, BLOCK), np.float32)
    weight[0, :4] = [127, -127, 1, 2.5]
    stored, scales = quantise_blocks(weight, 8, BLOCK)
    assert scales.tolist() == [[1.0]]
    assert stored[0, 0, :5].tolist() == [128 + 127, 128 - 127, 128 + 1, 128 + 2, 128]


def test_a_known_block_in_four_bits() -> None:
    """Whole numbers from -8 to 7 are kept, two in a byte, the first in its low half; a sign changes the scale's."""
    weight = np.array([[*range(-8, 8)] * 2], np.float32)
    stored, scales = quantise_blocks(weight, 4, BLOCK)
    assert scales.tolist() == [[1.0]]
    assert stored[0, 0, :8].tolist() == [low + 16 * (low + 1) for low in range(0, 16, 2)]
    again, negative = quantise_blocks(-weight, 4, BLOCK)
    assert negative.tolist() == [[-1.0]]
    assert np.array_equal(again, stored)


def test_a_known_embedding() -> None:
    """By row: 254 is stored as 127 at scale 2, 3 lies between 1 and 2 of it and becomes the even 2; -1 becomes 0."""
    rows, scales = quantise_rows(np.array([[254, 3, -1, -254], [0.5, 0.25, -0.125, 0]], np.float32))
    assert scales.tolist() == [[2.0], [pytest.approx(0.5 / 127)]]
    assert rows.tolist() == [[127, 2, 0, -127], [127, 64, -32, 0]]
    assert rows.dtype == np.int8


def test_each_block_has_its_own_scale() -> None:
    """A large weight costs its own 32 neighbours precision, and nobody else."""
    weight = np.full((2, 2 * BLOCK), 0.5, np.float32)
    weight[0, 0] = 127
    stored, scales = quantise_blocks(weight, 8, BLOCK)
    assert scales.tolist() == [[1.0, pytest.approx(0.5 / 127)], [pytest.approx(0.5 / 127)] * 2]
    assert set(unpacked(stored, 8)[0, 0, 1:].tolist()) == {0}
    assert set(unpacked(stored, 8)[0, 1].tolist()) == {127}


def test_long_embeddings_are_the_same_as_short_ones() -> None:
    """Rows are worked on in slabs of 8192: the ones on both sides of an edge come out as they do alone."""
    table = np.random.default_rng(0).standard_normal((8195, 6)).astype(np.float32)
    rows, scales = quantise_rows(table)
    for part in (slice(0, 3), slice(8190, 8195)):
        alone, alone_scales = quantise_rows(table[part])
        assert np.array_equal(rows[part], alone)
        assert np.array_equal(scales[part], alone_scales)


def test_large_matrices_are_the_same_as_small_ones() -> None:
    """In 4 bits, blocks are worked on in slabs of 65,536 weights: rows on both sides of an edge come out as alone."""
    weight = np.random.default_rng(0).standard_normal((70, 1024)).astype(np.float32)
    stored, scales = quantise_blocks(weight, 4, BLOCK)
    alone, alone_scales = quantise_blocks(weight[62:66], 4, BLOCK)
    assert np.array_equal(stored[62:66], alone)
    assert np.array_equal(scales[62:66], alone_scales)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_last_block_is_padded_with_zeros(bits: int) -> None:
    """40 inputs take two blocks."""
    stored, scales = quantise_blocks(np.ones((3, 40), np.float32), bits, BLOCK)
    assert (stored.shape, scales.shape) == ((3, 2, BLOCK * bits // 8), (3, 2))
    assert not unpacked(stored, bits)[:, 1, 8:].any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]), st.sampled_from([32, 64, 128, 256]))
def test_every_weight_is_off_by_at_most_half_its_scale(seed: int, size: float, block_size: int) -> None:
    """In 8 bits, for matrices by block and for embeddings by row."""
    weight = (np.random.default_rng(seed).standard_normal((5, 70)) * size).astype(np.float32)
    _, scales = quantise_blocks(weight, 8, block_size)
    by_weight = np.repeat(scales, block_size, axis=1)[:, :70]
    assert (np.abs(restored(weight, 8, block_size) - weight) <= by_weight * 0.5001).all()
    rows, row_scales = quantise_rows(weight)
    assert (np.abs(rows * row_scales - weight) <= row_scales * 0.5001).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]), st.sampled_from([32, 64, 128, 256]))
def test_four_bits_are_never_worse_than_rounding_to_the_nearest(seed: int, size: float, block_size: int) -> None:
    """Of each block's scales one puts its largest weight at -8: the search leaves no more squared error than that."""
    weight = (np.random.default_rng(seed).standard_normal((3, 256)) * size).astype(np.float32)
    blocks = weight.reshape(-1, block_size)
    scales = -np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[:, None], -1) / 8
    nearest = np.clip(np.rint(blocks / scales), -8, 7) * scales
    found = restored(weight, 4, block_size).reshape(-1, block_size)
    error, limit = (((back - blocks).astype(np.float64) ** 2).sum(-1) for back in (found, nearest))
    assert (error <= limit * 1.0001).all()


def test_a_row_of_zeros_stays_zero() -> None:
    """No division by nothing."""
    rows, scales = quantise_rows(np.zeros((2, 8), np.float32))
    assert not rows.any()
    assert scales.ravel().tolist() == pytest.approx([1.0, 1.0])
    for bits in (8, 4):
        assert not restored(np.zeros((2, 64), np.float32), bits, BLOCK).any()
