"""Which format a model's matrices take."""

import pytest

from guardrail.errors import ConfigurationError
from guardrail.onnx_export.precision import BLOCK_SIZES, WeightFormat, choose_format
from tests.tiny import tiny_config

LARGE = tiny_config(hidden_size=1024, intermediate_size=3072, n_heads=16, n_kv_heads=8, head_dim=128)


@pytest.mark.parametrize(
    ("changes", "block_size"),
    [
        ({}, 128),
        ({"hidden_size": 1088}, 32),
        ({"intermediate_size": 3104}, 32),
        ({"hidden_size": 256, "intermediate_size": 768}, 32),
        ({"head_dim": 32}, 32),
    ],
)
def test_int8_takes_large_blocks_where_all_matrices_are_large_and_divide_by_them(
    changes: dict[str, int], block_size: int
) -> None:
    """The 0.6B shape does; the embedded model, and any with an input that would need padding, do not."""
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "n_heads": 16, "n_kv_heads": 8, "head_dim": 128}
    assert choose_format(tiny_config(**{**sizes, **changes}), "int8").block_size == block_size


def test_a_block_size_that_is_named_is_taken() -> None:
    """Whatever the model's sizes; int4 has small ones of itself."""
    assert [choose_format(tiny_config(), "int8", size).block_size for size in BLOCK_SIZES] == list(BLOCK_SIZES)
    assert choose_format(LARGE, "int4") == WeightFormat("int4", 32)
    assert choose_format(LARGE, "fp32") == WeightFormat("fp32")


@pytest.mark.parametrize(
    ("precision", "block_size", "says"),
    [
        ("int8", 48, "block size 48 cannot be had; valid: 32, 64, 128, 256"),
        ("fp32", 32, "block size 32 cannot be had; valid: none in fp32"),
        ("int2", None, "unknown precision 'int2'; valid: fp32, int8, int4"),
    ],
)
def test_a_format_that_does_not_exist_is_refused(precision: str, block_size: int | None, says: str) -> None:
    """With those that do."""
    with pytest.raises(ConfigurationError, match=says):
        choose_format(LARGE, precision, block_size)
