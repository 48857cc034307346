"""Files that are written from records: whole or not at all, links and pipes as they are."""

import os
import threading
from pathlib import Path

import pytest

from guardrail.errors import RecordError
from guardrail.records.targets import refuse_source, whole


def test_a_file_is_there_once_it_is_done(tmp_path: Path) -> None:
    """Until then what stood there stands; what fails leaves nothing behind."""
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError):
        broken(target)
    assert target.read_text() == "old"
    with whole(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"
    assert [*tmp_path.iterdir()] == [target]


def broken(target: Path) -> None:
    """Write half of a file, and fail."""
    with whole(target) as path:
        path.write_text("half")
        assert target.read_text() == "old"
        raise ZeroDivisionError


def test_a_link_stays_one(tmp_path: Path) -> None:
    """What it points to is replaced."""
    target, link = tmp_path / "out.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    with whole(link) as path:
        path.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """It is no file that could be replaced; whoever reads it gets what is written."""
    pipe, found = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    with whole(pipe) as path:
        path.write_text("line\n")
    reader.join()
    assert found == ["line\n"]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "told"), [("", "is a folder"), ("none/out.txt", "cannot write out.txt: No such file")]
)
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str, told: str) -> None:
    """In the project's errors."""
    with pytest.raises(RecordError, match=told), whole(tmp_path / name):
        pytest.fail("there is nothing to write to")


@pytest.mark.parametrize(
    ("store", "target"),
    [
        ("a.jsonl", "b.jsonl"), ("a.jsonl", "a.jsonl.gz"), ("a.jsonl", "a.jsonl.old"), ("a.jsonl.1", "a.jsonl"),
        ("a.jsonl", "other/a.jsonl"), ("q.db", "q.db.html"), ("postgresql://host/a.jsonl", "a.jsonl"),
    ],
)  # fmt: skip
def test_other_files_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, target: str) -> None:
    """Names alike are not enough."""
    if "://" in store:
        pytest.importorskip("sqlalchemy", reason="databases need the extra `sql`")
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text("")
    refuse_source(Path(target), store)
