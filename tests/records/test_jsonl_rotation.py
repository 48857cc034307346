"""Files of JSON lines that are rotated: over all of them each record stands once, and reading misses none."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guardrail.records import JsonlSink, JsonlStore, Record, Skipped, read_records, reading
from guardrail.records.jsonl import rotated_files
from tests.records.made import decision, lines, record

HERE = str(Path(__file__).resolve().parents[2])
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [HERE, *sys.path]))}


def all_numbers(path: Path) -> list[int]:
    return [int(r.conversation_id or -1) for r in read_records(path)]


def test_a_full_file_is_moved_aside_under_the_next_number(tmp_path: Path) -> None:
    """Before the record that follows, so that each file but the youngest is just over the size; numbers are no text."""
    path = tmp_path / "r.jsonl"
    size = len(record(10).to_json()) + 1
    store = JsonlStore(path, max_bytes=3 * size - 5)
    for number in range(10, 45):
        store.append([record(number)], sync=number % 2 == 0)
    store.close()
    rotated = rotated_files(path)
    assert [file.name for file in rotated] == [f"r.jsonl.{n}" for n in range(1, 12)]
    assert {len(lines(file)) for file in rotated} == {3}
    assert len(lines(path)) == 2
    assert all_numbers(path) == list(range(10, 45))


def test_the_youngest_files_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    """Also by another store that is opened later."""
    path = tmp_path / "r.jsonl"
    for first in (0, 10):
        store = JsonlStore(path, max_bytes=1, max_files=2)
        for number in range(first, first + 10):
            store.append([record(number)], sync=False)
        store.close()
    assert [file.name for file in rotated_files(path)] == ["r.jsonl.18", "r.jsonl.19"]
    assert all_numbers(path) == [17, 18, 19]


def test_files_with_similar_names_are_left_alone(tmp_path: Path) -> None:
    """They are other people's, or another store's."""
    path = tmp_path / "r[1].jsonl"
    others = ["r[1].jsonl.old", "r[1].jsonl.1.gz", "r[1].jsonl.01", "r[1].jsonl.x.5", "r[1].jsonl.٣", "r1.jsonl.7"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    store = JsonlStore(path, max_bytes=1, max_files=1)
    for number in range(5):
        store.append([record(number)], sync=False)
    store.close()
    assert {file.name for file in tmp_path.iterdir()} == {*others, path.name, f"{path.name}.4"}
    assert all((tmp_path / name).read_text() == "not ours" for name in others)
    assert all_numbers(path) == [3, 4]


def test_a_file_that_cannot_be_moved_grows_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That costs no record; it is told of once, and moved when it can be."""

    def refuse(self: Path, target: Path) -> Path:  # the method's
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "r.jsonl"
    store = JsonlStore(path, max_bytes=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        for number in range(4):
            store.append([record(number)], sync=False)
    assert [r.getMessage() for r in caplog.records] == [
        "the record file cannot be rotated, and grows on: Permission denied"
    ]
    store.append([record(4)], sync=False)
    store.close()
    assert [len(lines(file)) for file in (*rotated_files(path), path)] == [4, 1]


def test_processes_that_share_rotated_files_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each has threads of its own; some are forked from one that already holds the file."""
    path = tmp_path / "r.jsonl"
    code = f"""
import os, threading
from guardrail.records import JsonlSink
from tests.records.made import decision
sink = JsonlSink({str(path)!r}, max_bytes=1_500)
sink.write(decision(conversation_id="first"), "")
is_child = os.fork() == 0
def write():
    for i in range(60):
        if wait := sink.write(decision(conversation_id=str(i), is_stop=i % 3 == 0), ""):
            wait.wait()
threads = [threading.Thread(target=write) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sink.close()
if not is_child:
    os.wait()
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    found = list(read_records(path))
    assert len(rotated_files(path)) > 10
    assert len({r.id for r in found}) == len(found) == 2 * (1 + 2 * 2 * 60)


def test_a_reader_beside_a_writer_that_rotates_reads_each_record_once(tmp_path: Path) -> None:
    """All that were stored when it began, in order, and no line in pieces; what comes later may be there or not."""
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path, max_bytes=4_000)
    has_ended = threading.Event()

    def write() -> None:
        for number in range(400):
            if wait := sink.write(decision(conversation_id=str(number), is_stop=number % 3 == 0), ""):
                wait.wait()
        sink.close()
        has_ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    n_rounds, is_last = 0, False
    while not is_last:
        is_last = has_ended.is_set()
        n_stored, skipped = sink.n_stored, Skipped()
        if n_stored:
            found = [int(r.conversation_id or -1) for r in read_records(path, skipped=skipped)]
            assert found == list(range(len(found)))
            assert len(found) >= n_stored
            assert skipped.n_lines == 0
            n_rounds += 1
    thread.join()
    assert len(found) == 400
    assert n_rounds > 3


def test_files_that_are_rotated_while_they_are_listed_are_read_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The youngest one moves down the list, and younger ones stand behind it: those came later."""
    path = tmp_path / "r.jsonl"
    store = JsonlStore(path, max_bytes=1)
    for number in range(3):
        store.append([record(number)], sync=False)

    def rotate_and_list(where: Path) -> list[Path]:
        for number in range(3, 6):
            store.append([record(number)], sync=False)
        return rotated_files(where)

    monkeypatch.setattr(reading, "rotated_files", rotate_and_list)
    assert all_numbers(path) == [0, 1, 2]
    store.close()


def test_files_that_go_while_they_are_read_cost_only_themselves(tmp_path: Path) -> None:
    """Too many of them: the oldest are removed while a reader is at it."""
    path = tmp_path / "r.jsonl"
    store = JsonlStore(path, max_bytes=1, max_files=3)
    for number in range(4):
        store.append([record(number)], sync=False)
    found = read_records(path)
    first: Record = next(found)
    for number in range(4, 7):
        store.append([record(number)], sync=False)
    store.close()
    assert [r.conversation_id for r in (first, *found)] == ["0", "3"]
