"""Exports equal the torch network, over shapes, lengths, stored types and ragged batches."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from guardrail.checkpoint import Checkpoint, write_checkpoint
from guardrail.checkpoint_config import tensor_shapes
from guardrail.engines.base import HEADS, Engine, Feed, FloatArray
from guardrail.engines.torch import TorchEngine
from guardrail.exported import read_manifest
from guardrail.onnx_export import export_checkpoint
from tests.conftest import open_onnx
from tests.tiny import VOCABULARY, copy_tokenizer, tiny_config, write_tiny

SHAPES: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one key head": {"n_kv_heads": 1},
    "all heads": {"n_kv_heads": 4},
    "untied": {"tie_word_embeddings": False},
    "wide heads": {"head_dim": 32, "n_layers": 1},
    "odd head size": {"head_dim": 10},
    "plain heads": {"hidden_size": 64, "head_dim": 16},
    "other angles": {"rope_theta": 10_000.0, "rms_norm_eps": 1e-5},
}


@pytest.fixture(scope="module")
def long_engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Engine]:
    """ONNX and torch over one checkpoint with room for 1024 positions."""
    folder = write_tiny(tmp_path_factory.mktemp("long") / "checkpoint", max_context=1024)
    exported = export_checkpoint(folder, folder.parent / "export", precision="fp32")
    return open_onnx(exported), TorchEngine.from_checkpoint(folder)


def logits(engine: Engine, ids: list[int]) -> dict[str, FloatArray]:
    session = engine.open()
    found = engine.step([Feed(session, ids)])[0]
    session.close()
    return {name: getattr(found, name) for name in HEADS}


def run_graph(
    session: onnxruntime.InferenceSession, rows: list[list[int]], held: list[int], past: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """Run rows of new tokens behind what each holds, in buffers of 16 positions; return every output by name."""
    lengths, n_most = np.array([len(row) for row in rows], np.int32), max(map(len, rows))
    places = np.arange(len(rows) * n_most).reshape(len(rows), n_most)
    new = np.arange(n_most) < lengths[:, None]
    totals = np.array(held, np.int32) + lengths
    inputs = {
        "input_ids": np.concatenate([np.array(row, np.int64) for row in rows]),
        "spread": np.where(new, np.cumsum(new).reshape(new.shape) - 1, 0), "packed": places[new],
        "query_seqlens": lengths, "seqlens_k": np.maximum(totals - 1, 0),
        "total_sequence_length": np.array(totals.max(), np.int32), **past,
    }  # fmt: skip
    for value in session.get_inputs():
        if value.name.startswith("past_") and not past:
            inputs[value.name] = np.zeros((len(rows), value.shape[1], 16, value.shape[3]), np.float32)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs), strict=True))


def assert_rows_equal(
    found: dict[str, FloatArray], rows: list[list[int]], held: list[list[int]], torch: Engine
) -> None:
    """Each row's logits are those of the torch network that reads what the row held and its new tokens."""
    start = 0
    for before, row in zip(held, rows, strict=True):
        expected = logits(torch, before + row) if before + row else {}
        for name, array in expected.items():
            assert np.abs(found[name][start : start + len(row)] - array[len(before) :]).max(initial=0) < 1e-4
        start += len(row)


@pytest.mark.parametrize("shape", SHAPES)
def test_fp32_equals_the_torch_network(shape: str, tmp_path: Path) -> None:
    """Every position of every head, within 1e-4 (decisions.md 2)."""
    folder = write_tiny(tmp_path / "checkpoint", seed=3, **SHAPES[shape])
    onnx = open_onnx(export_checkpoint(folder, tmp_path / "export", precision="fp32"))
    torch = TorchEngine.from_checkpoint(folder)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 131).tolist()
    expected = logits(torch, ids)
    for name, found in logits(onnx, ids).items():
        assert np.abs(found - expected[name]).max() < 1e-4, name


@pytest.mark.parametrize("length", [1, 2, 255, 257, 512, 513, 1023])
def test_any_length_equals_the_torch_network(length: int, long_engines: tuple[Engine, Engine]) -> None:
    """Around the sizes at which buffers double and feeds are cut into runs."""
    onnx, torch = long_engines
    ids = np.random.default_rng(length).integers(0, VOCABULARY, length).tolist()
    expected = logits(torch, ids)
    for name, found in logits(onnx, ids).items():
        assert np.abs(found - expected[name]).max() < 1e-4, name


def test_far_positions_do_not_drift(tmp_path: Path) -> None:
    """Rotary angles are float32 on both sides: at position 3000 the two still agree."""
    folder = write_tiny(tmp_path / "checkpoint", n_layers=1, max_context=4096)
    onnx = open_onnx(export_checkpoint(folder, tmp_path / "export", precision="fp32"))
    ids = np.random.default_rng(1).integers(0, VOCABULARY, 3000).tolist()
    expected = logits(TorchEngine.from_checkpoint(folder), ids)
    for name, found in logits(onnx, ids).items():
        assert np.abs(found - expected[name]).max() < 1e-4, name


@pytest.mark.parametrize("block_size", [32, 64, 128, 256])
def test_every_block_size_is_stored_and_mostly_agrees(
    block_size: int, tiny_checkpoint: Path, engines: dict[str, Engine], tmp_path: Path
) -> None:
    """In int8, also where every matrix is smaller than a block; the manifest says which it is."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", block_size=block_size)
    assert read_manifest(folder).block_size == block_size
    ids = np.random.default_rng(2).integers(0, VOCABULARY, 400).tolist()
    exact, rough = logits(engines["onnx-fp32"], ids), logits(open_onnx(folder), ids)
    for name in HEADS:
        assert (exact[name].argmax(-1) == rough[name].argmax(-1)).mean() > 0.9


def test_int8_mostly_agrees_with_fp32(engines: dict[str, Engine]) -> None:
    """Random weights have nearly tied labels: at least 90 % of positions agree, each head (stated in verify.py)."""
    ids = np.random.default_rng(2).integers(0, VOCABULARY, 400).tolist()
    exact, rough = logits(engines["onnx-fp32"], ids), logits(engines["onnx-int8"], ids)
    for name in HEADS:
        assert (exact[name].argmax(-1) == rough[name].argmax(-1)).mean() > 0.9


def test_a_ragged_batch_of_the_graph_gives_each_row_its_own_result(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Rows of 9, 4, no and 1 new tokens in one run, packed, as continuous batching feeds them."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="fp32")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(3).integers(0, VOCABULARY, 14).tolist()
    rows = [ids[:9], ids[9:13], [], ids[13:]]
    found = run_graph(session, rows, [0] * 4, {})
    assert len(found["query_risk"]) == 14
    assert_rows_equal(found, rows, [[]] * 4, TorchEngine.from_checkpoint(tiny_checkpoint))


def test_a_ragged_batch_goes_on_from_each_rows_own_past(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Rows that hold 11, 3, 5 and 7 tokens take 2, 5, no and 1 more: each turns and attends at its own positions."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="fp32")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(4).integers(0, VOCABULARY, (4, 16)).tolist()
    held = [row[:n] for row, n in zip(ids, (11, 3, 5, 7), strict=True)]
    rows = [row[len(before) :][:n] for row, before, n in zip(ids, held, (2, 5, 0, 1), strict=True)]
    found = run_graph(session, held, [0] * 4, {})
    past = {name.replace("present", "past"): array for name, array in found.items() if name.startswith("present")}
    found = run_graph(session, rows, [len(before) for before in held], past)
    assert_rows_equal(found, rows, held, TorchEngine.from_checkpoint(tiny_checkpoint))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_an_export_is_the_same_each_time(precision: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Byte for byte: hashes in records can be made again."""
    made = [export_checkpoint(tiny_checkpoint, tmp_path / str(i), precision=precision, name="n") for i in range(2)]
    assert read_manifest(made[0]) == read_manifest(made[1])


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_every_stored_type_exports(dtype: str, tmp_path: Path) -> None:
    """The export reads what the checkpoint holds: equal to the torch network over the same file."""
    folder = write_tiny(tmp_path / "checkpoint", dtype=dtype, n_layers=1)
    onnx = open_onnx(export_checkpoint(folder, tmp_path / "export", precision="fp32"))
    ids = list(range(20))
    expected = logits(TorchEngine.from_checkpoint(folder), ids)
    for name, found in logits(onnx, ids).items():
        assert np.abs(found - expected[name]).max() < 1e-4


def test_shards_export_as_one_file_does(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Two shards with an index give the same graph."""
    checkpoint = Checkpoint.open(tiny_checkpoint)
    tensors = {name: checkpoint.tensor(name) for name in tensor_shapes(checkpoint.config)}
    write_checkpoint(tmp_path / "shards", checkpoint.config, tensors, dtype="f32", max_shard_bytes=2_000_000)
    copy_tokenizer(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    both = [
        export_checkpoint(f, tmp_path / f"e{i}", name="n") for i, f in enumerate((tiny_checkpoint, tmp_path / "shards"))
    ]
    assert len({read_manifest(folder).files["model.onnx.data"] for folder in both}) == 1


def test_tiny_config_is_what_the_names_say() -> None:
    """The shapes above cover grouped queries and a head size that is not hidden / heads."""
    config = tiny_config()
    assert config.n_kv_heads < config.n_heads
    assert config.head_dim != config.hidden_size // config.n_heads
