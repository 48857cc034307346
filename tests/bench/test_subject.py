from pathlib import Path

import numpy as np
import onnx
import pytest

from guardrail.bench.chunks import measure_chunks
from guardrail.bench.shape_06b import random_checkpoint
from guardrail.bench.streams import measure_streams
from guardrail.bench.subject import Source, Subject, find_source, one_by_one_ms, opened
from guardrail.bench.timing import unwatched
from guardrail.checkpoint import Checkpoint
from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError
from guardrail.exported import read_manifest
from guardrail.onnx_export import export_checkpoint
from tests.bench.conftest import SMALL
from tests.tiny import tiny_config


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_bytes_of_a_token_are_those_of_the_weights(tiny_checkpoint: Path, tmp_path: Path, precision: str) -> None:
    """All large tensors of the graph but the embedding and the rotation's tables, and what is held."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", precision=precision)
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    weights = {
        tensor.name: int(entry.value)
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "length" and not tensor.name.startswith(("embedding", "cos_", "sin_"))
    }
    with opened(Source("tiny", folder, None), Runtime(threads=1)) as subject:
        held = 10 * subject.engine.info.kv_bytes_per_token
        found = subject.bytes_per_token(10) - held
    padding = 4096 * (len(weights) + 4)  # tensors begin at pages
    assert sum(weights.values()) <= found <= sum(weights.values()) + padding


def test_operations_are_two_for_each_weight_of_a_matrix(subject: Subject) -> None:
    """A multiplication and an addition; the embedding is looked up."""
    layer = 2 * 48 * 64 + 2 * 48 * 32 + 3 * 48 * 96
    heads = 2 * 48 * 24 + 24 * (3 + 8 + 3 + 9)
    assert subject.operations(3) == 3 * 2 * (2 * layer + heads)


def test_contexts_are_copies_of_one_that_was_read_once(subject: Subject) -> None:
    """Of any length, in any order; measuring at one leaves it as it was."""
    with subject.past.forked(40) as long, subject.past.forked(7) as short:
        assert (long.length, short.length) == (40, 7)
        assert len(one_by_one_ms(subject.engine, short, 100, 3)) == 3
        assert short.length == 7


def test_measuring_gives_every_session_back(subject: Subject) -> None:
    """Of eight slots, all but that of the contexts are free again."""
    measure_streams(subject, SMALL, unwatched)
    measure_chunks(subject, SMALL, unwatched)
    sessions = [subject.engine.open() for _ in range(7)]
    for session in sessions:
        session.close()


def test_random_weights_are_a_checkpoint_and_written_once(tmp_path: Path) -> None:
    """In the published format, with a tokenizer; a second call leaves them."""
    config = tiny_config()
    folder = random_checkpoint(tmp_path / "bench" / "tiny", config, unwatched)
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.config == config
    assert np.abs(checkpoint.tensor("model.layers.0.mlp.up_proj.weight")).mean() == pytest.approx(0.016, rel=0.05)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert random_checkpoint(folder, config, unwatched) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_checkpoint_is_exported_and_calibrated_once(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the cache, where the next call finds both."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = find_source(str(tiny_checkpoint), unwatched)
    assert read_manifest(plain.folder).kv_int8 is None
    calibrated = find_source(str(tiny_checkpoint), unwatched, kv_precision="int8")
    assert calibrated == plain
    assert read_manifest(plain.folder).kv_int8
    assert plain.checkpoint == tiny_checkpoint
    assert find_source(str(plain.folder), unwatched).checkpoint is None


def test_a_model_that_is_nowhere_is_refused() -> None:
    """As everywhere else."""
    with pytest.raises(ConfigurationError, match="neither a folder nor a hub id"):
        find_source("no such folder", unwatched)
