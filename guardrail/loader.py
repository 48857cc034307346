"""Finds, exports once and loads a model; the one module that names onnx_export, and only inside a function.

Exports are kept in a cache: a folder for each checkpoint with its tokenizer, precision and version of the exporter's
graph. Deleting it costs an export. A damaged one is made again.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shutil import rmtree

from guardrail.assets import DEFAULT_MANIFEST_SHA256
from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, Checkpoint, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import CheckpointError, ConfigurationError, MissingExtra
from guardrail.exported import MANIFEST_FILE, MODEL_FILE, Manifest, is_export, read_manifest
from guardrail.file_hash import hash_file
from guardrail.generative.labels import TEMPLATE_FILES
from guardrail.generative.local import LocalLine
from guardrail.generative.reader import GenerativeReader
from guardrail.reader import Reader
from guardrail.token_reader import TokenReader

ENGINES = ("onnx", "torch")
DEFAULT_PRECISION = "int8"
EMBEDDED = "default"  # as commands and settings name the embedded model
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = [CONFIG_FILE, TOKENIZER_FILE, *TEMPLATE_FILES, "*.safetensors", "model.safetensors.index.json"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to judge.

    Attributes:
        engine: runs it.
        tokenizer: of it.
        reader: reads texts with it.
    """

    engine: Engine
    tokenizer: GuardTokenizer
    reader: Reader


def embedded_folder() -> Path:
    """Return the folder of the embedded model, an export."""
    return Path(str(files("guardrail.assets").joinpath("default")))


def load_default(*, runtime: Runtime | None = None) -> LoadedModel:
    """Load the embedded model, after every file was checked against hashes that start from one in the code.

    Raises:
        CheckpointError: the package's files are damaged or were exchanged.
    """
    folder = embedded_folder()
    return _load_exported(folder, read_manifest(folder, sha256=DEFAULT_MANIFEST_SHA256), runtime)


def load_model(
    source: str | Path,
    *,
    engine: str = "onnx",
    precision: str | None = None,
    runtime: Runtime | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load a hub id, a checkpoint folder or an exported folder; see `Guard.load`.

    Args:
        source: such as "Qwen/Qwen3Guard-Stream-0.6B", or a folder.
        engine: "onnx", or "torch" for the reference, which takes a checkpoint.
        precision: "int8", "fp32" or "int4" of the weights; None takes an export's own, int8 otherwise. The
            torch engine takes "fp32" or "bf16".
        runtime: threads, memory and queues; of the threads, torch's belong to the whole process and cannot be set.
        revision: commit or branch on the hub.
        token: access token for the hub.
        cache_dir: where exports are kept; None takes $XDG_CACHE_HOME/guardrail, else ~/.cache/guardrail.
        offline: take only what the hub's cache holds, as HF_HUB_OFFLINE=1 does.

    Raises:
        CheckpointError: the folder is no such model, or is damaged.
        ConfigurationError: the source is neither a folder nor a hub id, the hub cannot be reached, an unknown option,
            or one that the exported folder or the torch engine cannot have.
        MissingExtra: exporting, downloading or the torch engine needs an extra.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f"unknown engine {engine!r}; valid: {', '.join(ENGINES)}")
    folder = find_checkpoint(source, revision=revision, token=token, offline=offline)
    name = Path(source).resolve().name if _is_folder(source) else str(source)
    if is_export(folder) or all((folder / file).exists() for file in (MANIFEST_FILE, MODEL_FILE)):
        return _load_exported(folder, _read_export(folder, engine, precision), runtime)
    if not (folder / CONFIG_FILE).exists():
        raise CheckpointError(f"{source} holds neither {MANIFEST_FILE} (an export) nor {CONFIG_FILE} (a checkpoint)")
    if engine == "torch":
        return _load_torch(folder, name, precision, runtime or Runtime())
    kv_precision = (runtime or Runtime()).kv_precision
    cache = cache_folder(cache_dir)
    made, manifest = _export_once(folder, name, precision or DEFAULT_PRECISION, cache, kv_precision)
    return _load_exported(made, manifest.model_copy(update={"name": name}), runtime)


def find_checkpoint(
    source: str | Path, *, revision: str | None = None, token: str | None = None, offline: bool = False
) -> Path:
    """Return the folder of a model: the source itself, or the download of a hub id.

    Raises:
        ConfigurationError: the source is neither a folder nor a hub id, the hub cannot be reached, or a folder is
            given with a revision.
        MissingExtra: downloading needs the extra `export`.
    """
    if not _is_folder(source):
        return _download(str(source), revision, token, offline=offline)
    if revision is not None:
        raise ConfigurationError(f"{source} is a folder here, and folders have no revisions", hint="leave it unset")
    return Path(source)


def exported_folder(checkpoint: Path, *, name: str, precision: str | None = None) -> Path:
    """Return the export of a checkpoint folder in the cache, made now unless it is there; see `load_model`."""
    return _export_once(checkpoint, name, precision or DEFAULT_PRECISION, cache_folder())[0]


def _is_folder(source: str | Path) -> bool:
    """Whether there is such a folder; an empty string, perhaps an unset variable, is not the working directory."""
    try:
        return source != "" and Path(source).is_dir()
    except OSError:  # longer than a name may be, say
        return False


def _read_export(folder: Path, engine: str, precision: str | None) -> Manifest:
    """Return the manifest of an exported folder that can do what was asked for."""
    if engine == "torch":
        raise ConfigurationError("an exported folder runs on the onnx engine", hint="give the checkpoint folder")
    manifest = read_manifest(folder)
    if precision not in (None, manifest.precision):
        raise ConfigurationError(
            f"{folder} is exported as {manifest.precision}, not {precision}",
            hint=f'export the checkpoint again, or load with precision="{manifest.precision}"',
        )
    return manifest


def _load_exported(folder: Path, manifest: Manifest, runtime: Runtime | None) -> LoadedModel:
    from guardrail.engines.onnx import OnnxEngine

    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    tokenizer = _tokenizer(folder, config)
    settings = runtime or Runtime()
    engine = OnnxEngine(folder, manifest, config, runtime=settings)
    return _loaded(ScheduledEngine(engine, settings), tokenizer, config)


def _load_torch(folder: Path, name: str, precision: str | None, runtime: Runtime) -> LoadedModel:
    from guardrail.engines.torch import TorchEngine

    if runtime.threads is not None:
        raise ConfigurationError("torch's threads belong to the whole process", hint="call torch.set_num_threads")
    engine = TorchEngine.from_checkpoint(folder, name=name, precision=precision or "fp32", runtime=runtime)
    return _loaded(ScheduledEngine(engine, runtime), _tokenizer(folder, engine.config), engine.config)


def _loaded(engine: Engine, tokenizer: GuardTokenizer, config: GuardConfig) -> LoadedModel:
    if not config.is_generative:
        return LoadedModel(engine, tokenizer, TokenReader(tokenizer))
    return LoadedModel(engine, tokenizer, GenerativeReader(lambda tapes: LocalLine(tapes, tokenizer)))


def _tokenizer(folder: Path, config: GuardConfig) -> GuardTokenizer:
    tokenizer = GuardTokenizer.from_file(folder / TOKENIZER_FILE)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{TOKENIZER_FILE} has {tokenizer.vocab_size} tokens, the embedding {config.vocab_size} rows",
            hint="the two belong to different models",
        )
    return tokenizer


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return `cache_dir`, else $XDG_CACHE_HOME/guardrail, else ~/.cache/guardrail."""
    if cache_dir is not None:
        return Path(cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guardrail"


def _export_once(
    folder: Path, name: str, precision: str, cache: Path, kv_precision: KVPrecision = "fp32"
) -> tuple[Path, Manifest]:
    """Return the export of a checkpoint, made now unless the cache holds it whole; never by two processes at once."""
    from guardrail.onnx_export import GRAPH_VERSION, check_precision

    target = cache / f"{_key(folder)[:16]}-{check_precision(precision)}-v{GRAPH_VERSION}"
    with suppress(CheckpointError):  # not there, or damaged
        return target, _read_whole(target, kv_precision)  # before any lock: the cache may be read-only
    try:
        return target, _export_locked(folder, target, precision, name, kv_precision)
    except OSError as error:
        message = f"cannot write to the cache {cache}: {error.strerror}"
        raise ConfigurationError(message, hint="set XDG_CACHE_HOME or cache_dir") from error


def _read_whole(target: Path, kv_precision: KVPrecision) -> Manifest:
    """Return the manifest of an export that has what is asked for.

    Raises:
        CheckpointError: it is not there, damaged, or not calibrated for that KV cache.
    """
    manifest = read_manifest(target)
    if kv_precision == "int8" and manifest.kv_int8 is None:
        raise CheckpointError(f"{target} is not calibrated")
    return manifest


def _export_locked(folder: Path, target: Path, precision: str, name: str, kv_precision: KVPrecision) -> Manifest:
    """Export unless another process just did, and clear away what killed exports of this target left."""
    from guardrail.onnx_export import export_checkpoint, scratch_prefix
    from guardrail.onnx_export.calibrate import calibrate_kv

    try:
        from filelock import FileLock
    except ModuleNotFoundError as error:
        raise MissingExtra("filelock", "export") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        with suppress(CheckpointError):
            return _read_whole(target, kv_precision)
        try:
            read_manifest(target)
        except CheckpointError:
            for left in (target, *target.parent.glob(f"{scratch_prefix(target)}*")):
                rmtree(left, ignore_errors=True)
            with _progress(f"exporting {name} to {precision}, once") as tell:
                export_checkpoint(folder, target, precision=precision, name=name, progress=tell)
        if kv_precision == "int8":
            with _progress(f"calibrating the KV cache of {name}, once") as tell:
                calibrate_kv(target, progress=tell)
        return read_manifest(target)


def _key(folder: Path) -> str:
    """Return a hash of the checkpoint and its tokenizer, which a folder may hold in any pairing."""
    tokenizer = folder / TOKENIZER_FILE
    tokenizer_hash = hash_file(tokenizer) if tokenizer.is_file() else ""  # export_checkpoint says that it is missing
    return hashlib.sha256((Checkpoint.open(folder).sha256() + tokenizer_hash).encode()).hexdigest()


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr; yields a function that takes layers done and layers in all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _download(source: str, revision: str | None, token: str | None, *, offline: bool) -> Path:
    """Return the folder of a hub repository, downloaded unless it is cached."""
    if not _HUB_ID.fullmatch(source):
        meant = "Guard.default() loads the embedded model" if source == EMBEDDED else ""
        hint = "it is a file: give its folder" if os.path.isfile(source) else meant  # noqa: PTH113
        what = f"{source!r} is neither a folder nor a hub id such as Qwen/Qwen3Guard-Stream-0.6B"
        raise ConfigurationError(what, hint=hint)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        raise MissingExtra("huggingface-hub", "export") from error
    try:
        found = snapshot_download(
            source, revision=revision, token=token, allow_patterns=_HUB_FILES, local_files_only=offline
        )
    except HfHubHTTPError as error:
        raise ConfigurationError(
            f"{source} is no folder here, and the hub refused it: {type(error).__name__}",
            hint="check the id, the revision and the token",
        ) from error
    except Exception as error:  # the hub's edge: with the HTTP library its exceptions change from version to version
        raise ConfigurationError(
            f"{source} is no folder here, not in the hub's cache, and cannot be downloaded: {type(error).__name__}",
            hint="download it on a machine with internet access and pass the folder",
        ) from error
    return Path(found)
