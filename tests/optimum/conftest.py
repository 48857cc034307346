"""Exports through Optimum. Without it, as in the other tests' environment, everything here is skipped."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def export() -> Callable[..., Path]:
    """`export_with_optimum`."""
    pytest.importorskip("optimum.onnxruntime", reason="Optimum has an environment of its own: make optimum-test")
    from guardrail.onnx_export.optimum import export_with_optimum

    return export_with_optimum


@pytest.fixture(scope="session")
def fp32(export: Callable[..., Path], tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, exported."""
    return export(tiny_checkpoint, tmp_path_factory.mktemp("optimum") / "fp32", precision="fp32", name="tiny")


@pytest.fixture(scope="session")
def int8(export: Callable[..., Path], tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, exported and quantised."""
    return export(tiny_checkpoint, tmp_path_factory.mktemp("optimum") / "int8", precision="int8", name="tiny")
