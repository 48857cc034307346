"""Files of a model are checked by hash before anything opens them: the embedded ones, and those of an export."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard, assets, loader
from guardrail.checkpoint import read_json
from guardrail.encoding import GuardTokenizer
from guardrail.engines import onnx
from guardrail.errors import CheckpointError
from guardrail.exported import FILES, KV_FILES, MANIFEST_FILE
from guardrail.loader import load_default, load_model

EMBEDDED = Path(assets.__file__).with_name("default")
CHECKED = (*FILES, *KV_FILES)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded model, which the loader takes for the one in the package."""
    shutil.copytree(EMBEDDED, tmp_path / "default")
    monkeypatch.setattr(loader, "files", lambda _package: tmp_path)
    return tmp_path / "default"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened for use after the check."""
    found: list[str] = []

    def opening(what: str, original: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            found.append(what)
            return original(*args, **kwargs)

        return watched

    monkeypatch.setattr(onnx, "load_graph", opening("graph", onnx.load_graph))
    monkeypatch.setattr(GuardTokenizer, "from_file", opening("tokenizer", GuardTokenizer.from_file))
    monkeypatch.setattr(loader, "read_json", opening("config", read_json))
    return found


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of a file, and nothing of its length."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def test_every_embedded_file_is_checked_or_is_the_manifest() -> None:
    """No file in that folder could be changed unseen."""
    assert {path.name for path in EMBEDDED.iterdir()} == {*CHECKED, MANIFEST_FILE}


def test_the_hash_in_the_code_is_that_of_the_shipped_manifest() -> None:
    """Whoever ships another model writes its hash into guardrail/assets/__init__.py."""
    assert hashlib.sha256((EMBEDDED / MANIFEST_FILE).read_bytes()).hexdigest() == assets.DEFAULT_MANIFEST_SHA256


def test_what_is_whole_is_opened(copied: Path, opened: list[str]) -> None:
    """The check lets an undamaged model through, and what follows is what the next tests watch."""
    load_default().engine.close()
    assert sorted(opened) == ["config", "graph", "tokenizer"]


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", CHECKED)
def test_one_changed_bit_of_the_embedded_model_is_refused(
    copied: Path, opened: list[str], name: str, place: float
) -> None:
    """In any of its files, at any place, before the tokenizer, the graph or its weights are opened."""
    flip(copied / name, place)
    with pytest.raises(CheckpointError, match=f"{name} was changed or truncated"):
        load_default()
    assert opened == []


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_that_was_exchanged_with_its_manifest_is_refused(copied: Path, opened: list[str], name: str) -> None:
    """Hashes that fit the files are not enough: those of the embedded model start from the one in the code."""
    flip(copied / name)
    manifest = json.loads((copied / MANIFEST_FILE).read_bytes())
    listed = manifest["files"] if name in FILES else manifest["kv_int8"]["files"]
    listed[name] = hashlib.sha256((copied / name).read_bytes()).hexdigest()
    (copied / MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(CheckpointError, match=r"manifest\.json is not the one that was shipped.*install"):
        load_default()
    assert opened == []


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_changed_bit_of_the_manifest_is_refused(copied: Path, opened: list[str], place: float) -> None:
    """Even where it changes no hash, such as in the model's name."""
    flip(copied / MANIFEST_FILE, place)
    with pytest.raises(CheckpointError, match=r"manifest\.json is not the one that was shipped"):
        Guard.default()
    assert opened == []


@pytest.mark.parametrize("name", [*CHECKED, MANIFEST_FILE])
def test_a_missing_file_is_refused(copied: Path, opened: list[str], name: str) -> None:
    """By its name."""
    (copied / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_default()
    assert opened == []


@pytest.mark.parametrize("name", CHECKED)
def test_one_changed_bit_of_an_exported_folder_is_refused(tmp_path: Path, opened: list[str], name: str) -> None:
    """Also in the files of the KV cache that this load would not use."""
    shutil.copytree(EMBEDDED, tmp_path / "export")
    flip(tmp_path / "export" / name)
    with pytest.raises(CheckpointError, match=f"{name} was changed or truncated.*export the checkpoint again"):
        load_model(tmp_path / "export")
    assert opened == []


@pytest.mark.parametrize("name", ["model.onnx", "../model.onnx", "other.onnx"])
def test_a_manifest_lists_its_own_files_and_no_other(tmp_path: Path, opened: list[str], name: str) -> None:
    """A file that it leaves out could be changed unseen; one elsewhere is none of its business."""
    folder = tmp_path / "export"
    shutil.copytree(EMBEDDED, folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    sha256 = manifest["files"].pop("model.onnx")
    if name != "model.onnx":
        manifest["files"][name] = sha256
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(CheckpointError, match="must list exactly"):
        load_model(folder)
    assert opened == []
