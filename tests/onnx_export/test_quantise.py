"""Quantisation against hand-computed values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.onnx_export.quantise import BLOCK, ZERO, quantise_blocks, quantise_rows


def test_a_known_block() -> None:
    """The largest weight, 127, makes the scale 1: whole numbers are kept, halves go to the even one."""
    weight = np.zeros((1, BLOCK), np.float32)
    weight[0, :4] = [127, -127, 1, 2.5]
    stored, scales = quantise_blocks(weight)
    assert scales.tolist() == [[1.0]]
    assert stored[0, 0, :5].tolist() == [ZERO + 127, ZERO - 127, ZERO + 1, ZERO + 2, ZERO]


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
    stored, scales = quantise_blocks(weight)
    assert scales.tolist() == [[1.0, pytest.approx(0.5 / 127)], [pytest.approx(0.5 / 127)] * 2]
    assert set(stored[0, 0, 1:].tolist()) == {ZERO}
    assert set(stored[0, 1].tolist()) == {ZERO + 127}


def test_long_embeddings_are_the_same_as_short_ones() -> None:
    """Rows are worked on in slabs of 8192: the ones on both sides of an edge come out as they do alone."""
    table = np.random.default_rng(0).standard_normal((8195, 6)).astype(np.float32)
    rows, scales = quantise_rows(table)
    for part in (slice(0, 3), slice(8190, 8195)):
        alone, alone_scales = quantise_rows(table[part])
        assert np.array_equal(rows[part], alone)
        assert np.array_equal(scales[part], alone_scales)


def test_the_last_block_is_padded_with_zeros() -> None:
    """40 inputs take two blocks."""
    stored, scales = quantise_blocks(np.ones((3, 40), np.float32))
    assert (stored.shape, scales.shape) == ((3, 2, BLOCK), (3, 2))
    assert (stored[:, 1, 8:] == ZERO).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]))
def test_every_weight_is_off_by_at_most_half_its_scale(seed: int, size: float) -> None:
    """For matrices by block and for embeddings by row."""
    weight = (np.random.default_rng(seed).standard_normal((5, 70)) * size).astype(np.float32)
    stored, scales = quantise_blocks(weight)
    back = ((stored.astype(np.float32) - ZERO) * scales[..., None]).reshape(5, -1)[:, :70]
    by_weight = np.repeat(scales, BLOCK, axis=1)[:, :70]
    assert (np.abs(back - weight) <= by_weight * 0.5001).all()
    rows, row_scales = quantise_rows(weight)
    assert (np.abs(rows * row_scales - weight) <= row_scales * 0.5001).all()


def test_a_row_of_zeros_stays_zero() -> None:
    """No division by nothing."""
    rows, scales = quantise_rows(np.zeros((2, 8), np.float32))
    assert not rows.any()
    assert scales.ravel().tolist() == pytest.approx([1.0, 1.0])
