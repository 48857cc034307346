"""The exported folder: model.onnx with its data, config.json, tokenizer.json, and a manifest with the hash of each.

Sizes and label maps are those of config.json, which is the checkpoint's own. A calibrated folder also holds a second
graph over the same data, whose KV cache is int8, and the scales of that cache.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.engines.runtime import KVPrecision
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.file_hash import hash_file

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
FORMAT: Literal["guardrail-export"] = "guardrail-export"
FILES = (MODEL_FILE, "model.onnx.data", "config.json", "tokenizer.json")
KV_MODEL_FILE = "model.kv-int8.onnx"
KV_SCALES_FILE = "kv_scales.safetensors"
KV_FILES = (KV_MODEL_FILE, KV_SCALES_FILE)
"""What a calibration of the int8 KV cache adds."""


class KVCalibration(BaseModel):
    """Where the scales of the int8 KV cache come from.

    Attributes:
        texts_sha256: hash over the token ids that were read.
        n_texts: texts that were read.
        n_tokens: in all of them.
        headroom: largest value that a scale leaves room for, in units of the largest that was met.
        files: file name -> SHA-256, hexadecimal.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    texts_sha256: str
    n_texts: int
    n_tokens: int
    headroom: float
    files: dict[str, str]


class Manifest(BaseModel):
    """What an exported folder holds and what it was made from.

    Attributes:
        format: always "guardrail-export".
        schema_version: of this manifest.
        graph_version: of the exporter's graph.
        name: of the model, for people.
        precision: of the weights.
        block_size: weights that share one scale; None in fp32, and for folders from before it was written down (32).
        source_sha256: hash of the checkpoint that was exported.
        files: file name -> SHA-256, hexadecimal.
        versions: package -> version that made the folder.
        kv_int8: the calibration of the int8 KV cache; None where there is none.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    format: Literal["guardrail-export"] = FORMAT
    schema_version: Literal[1] = 1
    graph_version: int
    name: str
    precision: Literal["fp32", "int8", "int4"]
    block_size: int | None = None
    source_sha256: str
    files: dict[str, str]
    versions: dict[str, str]
    kv_int8: KVCalibration | None = None

    @property
    def sha256(self) -> str:
        """Identity of the model with its KV cache in fp32: a hash over the files' hashes."""
        return hashlib.sha256("".join(self.files[name] for name in FILES).encode()).hexdigest()

    def identity(self, kv_precision: KVPrecision = "fp32") -> str:
        """Return the identity of the model with that KV cache: it may give other verdicts.

        Raises:
            ConfigurationError: the folder is not calibrated for it.
        """
        if kv_precision == "fp32":
            return self.sha256
        hashes = self._calibration().files
        return hashlib.sha256("".join([self.sha256, *(hashes[name] for name in KV_FILES)]).encode()).hexdigest()

    def graph_file(self, kv_precision: KVPrecision = "fp32") -> str:
        """Return the name of the graph with that KV cache.

        Raises:
            ConfigurationError: the folder is not calibrated for it.
        """
        if kv_precision == "fp32":
            return MODEL_FILE
        self._calibration()
        return KV_MODEL_FILE

    def _calibration(self) -> KVCalibration:
        if self.kv_int8 is None:
            raise ConfigurationError(
                "the exported folder has no scales for an int8 KV cache",
                hint="run guardrail calibrate-kv on the folder",
            )
        return self.kv_int8


def is_export(folder: Path) -> bool:
    """Whether the folder's manifest is ours; browser extensions and web pages have a manifest.json too."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def read_manifest(folder: Path, *, sha256: str | None = None) -> Manifest:
    """Read the manifest and check every file against it, the largest too: 657 MB take half a second.

    That every file is as it was exported holds for the moment of the check: whoever can write into the folder can still
    change one before it is opened.

    Args:
        folder: to look into.
        sha256: hash that the manifest itself must have, hexadecimal; None takes any.

    Raises:
        CheckpointError: the manifest is missing, broken or another one, or a file is missing or was changed.
    """
    try:
        text = (folder / MANIFEST_FILE).read_bytes()
        if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
            raise CheckpointError(f"{MANIFEST_FILE} is not the one that was shipped", hint="install the package again")
        manifest = Manifest.model_validate_json(text)
    except OSError as error:
        raise CheckpointError(f"cannot read {MANIFEST_FILE}: {error.strerror}") from error
    except ValidationError as error:
        where = sorted({".".join(map(str, item["loc"])) or "the file" for item in error.errors()})
        raise CheckpointError(
            f"{MANIFEST_FILE} is broken or of another version: {', '.join(where)}", hint="export the checkpoint again"
        ) from error
    _check_files(folder, manifest.files, FILES)
    if manifest.kv_int8:
        _check_files(folder, manifest.kv_int8.files, KV_FILES)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest into the folder, in one move."""
    written = folder / f".{MANIFEST_FILE}"
    written.write_text(manifest.model_dump_json(indent=2, exclude_none=True) + "\n", "utf-8")
    written.replace(folder / MANIFEST_FILE)


def _check_files(folder: Path, listed: Mapping[str, str], names: Sequence[str]) -> None:
    if set(listed) != set(names):
        raise CheckpointError(f"{MANIFEST_FILE} must list exactly {', '.join(names)}")
    for name, expected in listed.items():
        try:
            found = hash_file(folder / name)
        except OSError as error:
            raise CheckpointError(f"the exported folder lacks {name}", hint="export the checkpoint again") from error
        if found != expected:
            raise CheckpointError(
                f"{name} was changed or truncated since it was exported", hint="export the checkpoint again"
            )
