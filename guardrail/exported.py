"""The exported folder: model.onnx with its data, config.json, tokenizer.json, and a manifest with the hash of each.

Sizes and label maps are those of config.json, which is the checkpoint's own.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import CheckpointError

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
FORMAT: Literal["guardrail-export"] = "guardrail-export"
FILES = (MODEL_FILE, "model.onnx.data", "config.json", "tokenizer.json")


class Manifest(BaseModel):
    """What an exported folder holds and what it was made from.

    Attributes:
        format: always "guardrail-export".
        schema_version: of this manifest.
        graph_version: of the exporter's graph.
        name: of the model, for people.
        precision: of the weights.
        source_sha256: hash of the checkpoint that was exported.
        files: file name -> SHA-256, hexadecimal.
        versions: package -> version that made the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["guardrail-export"] = FORMAT
    schema_version: Literal[1] = 1
    graph_version: int
    name: str
    precision: Literal["fp32", "int8"]
    source_sha256: str
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def sha256(self) -> str:
        """Identity of the model: a hash over the files' hashes."""
        return hashlib.sha256("".join(self.files[name] for name in FILES).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_export(folder: Path) -> bool:
    """Whether the folder's manifest is ours; browser extensions and web pages have a manifest.json too."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest and check every file against it, the largest too: 657 MB take half a second.

    Raises:
        CheckpointError: the manifest is missing or broken, or a file is missing or was changed.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {MANIFEST_FILE}: {error.strerror}") from error
    except ValidationError as error:
        where = sorted({".".join(map(str, item["loc"])) or "the file" for item in error.errors()})
        raise CheckpointError(
            f"{MANIFEST_FILE} is broken or of another version: {', '.join(where)}", hint="export the checkpoint again"
        ) from error
    if set(manifest.files) != set(FILES):
        raise CheckpointError(f"{MANIFEST_FILE} must list exactly {', '.join(FILES)}")
    for name, expected in manifest.files.items():
        try:
            found = hash_file(folder / name)
        except OSError as error:
            raise CheckpointError(f"the exported folder lacks {name}", hint="export the checkpoint again") from error
        if found != expected:
            raise CheckpointError(
                f"{name} was changed or truncated since it was exported", hint="export the checkpoint again"
            )
    return manifest
