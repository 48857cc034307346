"""Records that wait when the process ends, forks or is killed."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guardrail.records import Record
from tests.records.made import lines

HERE = str(Path(__file__).resolve().parents[2])
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [HERE, *sys.path]))}

SCRIPT = """
import multiprocessing, os, sys
from guardrail.records import JsonlSink, Queueing
from tests.records.made import decision
sink = JsonlSink(sys.argv[1], queueing=Queueing(flush_s=600))
def write(name):
    sink.write(decision(conversation_id=name), "")
"""
WORKER = """
write('a')
child = multiprocessing.get_context('fork').Process(target=write, args=['b'])
child.start()
child.join()
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("write('a')\nwrite('b')", ["a", "b"]),
        ("import atexit; atexit.register(write, 'late')", ["late"]),
        (
            "write('a')\nif os.fork() == 0:\n write('b'); sink.close(); os._exit(0)\nos.wait(); write('c')",
            ["b", "a", "c"],
        ),
        ("write('a')\nif os.fork() == 0:\n write('b'); sys.exit()\nos.wait()", ["b", "a"]),
        (WORKER, ["b", "a"]),
    ],
    ids=["ends", "ends-late", "forked-and-closed", "forked-and-ends", "a-worker-ends"],
)
def test_a_process_that_ends_or_forks_stores_each_record_once(code: str, expected: list[str], tmp_path: Path) -> None:
    """Though nobody closed the sink; what waited at a fork is the parent's alone."""
    path = tmp_path / "r.jsonl"
    done = subprocess.run([sys.executable, "-c", SCRIPT + code, path], timeout=60, check=False, env=ENVIRONMENT)
    assert done.returncode == 0
    assert [r.conversation_id for r in lines(path)] == expected


STOPPING = """
import os, sys, threading
from guardrail import Guard
from guardrail.records import JsonlSink
from guardrail.testing import MarkerEngine, default_tokenizer
tokenizer = default_tokenizer()
engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
guard = Guard(engine, tokenizer, sinks=[JsonlSink(path, max_bytes=20_000) for path in sys.argv[1:]])
def stop():
    while True:
        os.write(1, (guard.check_prompt("kill ☠").id + "\\n").encode())
for _ in range(3):
    threading.Thread(target=stop).start()
"""


def test_a_killed_process_loses_no_stop_whose_call_returned(tmp_path: Path) -> None:
    """Killed at random moments, with several threads and files that are rotated: every id that it told is stored."""
    for seed in range(4):
        path = tmp_path / f"{seed}.jsonl"
        told = _told_until_killed(STOPPING, path, n_lines=random.Random(seed).randint(1, 200))
        stored = {record.id for file in tmp_path.glob(f"{seed}.jsonl*") for record in _whole(file)}
        assert told
        assert set(told) <= stored


BATCHING = """
import sys, time
from guardrail.records import JsonlSink, Queueing
from tests.records.made import decision
sink = JsonlSink(sys.argv[1], queueing=Queueing(durability="batch", flush_s=0.02))
def write(prefix):
    for i in range(20):
        sink.write(decision(conversation_id=prefix + str(i), is_stop=i % 2 == 0), "")
        print(prefix + str(i), flush=True)
write("early ")
time.sleep(1)
while True:
    write("late ")
"""


def test_a_killed_process_loses_under_batch_at_most_what_was_made_lately(tmp_path: Path) -> None:
    """All that is older than `flush_s`, here a fiftieth of the pause, stands in the file."""
    path = tmp_path / "r.jsonl"
    told = _told_until_killed(BATCHING, path, n_lines=21)
    stored = [record.conversation_id for record in _whole(path)]
    assert "late 0" in told
    assert stored[:20] == [f"early {i}" for i in range(20)]


def _told_until_killed(code: str, path: Path, *, n_lines: int) -> list[str]:
    """Run a program, kill it when it has told so many lines, and return all whole lines that it told."""
    child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True)
    assert child.stdout
    told = [child.stdout.readline() for _ in range(n_lines)]
    timer = threading.Timer(random.Random(n_lines).random() / 100, child.kill)
    timer.start()
    told += child.stdout.readlines()
    assert child.wait(60) == -9
    child.stdout.close()
    return [line.rstrip("\n") for line in told if line.endswith("\n")]


def _whole(path: Path) -> list[Record]:
    """Return the records of a file, whose last line alone may be torn."""
    text = path.read_text("utf-8")
    return [Record.model_validate_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]
