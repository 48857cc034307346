"""What a model is known by: two calls are the same question only if they go to the same weights or the same code."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from guardrail.assets import DEFAULT_MANIFEST_SHA256
from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.training.recipe.settings import ModelSettings

DEFAULT_GUARD = "default"
"""Names the embedded model as a guard."""

_WHOLE_BYTES = 2**26
_N_BLOCKS = 64
_BLOCK_BYTES = 2**20
"""Files up to `_WHOLE_BYTES` are hashed whole; of larger ones, weights, blocks that are spread evenly: training changes
all of them. Ours."""


def identity_of(settings: ModelSettings, folder: Path) -> str:
    """Return what a model is known by: not where it runs, nor how patiently it is asked.

    For an endpoint that is its name there, `revision` and `extra_body`; for a folder the hash of its files; for a hub
    id the id and `revision`; for a function the hash of its file, whatever other files that imports.

    Args:
        settings: of the model.
        folder: of the recipe.

    Raises:
        ConfigurationError: a file is missing, or the settings name no model, or say what the kind does not take.
    """
    if settings.extra_body and settings.kind != "endpoint":
        raise ConfigurationError(f"a model of kind {settings.kind} has no extra_body", hint="it is for servers")
    if settings.kind == "function":
        path, name = function_of(settings, folder)
        return _joined("function", hashlib.sha256(path.read_bytes()).hexdigest(), name, settings.revision)
    if not settings.model:
        raise ConfigurationError(f"a model of kind {settings.kind} needs `model`", hint="its name, folder or hub id")
    if settings.kind == "endpoint":
        extra = [json.dumps(settings.extra_body, sort_keys=True)] if settings.extra_body else []
        return _joined("endpoint", settings.model, settings.revision, *extra)
    if settings.kind == "guard" and settings.model == DEFAULT_GUARD:
        return _joined("guard", DEFAULT_MANIFEST_SHA256, settings.revision)
    named = Path(settings.model)
    known = _hash_folder(named) if named.is_dir() else settings.model
    return _joined(settings.kind, known, settings.revision)


def function_of(settings: ModelSettings, folder: Path) -> tuple[Path, str]:
    """Return the file and the name of a function.

    Raises:
        ConfigurationError: there is no such file, or the setting has another form.
    """
    file, _, name = settings.function.rpartition(":")
    path = folder / file
    if not file or not name.isidentifier():
        raise ConfigurationError('a model of kind function needs `function = "file.py:name"`')
    if not path.is_file():
        raise ConfigurationError(f"there is no {file} beside the recipe", hint="`function` is relative to the recipe")
    return path, name


def _joined(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _hash_folder(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise ConfigurationError(f"there is no model in {folder.name}")
    digests = []
    for path in files:
        found = path.stat()
        digests.append(f"{path.name}\0{found.st_size}\0{_hash_model_file(path, found.st_size, found.st_mtime_ns)}")
    return hashlib.sha256("\n".join(digests).encode(errors="surrogateescape")).hexdigest()


@lru_cache(1024)
def _hash_model_file(path: Path, size: int, _changed_ns: int) -> str:
    if size <= _WHOLE_BYTES:
        return hash_file(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for i in range(_N_BLOCKS):
            file.seek((size - _BLOCK_BYTES) * i // (_N_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
