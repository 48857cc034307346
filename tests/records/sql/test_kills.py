"""Processes that are killed while they write to a database: what they acknowledged is there."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.records.sql.stored import ids

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

STOPPING = """
import os, sys, threading
from guardrail import Guard
from guardrail.records import open_sink
from guardrail.testing import MarkerEngine, default_tokenizer
tokenizer = default_tokenizer()
engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
guard = Guard(engine, tokenizer, sinks=[open_sink(sys.argv[1])])
def stop():
    while True:
        os.write(1, (guard.check_prompt("kill ☠").id + "\\n").encode())
for _ in range(2):
    threading.Thread(target=stop).start()
"""

BATCHING = """
import sys, time
from guardrail.records import open_sink, Queueing
from tests.records.made import decision
sink = open_sink(sys.argv[1], queueing=Queueing(durability="batch", flush_s=0.02))
def write(n):
    for _ in range(n):
        one = decision(is_stop=True)
        sink.write(one, "")
        print(one.id, flush=True)
write(20)
while sink.n_waiting:
    time.sleep(0.01)
print("all stored", flush=True)
while True:
    write(1)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_url()


def test_a_killed_process_loses_no_stop_whose_call_returned(url: str) -> None:
    """Killed at random moments, again and again with the same database: every id that it told is stored."""
    told: list[str] = []
    for seed in range(3):
        told += told_until_killed(STOPPING, url, n_lines=random.Random(seed).randint(1, 60))
    assert told
    assert set(told) <= set(ids(url))


def test_a_killed_process_loses_under_batch_what_was_made_lately(url: str) -> None:
    """What had been told to be stored is there, and of what came afterwards a beginning."""
    told = told_until_killed(BATCHING, url, n_lines=60)
    n_stored = told.index("all stored")
    made, stored = [line for line in told if line != "all stored"], ids(url)
    assert n_stored == 20
    assert len(stored) >= n_stored
    n_same = min(len(made), len(stored))  # the last one may be stored and not told
    assert stored[:n_same] == made[:n_same]


def told_until_killed(code: str, url: str, *, n_lines: int) -> list[str]:
    """Run a program, kill it when it has told so many lines, and return all whole lines that it told."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout
    told = [child.stdout.readline() for _ in range(n_lines)]
    timer = threading.Timer(random.Random(n_lines).random() / 50, child.kill)
    timer.start()
    told += child.stdout.readlines()
    assert child.wait(60) == -9
    child.stdout.close()
    return [line.rstrip("\n") for line in told if line.endswith("\n")]
