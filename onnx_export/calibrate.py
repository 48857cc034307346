"""Finds the scales of an int8 KV cache: reads texts with the float32 cache and looks at what it then holds.

The scale of a value's channel follows the largest that was met there. A key's channel is turned into its partner and
back as positions go on, so both follow the longest pair that was met: texts of any length then say what far positions
will hold. (Embedded model, fp32 weights, texts that were not calibrated on, no headroom: mean logit difference 0.0047,
against 0.0084 with each key's channel by itself.)
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Feed
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.exported import KV_FILES, KVCalibration, Manifest, is_export, read_manifest, write_manifest
from guardrail.file_hash import hash_file
from guardrail.onnx_export.calibration_texts import default_rows, file_rows
from guardrail.onnx_export.export import scratch_prefix
from guardrail.onnx_export.graph import Progress
from guardrail.onnx_export.kv import write_int8_kv

HEADROOM = 1.25
"""Largest value that a scale leaves room for, in units of the largest that was met. Other texts reach 1.6 in single
channels and 1.03 on average (embedded model); 1.0 to 1.25 agree alike, 2.0 loses a third of the precision."""

LEAST_TOKENS = 1000
"""Fewest tokens to calibrate on. Our choice."""

_LARGEST = 127

FloatArray = NDArray[np.float32]


def calibrate_kv(
    folder: str | Path, *, texts: str | Path | None = None, progress: Progress | None = None
) -> KVCalibration:
    """Calibrate an exported folder: afterwards it also runs with an int8 KV cache.

    Args:
        folder: exported folder; an older calibration is replaced.
        texts: file of texts like those that the guard will read; None takes fixed ones.
        progress: called with texts read and texts in all.

    Raises:
        CheckpointError: the folder is no export, or is damaged.
        ConfigurationError: the texts are of another kind, or too few.
        OSError: the texts cannot be read, or the folder not written.
    """
    folder = Path(folder)
    if not is_export(folder):
        raise CheckpointError(f"{folder} is no exported folder", hint="make one with guardrail export")
    manifest = read_manifest(folder)
    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    tokenizer = GuardTokenizer.from_file(folder / TOKENIZER_FILE)
    limit = config.max_context
    if texts is None:
        rows = default_rows(tokenizer, limit, is_generative=config.is_generative)
    else:
        rows = file_rows(Path(texts), tokenizer, limit)
    n_tokens = sum(map(len, rows))
    if n_tokens < LEAST_TOKENS:
        raise ConfigurationError(f"{n_tokens} tokens are too few to calibrate on", hint=f"give {LEAST_TOKENS} or more")
    scales = _scales(OnnxEngine(folder, manifest, config, runtime=Runtime(max_sessions=1)), rows, progress)
    return _store(folder, manifest, scales, rows)


def _scales(engine: OnnxEngine, rows: Sequence[Sequence[int]], progress: Progress | None) -> dict[str, FloatArray]:
    """Return the scales of every layer's cache, float32 [kv heads, size]; 1 where nothing is ever held."""
    largest: dict[str, FloatArray] = {}
    for i, ids in enumerate(rows):
        session = engine.open()
        engine.step([Feed(session, ids)])
        for name, cached in session.cached().items():
            found = _sizes(cached, is_key=name.startswith("key"))
            largest[name] = np.maximum(largest.get(name, found), found)
        session.close()
        if progress:
            progress(i + 1, len(rows))
    engine.close()
    step = np.float32(HEADROOM / _LARGEST)
    return {name: np.where(most > 0, most * step, np.float32(1)) for name, most in largest.items()}


def _sizes(cached: FloatArray, *, is_key: bool) -> FloatArray:
    """Return the largest absolute value over the positions of [kv heads, position, size]; of keys, the largest length
    of a channel and its partner, which is half a head away.
    """
    if is_key:
        first, second = np.split(cached, 2, axis=-1)
        lengths = np.hypot(first, second)
        cached = np.concatenate([lengths, lengths], axis=-1)
    most: FloatArray = np.abs(cached).max(axis=1)
    return most


def _store(
    folder: Path, manifest: Manifest, scales: dict[str, FloatArray], rows: Sequence[Sequence[int]]
) -> KVCalibration:
    """Put graph and scales into the folder; killed at any point, it is still a whole export."""
    with TemporaryDirectory(dir=folder.parent, prefix=scratch_prefix(folder)) as made:
        scratch = Path(made)
        write_int8_kv(folder, scales, scratch)
        files = {name: hash_file(scratch / name) for name in KV_FILES}
        write_manifest(folder, manifest.model_copy(update={"kv_int8": None}))  # an older calibration ends here
        for name in KV_FILES:
            (scratch / name).replace(folder / name)
    calibration = KVCalibration(
        texts_sha256=_hash(rows), n_texts=len(rows), n_tokens=sum(map(len, rows)), headroom=HEADROOM, files=files
    )
    write_manifest(folder, manifest.model_copy(update={"kv_int8": calibration}))
    return calibration


def _hash(rows: Sequence[Sequence[int]]) -> str:
    """Return a hash over token ids."""
    digest = hashlib.sha256()
    for ids in rows:
        digest.update(np.asarray([len(ids), *ids], "<i8").tobytes())
    return digest.hexdigest()
