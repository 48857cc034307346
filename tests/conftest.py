"""Fixtures and profiles for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.engines import onnx
from guardrail.engines.base import Engine
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.engines.torch import TorchEngine
from guardrail.exported import read_manifest
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.calibrate import calibrate_kv
from guardrail.testing import HashEngine, default_tokenizer
from tests.tiny import VOCABULARY, write_tiny, write_tiny_gen

onnx.DEFAULT_THREADS = 1  # workers of the test run share the cores, and threads that spin would fight for them

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # litellm asks the network for prices when it is imported

settings.register_profile(
    "fixed", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fixed")

BARE_ENGINES = ("fake", "torch", "onnx-fp32", "onnx-int8", "onnx-int8-kv", "onnx-gen")
ENGINES = (*BARE_ENGINES, *(f"scheduled-{name}" for name in BARE_ENGINES))


@pytest.fixture(scope="session")
def tokenizer() -> GuardTokenizer:
    """The embedded model's tokenizer."""
    return default_tokenizer()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint folder with tokenizer."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint")


def open_onnx(folder: Path, *, threads: int = 1, **settings: Any) -> OnnxEngine:
    """Load an exported folder with settings of `Runtime`."""
    config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
    return OnnxEngine(folder, read_manifest(folder), config, runtime=Runtime(threads=threads, **settings))


@pytest.fixture(scope="session")
def engines(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """Every engine, over the same tiny checkpoint where it has one."""
    made: dict[str, Engine] = {
        "fake": HashEngine(vocab_size=VOCABULARY, max_context=512),
        "torch": TorchEngine.from_checkpoint(tiny_checkpoint),
    }
    for precision in ("fp32", "int8"):
        folder = tmp_path_factory.mktemp(precision) / "export"
        made[f"onnx-{precision}"] = open_onnx(export_checkpoint(tiny_checkpoint, folder, precision=precision))
        if precision == "int8":
            calibrate_kv(folder)
            made["onnx-int8-kv"] = open_onnx(folder, kv_precision="int8")
    gen = write_tiny_gen(tmp_path_factory.mktemp("gen") / "checkpoint")
    made["onnx-gen"] = open_onnx(export_checkpoint(gen, gen.parent / "export", precision="fp32"))
    settings = Runtime(step_tokens=24)  # so that most feeds of the tests are cut
    made |= {f"scheduled-{name}": ScheduledEngine(engine, settings) for name, engine in made.items()}
    yield made
    for engine in made.values():
        engine.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Engine:
    """One engine after the other."""
    return engines[request.param]
