"""The cache of exports: made once, shared, repaired, and cleared of what killed processes leave."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError
from guardrail.exported import read_manifest
from guardrail.guard import Guard
from guardrail.loader import load_model


def exports(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_checkpoint_is_exported_once_and_then_reused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The second load reads the cache."""
    first = load_model(tiny_checkpoint, cache_dir=tmp_path)
    (made,) = exports(tmp_path)
    stamp = (made / "model.onnx").stat().st_mtime_ns
    second = load_model(tiny_checkpoint, cache_dir=tmp_path)
    assert (made / "model.onnx").stat().st_mtime_ns == stamp
    assert first.engine.info == second.engine.info
    assert (first.engine.info.name, first.engine.info.precision) == (tiny_checkpoint.name, "int8")


def test_an_int8_kv_cache_is_calibrated_once_in_the_same_export(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """An export that is there already is calibrated, not made again; the model has another identity with it."""
    plain = load_model(tiny_checkpoint, cache_dir=tmp_path).engine.info
    (made,) = exports(tmp_path)
    stamp = (made / "model.onnx").stat().st_mtime_ns
    infos = [
        load_model(tiny_checkpoint, cache_dir=tmp_path, runtime=Runtime(kv_precision="int8")).engine.info
        for _ in range(2)
    ]
    assert (made / "model.onnx").stat().st_mtime_ns == stamp
    assert infos[0] == infos[1]
    assert (infos[0].kv_precision, infos[0].kv_bytes_per_token * 4) == ("int8", plain.kv_bytes_per_token)
    assert infos[0].sha256 != plain.sha256
    assert load_model(tiny_checkpoint, cache_dir=tmp_path).engine.info == plain


def spoil_data(folder: Path) -> None:
    (folder / "model.onnx.data").write_bytes(b"")


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def spoil_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def lose_everything(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def leave_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    (folder / "other").mkdir(parents=True)
    (folder / "other" / "file").write_text("x")


@pytest.mark.parametrize("spoil", [spoil_data, lose_manifest, spoil_manifest, lose_everything, leave_a_file])
def test_a_damaged_cache_is_made_again(spoil: Callable[[Path], None], tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Whatever was lost costs an export, not a crash."""
    first = load_model(tiny_checkpoint, cache_dir=tmp_path)
    (made,) = exports(tmp_path)
    spoil(made)
    assert load_model(tiny_checkpoint, cache_dir=tmp_path).engine.info == first.engine.info
    assert exports(tmp_path) == [made]
    read_manifest(made)


def test_precisions_and_checkpoints_have_exports_of_their_own(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A model under two names is one export, each record with the name that was loaded."""
    copy = tmp_path / "other name"
    shutil.copytree(tiny_checkpoint, copy)
    cache = tmp_path / "cache"
    first, second = (load_model(folder, cache_dir=cache).engine.info for folder in (tiny_checkpoint, copy))
    assert (first.name, second.name) == (tiny_checkpoint.name, "other name")
    assert first.sha256 == second.sha256
    assert len(exports(cache)) == 1
    fp32 = load_model(tiny_checkpoint, cache_dir=cache, precision="fp32").engine.info
    assert fp32.sha256 != first.sha256
    with (copy / "tokenizer.json").open("a") as file:
        file.write("\n")
    load_model(copy, cache_dir=cache)
    assert len(exports(cache)) == 3


def test_a_killed_export_is_no_cache(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A process that dies while exporting leaves nothing that the next one would take for an export."""
    code = f"""
import os
from guardrail import onnx_export
from guardrail.onnx_export import export
inner = export._fill
def killed(*arguments):
    inner(*arguments)
    os._exit(9)
export._fill = killed
from guardrail.loader import load_model
load_model({str(tiny_checkpoint)!r}, cache_dir={str(tmp_path)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 9
    assert not [path for path in exports(tmp_path) if not path.name.startswith(".")]
    assert list(tmp_path.glob(".export-*"))
    assert load_model(tiny_checkpoint, cache_dir=tmp_path).engine.info.precision == "int8"
    assert not list(tmp_path.glob(".export-*")), "the next export clears away what was left"


def test_a_read_only_cache_serves_what_it_holds(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished export needs neither lock nor folder made."""

    def refuse(*_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    load_model(tiny_checkpoint, cache_dir=tmp_path)
    monkeypatch.setattr("filelock.FileLock", refuse)
    assert load_model(tiny_checkpoint, cache_dir=tmp_path).engine.info.precision == "int8"
    with pytest.raises(ConfigurationError, match=r"Read-only file system \(set XDG_CACHE_HOME or cache_dir\)"):
        load_model(tiny_checkpoint, cache_dir=tmp_path, precision="fp32")


def test_a_cache_that_cannot_be_written_says_what_to_set(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A file in the way, say."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ConfigurationError, match=r"cannot write to the cache .+: File exists \(set XDG_CACHE_HOME or cache_dir\)"
    ):
        load_model(tiny_checkpoint, cache_dir=tmp_path / "file")


def test_the_cache_is_where_the_environment_says(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_CACHE_HOME is honoured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Guard.load(tiny_checkpoint).close()
    assert len(exports(tmp_path / "guardrail")) == 1


def test_two_processes_share_one_export(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Neither sees the other's half-made folder."""
    code = f"from guardrail.loader import load_model; print(load_model({str(tiny_checkpoint)!r}).engine.info.sha256)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1
    assert len(exports(tmp_path / "guardrail")) == 1
