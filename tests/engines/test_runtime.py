"""Settings of engines: what cannot be had is an error that says so, never a silent something else."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from guardrail import Guard
from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Feed
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.engines.torch import TorchEngine
from guardrail.errors import CheckpointError, ConfigurationError, ContextOverflow, EngineOverloaded
from guardrail.exported import read_manifest
from guardrail.onnx_export import export_checkpoint
from tests.conftest import open_onnx
from tests.engines.test_contract import IDS, read


@pytest.fixture(scope="module")
def exported(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    return export_checkpoint(tiny_checkpoint, tmp_path_factory.mktemp("runtime") / "export", precision="fp32")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("threads", 0),
        ("max_context", 0),
        ("max_sessions", -1),
        ("max_waiting", 0),
        ("step_tokens", 0),
        ("timeout_s", 0.0),
        ("timeout_s", float("nan")),
        ("kv_precision", "int4"),
    ],
)
def test_an_impossible_value_is_refused_by_name(setting: str, value: object) -> None:
    """Before anything is loaded."""
    with pytest.raises(ConfigurationError, match=setting):
        Runtime(**{setting: value})  # type: ignore[arg-type]  # that is the point


def test_a_context_can_be_shortened_but_not_lengthened(exported: Path) -> None:
    """A shorter one overflows earlier."""
    engine = open_onnx(exported, max_context=100)
    assert engine.info.max_context == 100
    with pytest.raises(ContextOverflow, match="context of 100"):
        engine.step([Feed(engine.open(), IDS[:101])])
    with pytest.raises(ConfigurationError, match="more than the model's 512"):
        open_onnx(exported, max_context=513)


def test_no_more_sessions_are_opened_than_allowed(exported: Path) -> None:
    """The next one is refused until one is closed, or forgotten."""
    engine = open_onnx(exported, max_sessions=2)
    sessions = [engine.open(), engine.open()]
    with pytest.raises(EngineOverloaded, match="slot"):
        engine.open()
    sessions[0].close()
    sessions[0] = engine.open()
    del sessions[0]
    engine.open()


def test_more_address_space_than_there_is_is_an_error_not_a_crash(exported: Path) -> None:
    """No machine has room for a billion sessions, not even on paper."""
    with pytest.raises(ConfigurationError, match="lower max_sessions"):
        open_onnx(exported, max_sessions=10**12)


def test_memory_is_taken_as_it_is_written_and_comes_back(exported: Path) -> None:
    """Thousands of slots take nothing; a closed session's memory is empty again when its slot is used anew."""
    engine = open_onnx(exported, max_sessions=5000)
    session = engine.open()
    engine.step([Feed(session, IDS[:200])])
    assert any(held.any() for held in session.cached().values())
    session.close()
    again = engine.open()
    assert again.slot == session.slot
    again.length = 200
    assert not any(held.any() for held in again.cached().values())


def test_a_row_at_the_end_of_its_context_may_stand_beside_a_long_chunk(exported: Path) -> None:
    """The kernel wants room for the longest chunk in every row; there is some."""
    engine = open_onnx(exported)
    full, fresh = engine.open(), engine.open()
    engine.step([Feed(full, IDS[:300] + IDS[:211])])
    last, first = engine.step([Feed(full, IDS[:1]), Feed(fresh, IDS[:400])])
    expected = read(engine, IDS[:300] + IDS[:211] + IDS[:1], [511, 1])
    np.testing.assert_allclose(last.response_risk[0], expected.response_risk[-1], atol=1e-4)
    np.testing.assert_allclose(first.response_risk, read(engine, IDS[:400], [400]).response_risk, atol=1e-4)


@pytest.mark.parametrize("device", ["cuda", "mps", "quantum"])
def test_a_device_that_is_not_here_is_an_error(device: str, exported: Path, tiny_checkpoint: Path) -> None:
    """Nothing falls back to the CPU without a word."""
    with pytest.raises(ConfigurationError, match="CPU"):
        open_onnx(exported, device=device)
    with pytest.raises(ConfigurationError, match=device):
        Guard.load(tiny_checkpoint, engine="torch", runtime=Runtime(device=device))


def test_torch_in_bf16_agrees_with_fp32(tiny_checkpoint: Path) -> None:
    """Heads stay fp32: at 300 positions of a random model at least nine in ten verdicts of every head are the same."""
    exact = TorchEngine.from_checkpoint(tiny_checkpoint)
    rounded = TorchEngine.from_checkpoint(tiny_checkpoint, precision="bf16")
    assert (rounded.info.precision, rounded.info.kv_precision) == ("bf16", "bf16")
    assert rounded.info.kv_bytes_per_token * 2 == exact.info.kv_bytes_per_token
    left, right = read(exact, IDS[:300], [300]), read(rounded, IDS[:300], [17])
    for name in ("query_risk", "query_category", "response_risk", "response_category"):
        assert np.mean(getattr(left, name).argmax(-1) == getattr(right, name).argmax(-1)) >= 0.9


def test_a_graph_of_an_older_version_is_refused(exported: Path, tmp_path: Path) -> None:
    """It has no packed tokens: the error says to export again, before anything is read."""
    folder = tmp_path / "old"
    shutil.copytree(exported, folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for value in model.graph.input:
        value.name = value.name.replace("packed", "positions")
    for node in model.graph.node:
        node.input[:] = [name.replace("packed", "positions") for name in node.input]
        node.output[:] = [name.replace("packed", "positions") for name in node.output]
    onnx.save(model, folder / "model.onnx")
    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    with pytest.raises(CheckpointError, match="export the checkpoint again"):
        OnnxEngine(folder, read_manifest(exported), config)
