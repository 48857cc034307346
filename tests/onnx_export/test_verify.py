"""`verify` passes good exports, fails spoiled ones, and says on how many items."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from guardrail.checkpoint import Checkpoint
from guardrail.engines.base import HEADS, Feed, Logits
from guardrail.engines.torch import TorchEngine, TorchSession
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.exported import FILES, KV_MODEL_FILE, MANIFEST_FILE, read_manifest
from guardrail.file_hash import hash_file
from guardrail.onnx_export import export_checkpoint
from guardrail.onnx_export.__main__ import main
from guardrail.onnx_export.calibrate import calibrate_kv
from guardrail.onnx_export.verify import Check, Report, compare, format_report, verify_checkpoint
from guardrail.onnx_export.verify_rows import fixed_rows
from guardrail.testing import default_tokenizer
from tests.conftest import open_onnx
from tests.tiny import write_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("verified") / "checkpoint", n_layers=1)


@pytest.fixture
def exported(checkpoint: Path, tmp_path: Path) -> Path:
    return export_checkpoint(checkpoint, tmp_path / "export", precision="fp32", name="tiny")


def rewrite(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the graph of an export, and its manifest, so that only a comparison can tell."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model)
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"] = {name: hash_file(folder / name) for name in FILES}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def swap_labels(model: onnx.ModelProto) -> None:
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "query_risk_head_weight")
    array = onnx.numpy_helper.to_array(weight)[:, [1, 0, 2]]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), weight.name))


def interleave_rotation(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "rotary_interleaved":
                attribute.i = 1


def forget_a_norm(model: onnx.ModelProto) -> None:
    (norm,) = (node for node in model.graph.node if node.output[0] == "layer0_k_head_norm")
    norm.op_type = "Identity"
    del norm.input[1:], norm.attribute[:]


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_verify_passes_and_says_on_how_many_items(precision: str, tmp_path: Path) -> None:
    """The table names rows, positions, differences and agreement."""
    folder = write_tiny(tmp_path / "checkpoint", n_layers=1, max_context=8192)
    report = verify_checkpoint(folder, precision=precision)
    assert report.passed
    text = format_report(report)
    assert str(report.n_rows) in text
    assert all(name in text for name in HEADS)


def test_verify_fails_on_the_export_of_another_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    """A wrong graph is found, or refused because it was made from something else."""
    other = export_checkpoint(write_tiny(tmp_path / "other", seed=9, n_layers=1), tmp_path / "export", precision="fp32")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["source_sha256"] = Checkpoint.open(checkpoint).sha256()
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert not verify_checkpoint(checkpoint, exported=other).passed


def test_the_table_says_what_passed_and_on_how_many_items(checkpoint: Path, exported: Path) -> None:
    """Rows, positions of each head everywhere and where it is read, and every check with its limit."""
    report = verify_checkpoint(checkpoint, exported=exported)
    rows = fixed_rows(default_tokenizer(), 512)
    n_positions, n_answers = sum(len(row.ids) for row in rows), sum(len(row.ids) - row.answer_start for row in rows)
    assert [(h.n_positions, h.n_read) for h in report.heads] == [(n_positions, len(rows))] * 2 + [
        (n_positions, n_answers)
    ] * 2
    lines = format_report(report).splitlines()
    assert lines[0] == f"tiny, fp32 against torch fp32, {len(rows)} rows of fixed texts"
    assert lines[-1] == "passed"
    for name in HEADS:
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert f"100.00% of {n_positions}" in line
    assert [line[:4] for line in lines if line[:4] in ("pass", "FAIL")] == ["pass"] * len(report.checks) + ["pass"]


@pytest.mark.parametrize("spoil", [swap_labels, interleave_rotation, forget_a_norm])
def test_a_spoiled_graph_fails(
    spoil: Callable[[onnx.ModelProto], None], checkpoint: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong label order, wrong rotation, a norm left out: hashes are right, verdicts are not."""
    rewrite(exported, spoil)
    report = verify_checkpoint(checkpoint, exported=exported)
    assert not report.passed
    failed = {check.name for check in report.checks if not check.passed}
    assert failed == {"logits against torch", "same verdict as torch, least head"}
    assert main(["verify", str(checkpoint), "--exported", str(exported)]) == 1
    shown = capsys.readouterr().out
    assert shown.endswith("\nFAILED\n")
    assert "FAIL  logits against torch" in shown


def test_only_the_spoiled_head_differs(checkpoint: Path, exported: Path) -> None:
    """The table points at the head that is wrong."""
    rewrite(exported, swap_labels)
    report = verify_checkpoint(checkpoint, exported=exported)
    assert {head.head for head in report.heads if head.max_difference > 1e-4} == {"query_risk"}


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_weights_are_allowed_their_rounding_but_no_more(
    precision: str, checkpoint: Path, tmp_path: Path
) -> None:
    """Logits may differ, but not so many verdicts: a graph with swapped labels fails."""
    folder = export_checkpoint(checkpoint, tmp_path / "export", precision=precision)
    good = verify_checkpoint(checkpoint, exported=folder)
    assert good.passed
    assert max(head.max_difference for head in good.heads) > 1e-4
    rewrite(folder, swap_labels)
    assert not verify_checkpoint(checkpoint, exported=folder).passed


def test_an_engine_that_does_not_roll_back_fails(checkpoint: Path, exported: Path) -> None:
    """Chunks, batches and rolling back are compared too, not only whole rows."""

    class ForgetfulSession(TorchSession):
        def rollback(self, length: int) -> None:
            """Ignore it."""

    class Forgetful(TorchEngine):
        def open(self) -> TorchSession:
            return ForgetfulSession(self, self.config.n_layers)

    reference = open_onnx(exported)
    rows = [row for row in fixed_rows(default_tokenizer(), 512) if len(row.ids) < 200]
    report = compare(reference, Forgetful.from_checkpoint(checkpoint), rows)
    assert {check.name for check in report.checks if not check.passed} == {"rolled back against fresh"}


def test_an_engine_whose_batches_mix_fails(checkpoint: Path, exported: Path) -> None:
    """Rows of a batch take pieces of different sizes, and each of them is compared."""

    class Mixing(TorchEngine):
        def step(self, feeds: Sequence[Feed]) -> list[Logits]:
            """Read the second of several wrong, where it is longer than the first."""
            found = super().step(feeds)
            if len(feeds) > 1 and len(feeds[1].ids) > len(feeds[0].ids) > 1:
                found[1].query_risk[-1] += 1
            return found

    rows = [row for row in fixed_rows(default_tokenizer(), 512) if len(row.ids) < 200]
    report = compare(open_onnx(exported), Mixing.from_checkpoint(checkpoint), rows)
    assert {check.name for check in report.checks if not check.passed} == {"in ragged batches against alone"}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_int8_cache_is_compared_with_the_float32_one(precision: str, checkpoint: Path) -> None:
    """Over the same weights, and under the other ways of feeding too; the table says so."""
    report = verify_checkpoint(checkpoint, precision=precision, kv_precision="int8")
    assert report.passed
    assert max(head.max_difference for head in report.heads) > 1e-4
    assert len(report.checks) == 4
    first = format_report(report).splitlines()[0]
    assert first.startswith(f"checkpoint, {precision} with an int8 KV cache against an fp32 KV cache, ")


def test_scales_that_are_too_small_fail(checkpoint: Path, exported: Path) -> None:
    """Keys and values beyond 127 of them are cut short."""
    with pytest.raises(ConfigurationError, match="no scales for an int8 KV cache"):
        verify_checkpoint(checkpoint, exported=exported, kv_precision="int8")
    calibrate_kv(exported)
    assert verify_checkpoint(checkpoint, exported=exported, kv_precision="int8").passed
    model = onnx.load(exported / KV_MODEL_FILE, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_0_scale"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 0.1, tensor.name))
    onnx.save(model, exported / KV_MODEL_FILE)
    manifest = json.loads((exported / MANIFEST_FILE).read_text())
    manifest["kv_int8"]["files"][KV_MODEL_FILE] = hash_file(exported / KV_MODEL_FILE)
    (exported / MANIFEST_FILE).write_text(json.dumps(manifest))
    report = verify_checkpoint(checkpoint, exported=exported, kv_precision="int8")
    assert not report.checks[0].passed


@pytest.mark.parametrize(("value", "passed"), [(0.9, True), (0.89, False), (float("nan"), False)])
def test_a_share_must_reach_its_limit(value: float, passed: bool) -> None:
    """And a number that is none never passes."""
    assert Check("share", value, 0.9, is_share=True).passed is passed
    assert not Check("difference", float("nan"), 1.0).passed
    assert Report("n", "fp32", 1, (), (Check("share", value, 0.9, is_share=True),)).passed is passed


def test_what_cannot_be_compared_is_refused(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    """The export of another checkpoint, another precision than asked for, a context that holds no row."""
    with pytest.raises(CheckpointError, match="from another checkpoint"):
        verify_checkpoint(write_tiny(tmp_path / "other", seed=5, n_layers=1), exported=exported)
    with pytest.raises(ConfigurationError, match="exported as fp32, not int8"):
        verify_checkpoint(checkpoint, exported=exported, precision="int8")
    with pytest.raises(CheckpointError, match="context of 16 tokens"):
        verify_checkpoint(write_tiny(tmp_path / "short", n_layers=1, max_context=16))


def test_rows_end_within_the_context_and_are_read_in_their_text() -> None:
    """The query heads at the prompt's closing token, the response heads from the answer's first token on."""
    tokenizer = default_tokenizer()
    for row in fixed_rows(tokenizer, 300):
        assert len(row.ids) <= 300
        assert row.ids[row.prompt_end] == tokenizer.control_id("<|im_end|>")
        assert row.ids[row.answer_start - 1] == tokenizer.control_id("</think>")
        assert list(row.read_positions("query_risk")) == [row.prompt_end]
        assert list(row.read_positions("response_risk")) == list(range(row.answer_start, len(row.ids)))


def test_the_module_exports_and_verifies(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m guardrail.onnx_export`: a folder, then the same numbers as JSON; 0 when all is well."""
    assert main(["export", str(checkpoint), str(tmp_path / "made"), "--precision", "fp32"]) == 0
    assert main(["verify", str(checkpoint), "--exported", str(tmp_path / "made"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert (found["precision"], found["name"]) == ("fp32", "checkpoint")
    assert [head["head"] for head in found["heads"]] == list(HEADS)


def test_the_module_calibrates_too(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the export or behind it, and compares the caches."""
    made, more = tmp_path / "made", tmp_path / "more"
    assert main(["export", str(checkpoint), str(made), "--kv", "int8", "--block-size", "64"]) == 0
    assert main(["export", str(checkpoint), str(more), "--block-size", "64"]) == 0
    assert main(["calibrate-kv", str(more)]) == 0
    assert read_manifest(made) == read_manifest(more)
    assert main(["verify", str(checkpoint), "--exported", str(made), "--kv", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kv_precision"] == "int8"


def test_the_module_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, no traceback."""
    assert main(["export", str(tmp_path), str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "no config.json in the folder (is this a Qwen3Guard-Stream checkpoint?)"
    ]


def test_the_hash_of_the_source_does_not_depend_on_the_folder(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    """A copied checkpoint still verifies against its export."""
    copy = write_tiny(tmp_path / "copy", n_layers=1)
    assert Checkpoint.open(copy).sha256() == Checkpoint.open(checkpoint).sha256()
    assert verify_checkpoint(copy, exported=exported).passed
