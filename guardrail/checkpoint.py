"""Reads and writes the published checkpoint format, without torch; refuses what it does not know.

A folder holds `config.json` (architectures `Qwen3ForGuardModel`, four label maps) and the tensors of the backbone
(`model.*`) and of the eight heads in safetensors: one file, or shards with an index. Source: `qwen3guard.md` 1.1-1.3.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.errors import CheckpointError

Array = NDArray[np.float32]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_WRITTEN_DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_OVERFLOWS = {"F32": float("inf"), "F16": 65520.0, "BF16": float.fromhex("0x1.ffp127")}  # least that rounds to infinity
_MAX_HEADER_BYTES = 100_000_000
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies: file, type, shape, and absolute byte range."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Checkpoint:
    """An opened checkpoint; tensors are read one at a time. Safe for many threads.

    Attributes:
        folder: where it lies.
        config: sizes and labels.
    """

    def __init__(self, folder: Path, config: GuardConfig, places: dict[str, _Place]) -> None:
        self.folder = folder
        self.config = config
        self._places = places

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Read config and headers, and check that exactly the expected tensors are there in the expected shapes.

        Raises:
            CheckpointError: a file is missing, damaged, stale or not what it says; a tensor is missing, extra or of
                the wrong shape (each is named); the architecture or a label map is foreign.
        """
        folder = Path(folder)
        config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
        places: dict[str, _Place] = {}
        for file, names in _weight_files(folder).items():
            found = _read_header(folder / file)
            if names is not None:
                _check_names(names, found, f" in {file}")
            places.update(found)
        _check_tensors(config, places)
        return cls(folder, config, places)

    def tensor(self, name: str) -> Array:
        """Return one tensor as float32, in its own shape."""
        place = self._places[name]
        with place.file.open("rb") as file:
            file.seek(place.start)
            data = file.read(place.end - place.start)
        raw = np.frombuffer(data, _DTYPES[place.dtype]).reshape(place.shape)
        if place.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return np.array(raw, np.float32)

    @property
    def files(self) -> tuple[Path, ...]:
        """Config and weight files, in a fixed order."""
        return (self.folder / CONFIG_FILE, *sorted({place.file for place in self._places.values()}))

    def sha256(self) -> str:
        """Hash config and weights: the identity of the model, whatever the folder is called."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def write_checkpoint(
    folder: str | Path,
    config: GuardConfig,
    tensors: Mapping[str, Array],
    *,
    dtype: str = "bf16",
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write the published format: one file, or shards with an index when it would be larger than `max_shard_bytes`.

    Args:
        folder: made if needed; a checkpoint that it holds is replaced.
        config: sizes and labels.
        tensors: exactly the expected names and shapes.
        dtype: "bf16" (rounded to nearest even), "f16" or "f32".
        max_shard_bytes: most tensor bytes a file.

    Raises:
        CheckpointError: unknown dtype, tensors that do not fit the config, or a number too large for the dtype.
    """
    if dtype not in _WRITTEN_DTYPES:
        raise CheckpointError(f"unknown dtype {dtype!r}; valid: {', '.join(_WRITTEN_DTYPES)}")
    _check_shapes(tensor_shapes(config), {name: tuple(array.shape) for name, array in tensors.items()})
    _check_range(tensors, _WRITTEN_DTYPES[dtype])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    item = _DTYPES[_WRITTEN_DTYPES[dtype]].itemsize
    shards = _shard({name: item * array.size for name, array in tensors.items()}, max_shard_bytes)
    files = [WEIGHTS_FILE] if len(shards) == 1 else [
        f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))
    ]  # fmt: skip
    (folder / INDEX_FILE).unlink(missing_ok=True)  # first: it would join what is written now with what was there
    for file, names in zip(files, shards, strict=True):
        _write_file(folder / file, {name: tensors[name] for name in names}, _WRITTEN_DTYPES[dtype])
    for path in [folder / WEIGHTS_FILE, *folder.glob("model-*-of-*.safetensors")]:
        if path.name not in files:
            path.unlink(missing_ok=True)
    if len(files) > 1:
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        total = sum(item * array.size for array in tensors.values())
        _write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    _write_json(folder / CONFIG_FILE, config.to_json(dtype))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object a JSON file holds; every defect is a CheckpointError."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"no {path.name} in the folder", hint="is this a Qwen3Guard-Stream checkpoint?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} does not hold a JSON object")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _weight_files(folder: Path) -> dict[str, list[str] | None]:
    """Return file name -> tensors it must hold (None: whatever it holds)."""
    if not (folder / INDEX_FILE).exists():
        return {WEIGHTS_FILE: None}
    weight_map = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{INDEX_FILE} has no weight_map")
    files: dict[str, list[str] | None] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{INDEX_FILE} names a file that is no plain *.safetensors name")
        names = files.setdefault(file, [])
        assert names is not None  # noqa: S101 - for the type checker: set just above
        names.append(name)
    if WEIGHTS_FILE not in files and (folder / WEIGHTS_FILE).exists():
        raise CheckpointError(f"{INDEX_FILE} does not list {WEIGHTS_FILE}", hint="one of them is stale: delete it")
    return files


def _read_header(path: Path) -> dict[str, _Place]:
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


def _place(path: Path, entry: dict[str, Any], base: int) -> _Place:
    dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if dtype not in _DTYPES:
        raise CheckpointError(f"{path.name} holds tensors of type {dtype}; readable: {', '.join(_DTYPES)}")
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, start, end)):
        raise ValueError("negative or fractional numbers")
    n_items = 1
    for n in shape:
        n_items *= n
    if end - start != n_items * _DTYPES[dtype].itemsize:
        raise ValueError("shape and byte range disagree")
    return _Place(path, dtype, shape, base + start, base + end)


def _check_tensors(config: GuardConfig, places: Mapping[str, _Place]) -> None:
    if config.n_layers > len(places):  # before their names are written out: a damaged number may be any
        raise CheckpointError(f"config.json has {config.n_layers} layers, the weights {len(places)} tensors in all")
    shapes = {name: place.shape for name, place in places.items()}
    if not config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)  # an untied language-model head may lie beside the heads; it is never read
    _check_shapes(tensor_shapes(config), shapes)


def _check_names(expected: Collection[str], found: Collection[str], where: str = "") -> None:
    missing, extra = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if missing:
        raise CheckpointError(f"missing tensors{where}: {_some(missing)}")
    if extra:
        raise CheckpointError(f"unknown tensors{where}: {_some(extra)}")


def _check_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    _check_names(expected, found)
    wrong = [f"{n} is {list(found[n])}, expected {list(s)}" for n, s in expected.items() if found[n] != s]
    if wrong:
        raise CheckpointError(f"wrong shapes: {_some(wrong)}")


def _check_range(tensors: Mapping[str, Array], dtype: str) -> None:
    """Refuse finite numbers that would be written as infinity."""
    for name, array in tensors.items():
        largest = np.abs(array).max(initial=0, where=np.isfinite(array))
        if largest >= _OVERFLOWS[dtype]:
            raise CheckpointError(f"{name} holds {largest:.4g}, too large for {dtype}", hint="write another dtype")


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + rest


def _shard(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if shards[-1] and used + size > limit:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def _write_file(path: Path, tensors: Mapping[str, Array], dtype: str) -> None:
    """Write one safetensors file: header, then each tensor in order, streaming."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset, item = 0, _DTYPES[dtype].itemsize
    for name, array in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + item * array.size],
        }
        offset += item * array.size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for array in tensors.values():
            file.write(_encode(array, dtype).tobytes())


def _encode(array: Array, dtype: str) -> NDArray[Any]:
    values = np.ascontiguousarray(array, np.float32)
    if dtype != "BF16":
        return values.astype(_DTYPES[dtype])
    bits = values.view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
