"""The folder that `guardrail export --via optimum` writes: Optimum's own files, the checkpoint's config and tokenizer,
and `optimum.json`, which says what they are.

No manifest.json: the graph is none of ours, and only `optimum_engine.py` runs it.
"""

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import CheckpointError
from guardrail.file_hash import hash_file

OPTIMUM_FILE = "optimum.json"
FORMAT: Literal["guardrail-optimum"] = "guardrail-optimum"


class Quantised(BaseModel):
    """What ORTQuantizer turned into 8 bits, by counting the nodes of the graph.

    Attributes:
        weight_matmuls: matrix products with weights: int8, a scale for each output channel.
        activation_matmuls: matrix products in attention and of the rotary angles: both sides quantised as they come.
        embeddings: embedding tables: int8, one scale for the whole table.
        float_matmuls: matrix products that stayed float32.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    weight_matmuls: int = 0
    activation_matmuls: int = 0
    embeddings: int = 0
    float_matmuls: int = 0


class OptimumManifest(BaseModel):
    """What the folder holds and what it was made from.

    Attributes:
        format: always "guardrail-optimum".
        name: of the model, for people.
        precision: "fp32" as exported, "int8" after ORTQuantizer.
        model_file: the graph; its data lies beside it.
        source_sha256: hash of the checkpoint that was exported.
        quantised: what is int8.
        files: file name -> SHA-256, hexadecimal.
        versions: package -> version that made the folder.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    format: Literal["guardrail-optimum"] = FORMAT
    name: str
    precision: Literal["fp32", "int8"]
    model_file: str
    source_sha256: str
    quantised: Quantised
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def sha256(self) -> str:
        """Identity of the model: a hash over the files' hashes."""
        return hashlib.sha256("".join(self.files[name] for name in sorted(self.files)).encode()).hexdigest()


def is_optimum_export(folder: Path) -> bool:
    """Whether the folder was written by `guardrail export --via optimum`."""
    return (folder / OPTIMUM_FILE).is_file()


def read_optimum(folder: Path) -> OptimumManifest:
    """Read optimum.json and check every file against it.

    Raises:
        CheckpointError: it is missing or broken, or a file is missing or was changed.
    """
    hint = "export the checkpoint again"
    try:
        manifest = OptimumManifest.model_validate_json((folder / OPTIMUM_FILE).read_bytes())
        changed = [name for name, expected in manifest.files.items() if hash_file(folder / name) != expected]
    except OSError as error:
        raise CheckpointError(f"the folder lacks a file of the export: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        raise CheckpointError(f"{OPTIMUM_FILE} is broken or of another version", hint=hint) from error
    if changed:
        raise CheckpointError(f"{changed[0]} was changed or truncated since it was exported", hint=hint)
    return manifest
