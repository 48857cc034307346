"""Tensors read back from an export: what it computes with, by the published names."""

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from guardrail.checkpoint import TOKENIZER_FILE, Checkpoint, write_checkpoint
from guardrail.checkpoint_config import tensor_shapes
from guardrail.errors import CheckpointError
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.reading import read_tensors
from tests.tiny import write_tiny, write_tiny_gen

DATA = "model.onnx.data"


def restore(folder: Path, target: Path) -> Path:
    """Write the checkpoint that an exported folder computes with, with its tokenizer; return `target`."""
    config, tensors = read_tensors(folder)
    write_checkpoint(target, config, tensors, dtype="f32")
    shutil.copyfile(folder / TOKENIZER_FILE, target / TOKENIZER_FILE)
    return target


@pytest.fixture(scope="module", params=[16, 20, 24])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint, of heads that the export pads or not."""
    return write_tiny(tmp_path_factory.mktemp("reading") / "checkpoint", head_dim=request.param)


def test_a_float_export_gives_the_checkpoint_back(checkpoint: Path, tmp_path: Path) -> None:
    """Every tensor, to the bit, in the order of the published table."""
    _, tensors = read_tensors(export_checkpoint(checkpoint, tmp_path / "export", precision="fp32"))
    opened = Checkpoint.open(checkpoint)
    assert list(tensors) == list(tensor_shapes(opened.config))
    for name, found in tensors.items():
        assert np.array_equal(found, opened.tensor(name)), name


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_weights_are_those_that_are_computed_with(checkpoint: Path, tmp_path: Path, precision: str) -> None:
    """Off by at most half a step of 8 bits, or a whole one of 4, of the largest weight; what stays float32 is exact."""
    _, tensors = read_tensors(export_checkpoint(checkpoint, tmp_path / "export", precision=precision))
    opened = Checkpoint.open(checkpoint)
    for name, found in tensors.items():
        exact = opened.tensor(name)
        if "head" in name or "norm" in name or "category" in name:
            assert np.array_equal(found, exact), name
        else:
            bound = np.abs(exact).max() / (127 if precision == "int8" or "embed" in name else 4)
            assert np.abs(found - exact).max() <= bound, name
            assert not np.array_equal(found, exact)


def test_what_was_restored_exports_to_the_same_numbers(checkpoint: Path, tmp_path: Path) -> None:
    """Nothing more is lost the second time: the data file is the same, byte for byte."""
    first = export_checkpoint(checkpoint, tmp_path / "first")
    restored = restore(first, tmp_path / "restored")
    again = export_checkpoint(restored, tmp_path / "again")
    assert (again / DATA).read_bytes() == (first / DATA).read_bytes()


def test_the_embedded_model_is_restored_without_loss(tmp_path: Path) -> None:
    """The shipped export, as a checkpoint with its tokenizer, exports to the shipped data file."""
    shipped = Path(str(files("guardrail.assets").joinpath("default")))
    restored = restore(shipped, tmp_path / "checkpoint")
    again = export_checkpoint(restored, tmp_path / "again")
    assert (again / DATA).read_bytes() == (shipped / DATA).read_bytes()


def test_a_changed_or_generative_export_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A damaged file would be trained on; of a generative model's output matrix an export holds a few rows only."""
    export = export_checkpoint(checkpoint, tmp_path / "export")
    (export / DATA).write_bytes((export / DATA).read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="was changed"):
        read_tensors(export)
    generative = export_checkpoint(write_tiny_gen(tmp_path / "gen"), tmp_path / "gen export")
    with pytest.raises(CheckpointError, match="does not hold all"):
        read_tensors(generative)
