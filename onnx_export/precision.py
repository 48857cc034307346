"""How the matrices of an export are stored: their precision and the size of their blocks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import ConfigurationError

Precision = Literal["fp32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Of the weights, as they can be chosen."""

BLOCK_SIZES = (32, 64, 128, 256)
"""Weights that may share one scale."""

SMALL_BLOCK, LARGE_BLOCK = 32, 128
"""Default blocks of int8. Large ones read 6 % fewer bytes a token, and a long prompt a third faster (0.6B shape); small
ones are a little closer to the network."""

LARGE_INPUT = 1024
"""Least input size of every matrix for large blocks. Ours: smaller models live in the processor's cache, where a larger
block saves nothing."""


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """Storage of the matrices.

    Attributes:
        precision: "fp32", "int8" or "int4".
        block_size: weights that share one scale; None in fp32.
    """

    precision: Precision
    block_size: int | None = None

    @property
    def bits(self) -> int:
        """Bits of a stored weight."""
        return {"fp32": 32, "int8": 8, "int4": 4}[self.precision]


def check_precision(name: str) -> Precision:
    """Return the precision of that name.

    Raises:
        ConfigurationError: there is none.
    """
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise ConfigurationError(f"unknown precision {name!r}; valid: {', '.join(PRECISIONS)}")


def choose_format(config: GuardConfig, precision: str, block_size: int | None = None) -> WeightFormat:
    """Return the format of that precision; a block size that is not given is chosen for the model's sizes.

    Raises:
        ConfigurationError: unknown precision or block size, or fp32 with blocks.
    """
    checked = check_precision(precision)
    if block_size is not None and (checked == "fp32" or block_size not in BLOCK_SIZES):
        valid = "none in fp32" if checked == "fp32" else ", ".join(map(str, BLOCK_SIZES))
        raise ConfigurationError(f"block size {block_size} cannot be had; valid: {valid}")
    if checked == "fp32":
        return WeightFormat(checked)
    return WeightFormat(checked, block_size or _default_block(checked, _input_sizes(config)))


def _input_sizes(config: GuardConfig) -> tuple[int, ...]:
    return config.hidden_size, config.intermediate_size, config.n_heads * config.head_dim


def _default_block(precision: Precision, input_sizes: Iterable[int]) -> int:
    is_large = all(size >= LARGE_INPUT and size % LARGE_BLOCK == 0 for size in input_sizes)
    return LARGE_BLOCK if precision == "int8" and is_large else SMALL_BLOCK
