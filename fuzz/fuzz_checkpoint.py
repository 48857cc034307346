"""Checkpoint folders: damaged config, index, header or data is a CheckpointError, at a bounded cost; the rest is read
as the safetensors library reads it.
"""

import atexit
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fuzz.shaping import BRIEF, check_message, damaged_bytes, from_bytes, json_bytes
from guardrail.checkpoint import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, Checkpoint, write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.errors import CheckpointError

FOLDER = Path(tempfile.mkdtemp(prefix="guardrail-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

CONFIG = GuardConfig(
    hidden_size=4, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=2, intermediate_size=4, vocab_size=6,
    guard_inner_size=4, max_context=16,
)  # fmt: skip


def written(max_shard_bytes: int) -> dict[str, bytes]:
    """Return the files of a good checkpoint."""
    tensors = {name: np.full(shape, 0.5, np.float32) for name, shape in tensor_shapes(CONFIG).items()}
    write_checkpoint(FOLDER, CONFIG, tensors, dtype="bf16", max_shard_bytes=max_shard_bytes)
    return {path.name: path.read_bytes() for path in FOLDER.iterdir()}


SHARDED, WHOLE = written(300), written(10**9)
"""A checkpoint in several files with an index, and one in a single file."""


def header_of(file: bytes) -> tuple[Any, bytes]:
    """Return the header of a safetensors file, and the data behind it."""
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), file[end:]


@st.composite
def headed(draw: st.DrawFn, file: bytes) -> bytes:
    """Return a safetensors file with a damaged header, or a header of a wrong length."""
    header, data = header_of(file)
    encoded = draw(json_bytes(header, ("F32", "F16", "BF16", [0, 0], [2, 3], [1] * 40, [2**62] * 3)))
    n_header = draw(st.sampled_from([len(encoded)] * 6 + [0, len(encoded) + 1, 2**32, 2**63, 2**64 - 1]))
    return n_header.to_bytes(8, "little") + encoded + draw(st.just(data) | damaged_bytes(data))


@st.composite
def folders(draw: st.DrawFn) -> dict[str, bytes]:
    """Return the files of a checkpoint, one or two of them damaged."""
    files = dict(draw(st.sampled_from([WHOLE, SHARDED])))
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        if name.endswith(".safetensors"):
            files[name] = draw(headed(files[name]) | damaged_bytes(files[name]))
        else:
            names = (*sorted(files), "a/../b.safetensors", "\0.safetensors", "Safe", "qwen3", "full_attention")
            files[name] = draw(json_bytes(json.loads(files[name]), names))
    return files


@BRIEF
@given(files=folders())
def holds(files: dict[str, bytes]) -> None:
    """A folder is refused with a short CheckpointError, or gives every tensor as the library reads it."""
    put(files)
    try:
        checkpoint = Checkpoint.open(FOLDER)
    except CheckpointError as error:
        check_message(error)
        return
    known = {name: entry for path in checkpoint.files[1:] for name, entry in read_by_library(path).items()}
    for name, shape in tensor_shapes(checkpoint.config).items():
        tensor = checkpoint.tensor(name)
        assert tensor.shape == shape
        assert tensor.dtype == np.float32
        if entry := known.get(name):
            assert tuple(entry["shape"]) == shape
            assert same_bits(tensor, entry)
    assert len(checkpoint.sha256()) == 64


def read_by_library(path: Path) -> dict[str, Any]:
    """Return what the library finds in a file; nothing where it wants more of the header than we do."""
    try:
        return dict(safetensors.deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]  # theirs
    except safetensors.SafetensorError:
        return {}


def same_bits(tensor: NDArray[np.float32], entry: dict[str, Any]) -> bool:
    """Whether a tensor is what the library's bytes say."""
    raw = np.frombuffer(bytes(entry["data"]), {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry["dtype"]])
    if entry["dtype"] == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return np.array_equal(np.array(raw, np.float32), tensor.ravel(), equal_nan=True)


def put(files: dict[str, bytes]) -> None:
    """Write a folder's files, and take away all others."""
    for path in FOLDER.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)


assert {CONFIG_FILE, INDEX_FILE} <= SHARDED.keys()
assert WEIGHTS_FILE in WHOLE
one_input = from_bytes(holds)
