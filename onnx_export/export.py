"""Checkpoint folder in, exported folder out, in one move."""

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, Checkpoint
from guardrail.errors import CheckpointError
from guardrail.exported import FILES, KV_FILES, MANIFEST_FILE, Manifest, is_export, write_manifest
from guardrail.file_hash import hash_file
from guardrail.onnx_export.graph import GRAPH_VERSION, Progress, write_graph
from guardrail.onnx_export.precision import WeightFormat, choose_format


def export_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    precision: str = "int8",
    block_size: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Export a checkpoint; an exported folder that is already there is replaced, once the new one is complete.

    Args:
        source: checkpoint folder in the published format, with tokenizer.json.
        target: folder to make.
        precision: "int8", "fp32" or "int4".
        block_size: weights that share one scale; None chooses one for the model's sizes.
        name: of the model in records; None takes the source folder's.
        progress: told of each layer.

    Returns:
        The target.

    Raises:
        CheckpointError: the source is no such checkpoint, or `target` holds something else.
        ConfigurationError: unknown precision or block size.
    """
    source, target = Path(source), Path(target)
    checkpoint = Checkpoint.open(source)
    weights = choose_format(checkpoint.config, precision, block_size)
    if not (source / TOKENIZER_FILE).is_file():
        raise CheckpointError(f"no {TOKENIZER_FILE} beside the checkpoint", hint="copy it from the model's repository")
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=scratch_prefix(target)) as scratch:
        made, replaced = Path(scratch) / "made", Path(scratch) / "replaced"
        made.mkdir()
        _fill(made, checkpoint, weights, name or source.resolve().name, progress)
        if target.exists():
            target.rename(replaced)  # removed with the scratch folder
        made.rename(target)
    return target


def scratch_prefix(target: Path) -> str:
    """Return how the names of the hidden folders begin in which a target is made; one killed leaves its folder."""
    return f".export-{target.name}-"


def _fill(
    folder: Path, checkpoint: Checkpoint, weights: WeightFormat, name: str, progress: Progress | None = None
) -> None:
    write_graph(checkpoint.config, checkpoint.tensor, folder, weights, progress)
    for file in (CONFIG_FILE, TOKENIZER_FILE):
        shutil.copyfile(checkpoint.folder / file, folder / file)
    manifest = Manifest(
        graph_version=GRAPH_VERSION,
        name=name,
        precision=weights.precision,
        block_size=weights.block_size,
        source_sha256=checkpoint.sha256(),
        files={file: hash_file(folder / file) for file in FILES},
        versions={package: version(package) for package in ("guardrail-stream", "onnx", "numpy")},
    )
    write_manifest(folder, manifest)


def _check_target(target: Path) -> None:
    """Refuse to replace anything but an export or an empty folder: what is replaced is deleted."""
    if not target.exists():
        return
    hint = "give a new or an exported folder"
    if not target.is_dir():
        raise CheckpointError(f"{target} is something else than a folder", hint=hint)
    names = sorted(path.name for path in target.iterdir())
    foreign = [name for name in names if name not in (*FILES, *KV_FILES, MANIFEST_FILE)]
    if foreign or (names and not is_export(target)):
        raise CheckpointError(f"{target} holds something else: {(foreign or names)[0]}", hint=hint)
