"""Reads safetensors files, one tensor at a time, without a library that maps them whole."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import CheckpointError

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Types that can be read, as they lie in a file."""

_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies: file, type, shape, and absolute byte range."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> dict[str, Place]:
    """Return the places of a safetensors file's tensors, which must fill the file without gap or overlap."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            if size < 8 or n_header > min(size - 8, _MAX_HEADER_BYTES):
                raise CheckpointError(f"{path.name} is truncated or no safetensors file")
            header = json.loads(file.read(n_header))
        base = 8 + n_header
        places = {k: _place(path, v, base) for k, v in header.items() if k != "__metadata__"}
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} has a broken header: {type(error).__name__}") from error
    end = base
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
        if place.start != end:
            raise CheckpointError(f"{path.name} is damaged: {name} starts at byte {place.start}, expected {end}")
        end = place.end
    if end != size:
        raise CheckpointError(f"{path.name} is truncated or damaged: its tensors end at byte {end} of {size}")
    return places


def _place(path: Path, entry: dict[str, Any], base: int) -> Place:
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if dtype not in DTYPES:
        raise CheckpointError(f"{path.name} holds tensors of type {dtype}; readable: {', '.join(DTYPES)}")
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, start, end)):
        raise ValueError("negative or fractional numbers")
    n_items = 1
    for n in shape:
        n_items *= n
    if end - start != n_items * DTYPES[dtype].itemsize:
        raise ValueError("shape and byte range disagree")
    return Place(path, dtype, shape, base + start, base + end)


def read_tensor(place: Place) -> NDArray[np.float32]:
    """Return a tensor as float32, in its own shape."""
    with place.file.open("rb") as file:
        file.seek(place.start)
        data = file.read(place.end - place.start)
    raw = np.frombuffer(data, DTYPES[place.dtype]).reshape(place.shape)
    if place.dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return np.array(raw, np.float32)


def row_of(matrix: Place, i: int) -> Place:
    """Return where one row of a matrix lies."""
    size = (matrix.end - matrix.start) // matrix.shape[0]
    start = matrix.start + i * size
    return replace(matrix, shape=matrix.shape[1:], start=start, end=start + size)
