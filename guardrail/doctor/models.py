"""Which engine and model are used, and whether their files are as they were made. Nothing is downloaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from guardrail.assets import DEFAULT_MANIFEST_SHA256
from guardrail.doctor.checks import Check, State, failed, ok, one_line, warning
from guardrail.errors import GuardError
from guardrail.exported import is_export, read_manifest
from guardrail.loader import EMBEDDED, LoadedModel, embedded_folder, find_checkpoint, load_default, load_model

PUBLISHED = "Qwen/Qwen3Guard-Stream-0.6B"
"""The model that production is told to load."""

_NEEDED = ("config.json", "tokenizer.json")
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that judges.

    Attributes:
        source: as it was asked for.
        folder: where it lies; of a checkpoint, what the export is made from.
        name: of the model, as records have it.
        engine: that runs it.
        precision: of the weights.
        sha256: identity of the weights, as records have it.
        max_context: most tokens that are read at once.
        categories: names that it can give to harm in a prompt.
    """

    source: str
    folder: str
    name: str
    engine: str
    precision: str
    sha256: str
    max_context: int
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HubCopy:
    """What the hub's cache holds of one model.

    Attributes:
        repository: on the hub.
        folder: of its newest copy; None without one.
        is_complete: whether configuration, tokenizer and all weights are there.
        missing: files that are not, of a copy that is there.
    """

    repository: str
    folder: str | None
    is_complete: bool
    missing: tuple[str, ...]


def check_files(source: str) -> tuple[Path | None, Check]:
    """Return the folder of a model, and whether its files are as they were made.

    Files of an export are compared with their hashes, those of the embedded model with one in the code. A checkpoint
    has none: its names and shapes are checked when it is loaded.
    """
    try:
        folder = embedded_folder() if source == EMBEDDED else find_checkpoint(source, offline=True)
        if source != EMBEDDED and not is_export(folder):
            return folder, ok("model files", f"{source}: a checkpoint, which carries no hashes")
        manifest = read_manifest(folder, sha256=DEFAULT_MANIFEST_SHA256 if source == EMBEDDED else None)
    except (GuardError, ImportError, OSError) as error:
        return None, failed("model files", one_line(error), _advice(source))
    kept = {**manifest.files, **(manifest.kv_int8.files if manifest.kv_int8 else {})}
    return folder, ok("model files", f"{len(kept)} files of {manifest.name} are as their hashes say")


def open_model(source: str, folder: Path) -> tuple[LoadedModel | None, Check]:
    """Load a model as every command does, but from this machine alone; exporting a checkpoint takes its time once."""
    try:
        model = load_default() if source == EMBEDDED else load_model(folder, offline=True)
    except (GuardError, ImportError, OSError) as error:  # a runtime without its libraries is an ImportError
        return None, failed("engine", one_line(error), _advice(source))
    info = model.engine.info
    told = f"{info.engine}, {info.precision}, {info.name} ({info.sha256[:12]})"
    advice = f"for trying out; production loads a published model, such as {PUBLISHED}" if source == EMBEDDED else ""
    return model, Check("engine", State.OK, told, advice)


def facts_of(source: str, folder: Path, model: LoadedModel) -> ModelFacts:
    """Return what records will say of a loaded model."""
    info = model.engine.info
    return ModelFacts(
        source=source,
        folder=str(folder),
        name=info.name,
        engine=info.engine,
        precision=info.precision,
        sha256=info.sha256,
        max_context=info.max_context,
        categories=tuple(str(name) for name in info.prompt_labels.categories),
    )


def look_into_hub(cache: Path, repository: str = PUBLISHED) -> HubCopy:
    """Return what the hub's cache holds of a model, read without huggingface_hub.

    Args:
        cache: folder of the cache.
        repository: on the hub.
    """
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    folders = sorted((one for one in snapshots.glob("*") if one.is_dir()), key=lambda one: one.stat().st_mtime)
    if not folders:
        return HubCopy(repository, None, False, ())
    missing = tuple(name for name in (*_NEEDED, *_weights(folders[-1])) if not (folders[-1] / name).exists())
    return HubCopy(repository, str(folders[-1]), not missing, missing)


def hub_check(copy: HubCopy, *, is_offline: bool) -> Check:
    """Return whether the published model is at hand; that it is not is no fault, so long as it can be had."""
    if copy.is_complete:
        return ok("hub cache", f"{copy.repository} is there, whole")
    if copy.folder:
        advice = f"guardrail verify {copy.repository} fetches the rest, and compares it with torch"
        return warning("hub cache", f"{copy.repository} is there without {', '.join(copy.missing)}", advice)
    if is_offline:
        advice = "unset HF_HUB_OFFLINE, or copy the folder from another machine and pass it as --model"
        return warning("hub cache", f"{copy.repository} is not there, and HF_HUB_OFFLINE forbids to fetch it", advice)
    return ok("hub cache", f"{copy.repository} is not there; the first use downloads it")


def _weights(folder: Path) -> list[str]:
    """Return the names of the files that hold the weights, those included that an index only names."""
    try:
        files = sorted({*json.loads((folder / _INDEX).read_bytes())["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # a model in one file has no index
        return ["model.safetensors"]
    return [str(name) for name in files]


def _advice(source: str) -> str:
    if source == EMBEDDED:
        return 'install the package again: pip install --force-reinstall "guardrail-stream"'
    return f"give a folder, or fetch and check it: guardrail verify {source}"
