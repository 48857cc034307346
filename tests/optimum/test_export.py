"""What Optimum makes of a checkpoint gives the verdicts of our graph, and lands as a whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.encoding import GuardTokenizer
from guardrail.engines.torch import TorchEngine
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.optimum_engine import OptimumEngine
from guardrail.onnx_export.optimum_folder import OPTIMUM_FILE, Quantised, read_optimum
from guardrail.onnx_export.optimum_verify import verify_optimum
from guardrail.onnx_export.verify import AGREEMENT, FP32_TOLERANCE, compare
from guardrail.onnx_export.verify_rows import fixed_rows
from tests.conftest import open_onnx
from tests.tiny import write_tiny


def test_fp32_agrees_with_torch_in_every_verdict(fp32: Path, tiny_checkpoint: Path) -> None:
    """Logits within 1e-4, and chunks, batches and rolled back sessions as a fresh one."""
    report = verify_optimum(tiny_checkpoint, fp32)
    assert report.passed, report


def test_int8_keeps_nearly_every_verdict(int8: Path, tiny_checkpoint: Path) -> None:
    """Agreement keeps the limit of our own int8 export. Chunks are not asked for: ORTQuantizer gives the activations of
    a call one scale, so that a token's logits depend on what is fed with it.
    """
    report = verify_optimum(tiny_checkpoint, int8)
    print([f"{head.head}: {head.agreement:.2%} of {head.n_positions}" for head in report.heads])
    assert min(head.agreement for head in report.heads) >= AGREEMENT["int8"]


def test_both_ways_of_exporting_give_one_model(fp32: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Optimum's fp32 graph and ours, both run by onnxruntime: same verdicts, logits within 1e-4."""
    ours = open_onnx(export_checkpoint(tiny_checkpoint, tmp_path / "ours", precision="fp32"))
    rows = fixed_rows(GuardTokenizer.from_file(fp32 / "tokenizer.json"), ours.info.max_context)
    heads = compare(ours, OptimumEngine(fp32), rows).heads
    assert max(head.max_difference for head in heads) <= FP32_TOLERANCE
    assert [head.agreement for head in heads] == [1.0] * 4


def test_int8_ways_are_compared_on_the_same_rows(int8: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Our int8 export strays no further from torch than ORTQuantizer's does, on average over the heads."""
    ours = open_onnx(export_checkpoint(tiny_checkpoint, tmp_path / "ours", precision="int8"))
    rows = fixed_rows(GuardTokenizer.from_file(int8 / "tokenizer.json"), ours.info.max_context)
    torch = TorchEngine.from_checkpoint(tiny_checkpoint)
    strayed = [sum(h.mean_difference for h in compare(torch, e, rows).heads) for e in (ours, OptimumEngine(int8))]
    print(f"mean difference, ours and ORTQuantizer's: {strayed}")
    assert strayed[0] <= strayed[1]


def test_it_is_said_what_is_quantised(fp32: Path, int8: Path) -> None:
    """By default the weights, seven matrices a layer and six of the heads, and the embedding; attention stays float."""
    assert read_optimum(int8).quantised == Quantised(weight_matmuls=20, embeddings=1, float_matmuls=5)
    assert read_optimum(fp32).quantised == Quantised(float_matmuls=25)


def test_the_ready_configuration_quantises_attention_too(
    export: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """`with_activations` leaves no float product: attention's two a layer and the rotary angles are int8 as well."""
    folder = export(tiny_checkpoint, tmp_path / "all", precision="int8", with_activations=True)
    assert read_optimum(folder).quantised == Quantised(weight_matmuls=20, activation_matmuls=5, embeddings=1)


def test_an_older_export_is_replaced(export: Callable[..., Path], fp32: Path, tmp_path: Path) -> None:
    """What is left at the target is the new one alone, and no scratch folder stays beside it."""
    target = Path(shutil.copytree(fp32, tmp_path / "target"))
    export(write_tiny(tmp_path / "other", n_layers=1), target, precision="fp32")
    assert read_optimum(target).name == "other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "target"]


def test_nothing_else_is_replaced(export: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A folder with other files is refused before anything is computed."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something else"):
        export(tiny_checkpoint, tmp_path)


def test_other_precisions_are_refused(export: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Optimum knows no int4 of this kind."""
    with pytest.raises(ConfigurationError, match="valid: fp32, int8"):
        export(tiny_checkpoint, tmp_path / "made", precision="int4")


def test_a_changed_file_is_found(fp32: Path, tmp_path: Path) -> None:
    """Each file is checked against optimum.json before it is loaded."""
    folder = Path(shutil.copytree(fp32, tmp_path / "changed"))
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match=r"model\.onnx was changed"):
        OptimumEngine(folder)


def test_a_broken_description_is_told(fp32: Path, tmp_path: Path) -> None:
    """A file that is no description of ours is an error with a hint, not a traceback."""
    folder = Path(shutil.copytree(fp32, tmp_path / "broken"))
    (folder / OPTIMUM_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="broken"):
        read_optimum(folder)


def test_another_checkpoint_is_not_compared(fp32: Path, tmp_path: Path) -> None:
    """The comparison is of one model."""
    with pytest.raises(CheckpointError, match="another checkpoint"):
        verify_optimum(write_tiny(tmp_path / "other", n_layers=1), fp32)
