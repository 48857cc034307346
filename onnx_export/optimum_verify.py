"""Compares what Optimum exported with the torch network, as `verify.py` does with our own exports."""

from pathlib import Path

from guardrail.checkpoint import TOKENIZER_FILE, Checkpoint
from guardrail.encoding import GuardTokenizer
from guardrail.engines.torch import TorchEngine
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.onnx_export.optimum_engine import OptimumEngine
from guardrail.onnx_export.optimum_folder import read_optimum
from guardrail.onnx_export.verify import Report, compare
from guardrail.onnx_export.verify_rows import fixed_rows


def verify_optimum(checkpoint: str | Path, exported: str | Path, *, precision: str | None = None) -> Report:
    """Compare an export that Optimum made with the torch network on the fixed texts.

    Args:
        checkpoint: checkpoint folder in the published format.
        exported: what Optimum made of it.
        precision: that the export must have; None takes any.

    Raises:
        CheckpointError: a folder is damaged, the export was made from another checkpoint, or the context is too short.
        ConfigurationError: the export has another precision.
    """
    folder = Path(exported)
    manifest = read_optimum(folder)
    if precision not in (None, manifest.precision):
        raise ConfigurationError(f"{folder} is exported as {manifest.precision}, not {precision}")
    if manifest.source_sha256 != Checkpoint.open(checkpoint).sha256():
        raise CheckpointError(f"{folder} was exported from another checkpoint")
    engine = OptimumEngine(folder)
    rows = fixed_rows(GuardTokenizer.from_file(folder / TOKENIZER_FILE), engine.info.max_context)
    if not rows:
        raise CheckpointError(f"a context of {engine.info.max_context} tokens holds none of the fixed texts")
    return compare(TorchEngine.from_checkpoint(checkpoint), engine, rows)
