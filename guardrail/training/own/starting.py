"""The checkpoint that a run starts from: another one's weights, and category heads that have rows for the new names."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from guardrail.checkpoint import CONFIG_FILE, TOKENIZER_FILE, Checkpoint, read_json, write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.exported import is_export
from guardrail.loader import EMBEDDED, embedded_folder, find_checkpoint
from guardrail.onnx_export.parts import Matrix
from guardrail.onnx_export.reading import read_tensors
from guardrail.taxonomy import LabelSet
from guardrail.whole_files import write_whole

_HEADS = {Direction.PROMPT: "query_category_head.weight", Direction.RESPONSE: "category_head.weight"}
_DTYPES = {"bfloat16": "bf16", "float16": "f16"}


def write_start(source: str, target: Path, names: Mapping[Direction, tuple[str, ...]], *, only_own: bool) -> None:
    """Write the start of a run, with its tokenizer.

    A category that the source has keeps its row of the head; a new one begins with zeros, which changes nothing about
    the others. A direction without new names keeps its labels. The risk heads stay as they are.

    Args:
        source: "default", a checkpoint folder, an exported folder or a hub id.
        target: folder to write.
        names: categories of the rows, by direction.
        only_own: whether the source's other categories are given up.

    Raises:
        CheckpointError: the source is no such model, or is damaged.
        ConfigurationError: it cannot be found, or is a generative model.
    """
    folder = embedded_folder() if source == EMBEDDED else find_checkpoint(source)
    config, tensors, dtype = _read(folder)
    labels = {Direction.PROMPT: config.prompt_labels, Direction.RESPONSE: config.response_labels}
    made = {side: widened(labels[side], names.get(side, ()), only_own=only_own) for side in labels}
    for side, tensor in _HEADS.items():
        tensors[tensor] = _rows(tensors[tensor], labels[side], made[side])
    changed = replace(config, prompt_labels=made[Direction.PROMPT], response_labels=made[Direction.RESPONSE])
    write_checkpoint(target, changed, tensors, dtype=dtype)
    write_whole(target / TOKENIZER_FILE, (folder / TOKENIZER_FILE).read_bytes())  # whole, for it says that all is there


def widened(labels: LabelSet, names: tuple[str, ...], *, only_own: bool) -> LabelSet:
    """Return labels with these categories besides their own, or instead of them."""
    if not names:
        return labels
    kept = () if only_own else labels.categories
    return LabelSet(labels.risks, tuple(dict.fromkeys((*kept, *names))))


def _read(folder: Path) -> tuple[GuardConfig, dict[str, Matrix], str]:
    """Return config, tensors and the dtype that they are written in again."""
    if is_export(folder):
        return *read_tensors(folder), "f32"
    checkpoint = Checkpoint.open(folder)
    if checkpoint.config.is_generative:
        raise ConfigurationError(
            "a generative model has no heads to train",
            hint="start from a Qwen3Guard-Stream one, or see docs/sft_gen.md",
        )
    if not (folder / TOKENIZER_FILE).is_file():
        raise ConfigurationError(f"no {TOKENIZER_FILE} beside the checkpoint {folder.name}")
    tensors = {name: checkpoint.tensor(name) for name in tensor_shapes(checkpoint.config)}
    return checkpoint.config, tensors, _DTYPES.get(str(read_json(folder / CONFIG_FILE).get("torch_dtype")), "f32")


def _rows(matrix: Matrix, old: LabelSet, new: LabelSet) -> Matrix:
    rows = np.zeros((len(new.categories), matrix.shape[1]), np.float32)
    for number, name in enumerate(new.categories):
        if name in old.categories:
            rows[number] = matrix[old.categories.index(name)]
    return rows
