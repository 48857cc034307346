"""Files of an output folder are there whole or not at all."""

from pathlib import Path

import pytest

from guardrail import ConfigurationError
from guardrail.scanning.folder import read_manifest
from guardrail.whole_files import make_whole, write_whole


def test_a_write_that_is_cut_off_leaves_what_was_there(tmp_path: Path) -> None:
    """Neither half a file nor an empty one, and the next write succeeds."""

    def cut_off(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "00000.jsonl"
    for before in (None, b"old"):
        if before:
            write_whole(path, before)
        with pytest.raises(KeyboardInterrupt):
            make_whole(path, cut_off)
        assert (path.read_bytes() if path.exists() else None) == before
    write_whole(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("00000.jsonl", b"new")]


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    """A foreign file of that name is not taken for ours."""
    (tmp_path / "x.scan.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="no manifest of a scan"):
        read_manifest(tmp_path / "x.scan.json")
