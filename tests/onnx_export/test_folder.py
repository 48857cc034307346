"""The exported folder: what it replaces, what it refuses to touch, and how it is told from a damaged one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import tensor_shapes
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.exported import FILES, MANIFEST_FILE, read_manifest
from guardrail.file_hash import hash_file
from guardrail.onnx_export import export_checkpoint
from tests.tiny import copy_tokenizer, write_tiny


@pytest.fixture
def exported(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return export_checkpoint(tiny_checkpoint, tmp_path / "export", name="first")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_the_manifest_says_what_the_folder_was_made_from(tiny_checkpoint: Path, exported: Path) -> None:
    """Hashes of the checkpoint and of every file, precision, versions; config and tokenizer are the checkpoint's."""
    manifest = read_manifest(exported)
    assert (manifest.name, manifest.precision) == ("first", "int8")
    assert manifest.source_sha256 == Checkpoint.open(tiny_checkpoint).sha256()
    assert manifest.files == {name: hash_file(exported / name) for name in FILES}
    assert {"guardrail-stream", "onnx"} <= set(manifest.versions)
    for name in ("config.json", "tokenizer.json"):
        assert (exported / name).read_bytes() == (tiny_checkpoint / name).read_bytes()
    assert sorted(contents(exported)) == sorted((*FILES, MANIFEST_FILE))


def test_another_process_writes_the_same_bytes(tiny_checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    """Nothing depends on the order of a set or on the seed of hashes."""
    code = (
        "from guardrail.onnx_export import export_checkpoint\n"
        f"export_checkpoint({str(tiny_checkpoint)!r}, {str(tmp_path / 'again')!r}, name='first')"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "7"}, check=True, timeout=120)
    assert contents(tmp_path / "again") == contents(exported)


def test_an_older_export_is_replaced_whole(tiny_checkpoint: Path, exported: Path) -> None:
    """Also by one of another precision; nothing else is left beside it."""
    export_checkpoint(tiny_checkpoint, exported, precision="fp32", name="second")
    assert (read_manifest(exported).name, read_manifest(exported).precision) == ("second", "fp32")
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_an_interrupted_export_leaves_the_old_one(tiny_checkpoint: Path, exported: Path) -> None:
    """Whatever interrupts: the folder is replaced in one move, at the end."""
    before = contents(exported)

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(tiny_checkpoint, exported, name="second", progress=interrupt)
    assert contents(exported) == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_progress_counts_layers(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Layers done, of all."""
    told: list[tuple[int, int]] = []
    export_checkpoint(tiny_checkpoint, tmp_path / "export", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "x"},
        {"manifest.json": '{"manifest_version": 3, "name": "my extension"}'},
        {"manifest.json": '{"manifest_version": 3}', "icon.png": "x"},
        {"manifest.json": "not JSON"},
        {"config.json": "{}", "tokenizer.json": "{}"},
    ],
    ids=" ".join,
)
def test_a_folder_that_is_no_export_is_not_touched(
    files: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """A manifest.json alone makes no export: browser extensions have one too, and replacing would delete them."""
    target = tmp_path / "target"
    target.mkdir()
    for name, text in files.items():
        (target / name).write_text(text)
    before = contents(target)
    with pytest.raises(CheckpointError, match="holds something else: "):
        export_checkpoint(tiny_checkpoint, target)
    assert contents(target) == before


def test_what_lies_beside_an_export_is_not_deleted_with_it(tiny_checkpoint: Path, exported: Path) -> None:
    """The error names the file."""
    (exported / "notes.md").write_text("mine")
    with pytest.raises(CheckpointError, match=r"something else: notes\.md"):
        export_checkpoint(tiny_checkpoint, exported)
    assert (exported / "notes.md").read_text() == "mine"


def test_an_empty_folder_is_filled_and_a_file_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Parents are made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert read_manifest(export_checkpoint(tiny_checkpoint, tmp_path / "empty")).precision == "int8"
    assert read_manifest(export_checkpoint(tiny_checkpoint, tmp_path / "a" / "b")).precision == "int8"
    with pytest.raises(CheckpointError, match="something else than a folder"):
        export_checkpoint(tiny_checkpoint, tmp_path / "file")


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_a_tensor(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop("query_category_head.weight"))


def with_a_wrong_shape(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": np.ones(47, np.float32)}))


def with_infinity(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors["model.layers.1.mlp.up_proj.weight"].fill(np.inf))


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write other tensors with the library that everybody writes them with."""
    from safetensors.numpy import load_file, save_file

    tensors = {name: np.array(array) for name, array in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_tokenizer, r"no tokenizer\.json"),
        (without_a_tensor, r"missing tensors: query_category_head\.weight"),
        (with_a_wrong_shape, r"model\.norm\.weight is \[47\], expected \[48\]"),
        (with_infinity, r"model\.layers\.1\.mlp\.up_proj\.weight holds NaN or infinity"),
        (truncated, "truncated"),
    ],
)
def test_a_defective_checkpoint_is_named_and_nothing_is_written(
    spoil: Callable[[Path], None], says: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Neither a half export nor a scratch folder stays."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    spoil(folder)
    with pytest.raises(CheckpointError, match=says):
        export_checkpoint(folder, tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_unknown_precision_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """With the ones there are."""
    with pytest.raises(ConfigurationError, match="'int2'; valid: fp32, int8, int4"):
        export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="int2")
    assert not list(tmp_path.iterdir())


def test_an_unread_language_model_head_changes_nothing(tmp_path: Path) -> None:
    """Untied checkpoints may carry one; the graph is the same."""
    folder = write_tiny(tmp_path / "untied", n_layers=1, tie_word_embeddings=False)
    plain = export_checkpoint(folder, tmp_path / "plain", name="n")
    size = tensor_shapes(Checkpoint.open(folder).config)["model.embed_tokens.weight"]
    change_tensors(folder, lambda tensors: tensors.update({"lm_head.weight": np.ones(size, np.float32)}))
    carried = export_checkpoint(folder, tmp_path / "carried", name="n")
    assert (carried / "model.onnx.data").read_bytes() == (plain / "model.onnx.data").read_bytes()
    assert read_manifest(carried).source_sha256 != read_manifest(plain).source_sha256


@pytest.mark.parametrize("file", FILES)
def test_a_touched_file_is_refused_by_name(file: str, exported: Path) -> None:
    """One changed byte is enough; a missing file is named too."""
    data = bytearray((exported / file).read_bytes())
    data[len(data) // 2] ^= 1
    (exported / file).write_bytes(data)
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        read_manifest(exported)
    (exported / file).unlink()
    with pytest.raises(CheckpointError, match=rf"lacks {file}"):
        read_manifest(exported)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.pop("source_sha256"), "source_sha256"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(format="other"), "format"),
        (lambda m: m.update(precision="int2"), "precision"),
        (lambda m: m.update(notes="mine"), "notes"),
        (lambda m: m["files"].pop("config.json"), "must list exactly"),
        (lambda m: m["files"].update({"../../etc/passwd": "0"}), "must list exactly"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    change: Callable[[dict[str, Any]], object], says: str, exported: Path
) -> None:
    """Missing or foreign keys and versions are named; it may list our files only."""
    edit_manifest(exported, change)
    with pytest.raises(CheckpointError, match=says):
        read_manifest(exported)


def test_a_manifest_from_before_block_sizes_is_read(exported: Path) -> None:
    """It says nothing of them, nor of an int8 cache; the model is the same."""
    identity = read_manifest(exported).sha256
    edit_manifest(exported, lambda m: m.pop("block_size"))
    old = read_manifest(exported)
    assert (old.block_size, old.kv_int8, old.sha256) == (None, None, identity)


def test_a_manifest_that_is_none_is_refused(exported: Path) -> None:
    """Not there, or not JSON."""
    (exported / MANIFEST_FILE).write_text("{")
    with pytest.raises(CheckpointError, match="broken or of another version: the file"):
        read_manifest(exported)
    (exported / MANIFEST_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"cannot read manifest\.json: No such file"):
        read_manifest(exported)


def test_the_identity_follows_the_files_and_not_the_name(tiny_checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    """Records name the weights that ran: another name keeps the hash, another tokenizer or precision changes it."""
    identity = read_manifest(exported).sha256
    renamed = export_checkpoint(tiny_checkpoint, tmp_path / "renamed", name="second")
    assert read_manifest(renamed).sha256 == identity
    fp32 = export_checkpoint(tiny_checkpoint, tmp_path / "fp32", precision="fp32", name="first")
    assert read_manifest(fp32).sha256 != identity
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    copy_tokenizer(folder)
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert read_manifest(export_checkpoint(folder, tmp_path / "other", name="first")).sha256 != identity
