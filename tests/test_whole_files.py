"""Folders that are there whole or not at all."""

from pathlib import Path

import pytest

from guardrail.whole_files import whole_folder


def test_a_folder_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    """Nothing of the old one stays, nor of one that a kill left half written; parents are made."""
    folder = tmp_path / "run" / "checkpoint"
    for name in ("old", "new"):
        with whole_folder(folder) as unfinished:
            (unfinished / name).write_text(name)
            (folder.parent / "seen").write_text(str(folder.exists()))
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert (folder.parent / "seen").read_text() == "True"
    (folder.parent / ".checkpoint.unfinished").mkdir()
    (folder.parent / ".checkpoint.unfinished" / "half").touch()
    with whole_folder(folder) as unfinished:
        (unfinished / "last").touch()
    assert [path.name for path in folder.iterdir()] == ["last"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["checkpoint", "seen"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    """As a kill does while it is written."""
    with whole_folder(tmp_path / "kept") as unfinished:
        (unfinished / "old").touch()
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "kept") as unfinished:
        (unfinished / "new" / "without its folder").touch()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["old"]
