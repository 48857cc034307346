"""`guardrail export --via optimum`, and `guardrail verify` of what it made."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.cli.exits import Exit
from guardrail.cli.main import run
from guardrail.onnx_export.optimum_folder import read_optimum


def test_one_command_exports(
    export: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is described, and what is int8 in it is said."""
    target = tmp_path / "made"
    assert run(["export", str(tiny_checkpoint), str(target), "--via", "optimum", "--name", "tiny"]) == Exit.OK
    assert "20 products with weights" in capsys.readouterr().err
    assert read_optimum(target).name == "tiny"


def test_one_command_compares(fp32: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` knows the folder by its own, passes it, and refuses it under another precision."""
    command = ["verify", str(tiny_checkpoint), "--exported", str(fp32)]
    assert run([*command, "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["precision"] == "fp32"
    assert run([*command, "--precision", "int8"]) == Exit.USAGE


@pytest.mark.parametrize("option", [("--kv", "int8"), ("--block-size", "64")])
def test_settings_of_our_graph_are_refused(
    option: tuple[str, str], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optimum has neither, and nothing that was asked for is left out in silence."""
    assert run(["export", str(tiny_checkpoint), str(tmp_path / "made"), "--via", "optimum", *option]) == Exit.USAGE
    assert "settings of our own graph" in capsys.readouterr().err


@pytest.mark.skipif(bool(importlib.util.find_spec("optimum")), reason="Optimum is installed here")
def test_without_optimum_the_extra_is_named(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what to install, and nothing is written."""
    assert run(["export", str(tiny_checkpoint), str(tmp_path / "made"), "--via", "optimum"]) == Exit.USAGE
    assert "guardrail-stream[optimum]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
