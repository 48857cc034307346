"""A checkpoint of the published 0.6B sizes with random weights: speed and memory depend on shapes alone.

It is written once, into the cache folder. Its tokenizer is the embedded model's.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from guardrail.bench.timing import Watch
from guardrail.checkpoint import CONFIG_FILE, Array, write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.testing import default_tokenizer_file

SHAPE_06B = GuardConfig(
    hidden_size=1024, n_layers=28, n_heads=16, n_kv_heads=8, head_dim=128, intermediate_size=3072,
    vocab_size=151936, guard_inner_size=512, max_context=8192,
)  # fmt: skip
"""Sizes of Qwen3Guard-Stream-0.6B."""

_SCALE = 0.02


def random_checkpoint(folder: Path, config: GuardConfig, watch: Watch) -> Path:
    """Return a checkpoint folder with random weights in bf16, written now unless it is there.

    It takes as much memory as the tensors have in float32: 2.4 GB for the 0.6B sizes.
    """
    if (folder / CONFIG_FILE).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shapes = list(tensor_shapes(config).items())
    tensors = {name: _random(rng, shape) for name, shape in watch(shapes, "random weights, once")}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        made = Path(scratch) / "made"
        write_checkpoint(made, config, tensors, dtype="bf16")
        shutil.copyfile(default_tokenizer_file(), made / "tokenizer.json")
        if not folder.exists():  # another process may have been as quick
            made.rename(folder)
    return folder


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return a matrix of small numbers, or the ones of a norm."""
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(_SCALE)
