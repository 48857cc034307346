"""Reads and writes the published checkpoint formats, without torch; refuses what it does not know.

A folder holds `config.json` (architectures `Qwen3ForGuardModel`, four label maps) and the tensors of the backbone
(`model.*`) and of the eight heads in safetensors: one file, or shards with an index. Source: `qwen3guard.md` 1.1-1.3.
A Qwen3Guard-Gen checkpoint is read as if it had such heads: they are rows of its output matrix (2.3).
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint_config import EMBEDDING, OUTPUT_MATRIX, GuardConfig, tensor_shapes
from guardrail.encoding import GuardTokenizer
from guardrail.errors import CheckpointError
from guardrail.generative.labels import check_template, head_rows
from guardrail.tensor_files import DTYPES, Place, read_header, read_tensor, row_of

Array = NDArray[np.float32]

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_WRITTEN_DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_OVERFLOWS = {"F32": float("inf"), "F16": 65520.0, "BF16": float.fromhex("0x1.ffp127")}  # least that rounds to infinity
_NAMED_AT_MOST = 5


class Checkpoint:
    """An opened checkpoint; tensors are read one at a time. Safe for many threads.

    Attributes:
        folder: where it lies.
        config: sizes and labels.
    """

    def __init__(
        self, folder: Path, config: GuardConfig, places: dict[str, Place], head_rows: dict[str, tuple[int, ...]]
    ) -> None:
        self.folder = folder
        self.config = config
        self._places = places
        self._head_rows = head_rows

    @classmethod
    def open(cls, folder: str | Path, *, with_heads: bool = True) -> Self:
        """Read config and headers, and check that exactly the expected tensors are there in the expected shapes.

        Args:
            folder: of the checkpoint.
            with_heads: False takes a language model of any use too, of which the backbone alone can be read.

        Raises:
            CheckpointError: a file is missing, damaged, stale or not what it says; a tensor is missing, extra or of
                the wrong shape (each is named); the architecture or a label map is foreign.
        """
        folder = Path(folder)
        config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
        places: dict[str, Place] = {}
        for file, names in _weight_files(folder).items():
            found = read_header(folder / file)
            if names is not None:
                _check_names(names, found, f" in {file}")
            places.update(found)
        _check_tensors(config, places)
        has_rows = with_heads and config.is_generative
        return cls(folder, config, places, _head_rows(folder, config) if has_rows else {})

    def tensor(self, name: str) -> Array:
        """Return one tensor as float32, in its own shape."""
        if name not in self._head_rows:
            return read_tensor(self._places[name])
        matrix = self._places[EMBEDDING if self.config.tie_word_embeddings else OUTPUT_MATRIX]
        return np.stack([read_tensor(row_of(matrix, i)) for i in self._head_rows[name]])

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


def _head_rows(folder: Path, config: GuardConfig) -> dict[str, tuple[int, ...]]:
    check_template(folder)
    rows = head_rows(GuardTokenizer.from_file(folder / TOKENIZER_FILE))
    if max(map(max, rows.values())) >= config.vocab_size:
        raise CheckpointError(f"{TOKENIZER_FILE} has more tokens than the output matrix has rows")
    return rows


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
    item = DTYPES[_WRITTEN_DTYPES[dtype]].itemsize
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


def _check_tensors(config: GuardConfig, places: Mapping[str, Place]) -> None:
    if config.n_layers > len(places):  # before their names are written out: a damaged number may be any
        raise CheckpointError(f"config.json has {config.n_layers} layers, the weights {len(places)} tensors in all")
    shapes = {name: place.shape for name, place in places.items()}
    if config.tie_word_embeddings == config.is_generative:
        shapes.pop(OUTPUT_MATRIX, None)  # beside heads, or a copy of the embedding: it is never read
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
    offset, item = 0, DTYPES[dtype].itemsize
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
        return values.astype(DTYPES[dtype])
    bits = values.view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
