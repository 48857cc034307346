"""The call cache: what was put is there, whoever is killed, whoever else writes, and nothing else is ever served."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import CallRefused, ConfigurationError, EngineError
from guardrail.training.recipe.cache import REFUSED, CallCache
from guardrail.training.recipe.calls import Reply, Text
from tests.strategies import texts

REPLIES = st.builds(
    Reply,
    st.lists(st.builds(Text, texts(), st.none() | texts(), st.booleans()), min_size=1, max_size=3).map(tuple),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)

WRITER = """
import asyncio, sys
from pathlib import Path
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Reply, Text

async def write(cache, name, n):
    for i in range(n):
        await cache.put(f"{name}-{i}".encode(), "m", Reply((Text(f"answer {i} " * 50),)))
        print(i, flush=True)

with CallCache(Path(sys.argv[1])) as cache:
    print("open", flush=True)
    sys.stdin.readline()
    asyncio.run(write(cache, sys.argv[2], int(sys.argv[3])))
"""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def reply(text: str) -> Reply:
    return Reply((Text(text),), 3, 5)


def writing(path: Path, name: str, n: int) -> "subprocess.Popen[str]":
    """A process that writes n answers, saying so after each, once it is told to go."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(n)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    return process


@given(st.lists(REPLIES, min_size=1, max_size=20))
@settings(max_examples=10)
def test_answers_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, found: list[Reply]) -> None:
    """All of their samples, in every script, from a file that was closed."""
    path = tmp_path_factory.mktemp("cache") / "calls.sqlite"
    with CallCache(path) as cache:
        for i, one in enumerate(found):
            asyncio.run(cache.put(key(i), "m", one))
    with CallCache(path) as cache:
        assert [asyncio.run(cache.get(key(i))) for i in range(len(found))] == found
        assert asyncio.run(cache.get(key(len(found)))) is None


async def test_the_first_answer_stands(tmp_path: Path) -> None:
    """It may have been used."""
    with CallCache(tmp_path / "c") as cache:
        assert await cache.put(key(1), "m", reply("one")) == reply("one")
        assert await cache.put(key(1), "m", reply("two")) == reply("one")
        assert await cache.get(key(1)) == reply("one")
        assert cache.counts() == {"m": 1}


async def test_failures_are_counted_and_never_served(tmp_path: Path) -> None:
    """A call that failed is asked again."""
    with CallCache(tmp_path / "c") as cache:
        for status in (500, 500, 429):
            await cache.note_failure(key(1), "m", "HttpFailed", status)
        await cache.put(key(2), "n", reply("x"))
        assert await cache.get(key(1)) is None
        assert cache.failures() == {("m", "HttpFailed", 429): 1, ("m", "HttpFailed", 500): 2}
        assert cache.counts() == {"n": 1}


@pytest.mark.parametrize(("status", "said"), [(400, ", with 400"), (0, "")])
async def test_a_refusal_is_served_until_there_is_an_answer(tmp_path: Path, status: int, said: str) -> None:
    """It is what the model says of that call, and of no other one."""
    path = tmp_path / "c"
    with CallCache(path) as cache:
        await cache.note_failure(key(1), "m", REFUSED, status)
        await cache.note_failure(key(2), "m", "HttpRefused", status)
    with CallCache(path) as cache:
        with pytest.raises(CallRefused, match=f"^model 'm' refused this call before{said}$"):
            await cache.get(key(1))
        assert await cache.get(key(2)) is None
        await cache.put(key(1), "m", reply("x"))
        assert await cache.get(key(1)) == reply("x")


async def test_it_knows_which_models_have_answered(tmp_path: Path) -> None:
    """By what they are, not by their names."""
    path = tmp_path / "c"
    with CallCache(path) as cache:
        assert not await cache.has_answered("one")
        for _ in range(2):
            await cache.note_answered("one")
    with CallCache(path) as cache:
        assert (await cache.has_answered("one"), await cache.has_answered("other")) == (True, False)


def test_threads_share_one_cache(tmp_path: Path) -> None:
    """Each in an event loop of its own."""
    with CallCache(tmp_path / "c") as cache:

        async def work(first: int) -> None:
            for i in range(first, first + 50):
                await cache.put(key(i), "m", reply(str(i)))
                assert await cache.get(key(i)) == reply(str(i))

        threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n * 50))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.counts() == {"m": 200}


async def test_processes_share_one_file(tmp_path: Path) -> None:
    """Three at once, from its making on, and none loses an answer."""
    path, n = tmp_path / "c", 100
    processes = [writing(path, name, n) for name in "abc"]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with CallCache(path) as cache:
        assert cache.counts() == {"m": 3 * n}
        assert await cache.get(b"b-99") is not None


@pytest.mark.parametrize("n_seen", [1, 7, 100])
async def test_a_killed_process_loses_no_answer_that_was_put(tmp_path: Path, n_seen: int) -> None:
    """Killed right after, at no moment of its choosing."""
    path = tmp_path / "c"
    process = writing(path, "a", 100_000)
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    last = [process.stdout.readline() for _ in range(n_seen)][-1]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read()  # communicate() passes over what readline has read ahead
    process.communicate()
    seen = [int(line) for line in (last + rest).splitlines(keepends=True) if line.endswith("\n")]
    with CallCache(path) as cache:
        assert cache.counts()["m"] >= seen[-1] + 1
        for i in range(seen[-1] + 1):
            found = await cache.get(f"a-{i}".encode())
            assert found
            assert found.text == f"answer {i} " * 50


def foreign(path: Path) -> None:
    sqlite3.connect(path).executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all, but a text " * 100)


def newer(path: Path) -> None:
    CallCache(path).close()
    sqlite3.connect(path).execute("PRAGMA user_version = 99")


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # of the test's own connections
@pytest.mark.parametrize("make", [foreign, garbage, newer, Path.mkdir])
def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path, make: "object") -> None:
    """Whoever named the wrong file loses nothing."""
    path = tmp_path / "c"
    make(path)  # type: ignore[operator]  # a function, as the parameters say
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ConfigurationError, match=r"\bc is damaged, or is no call cache|cannot open the call cache c"):
        CallCache(path)
    assert (path.read_bytes() if path.is_file() else b"") == before


async def fill(path: Path) -> None:
    with CallCache(path) as cache:
        for i in range(200):
            await cache.put(key(i), "m", Reply((Text(str(i) * 300),)))


async def read(path: Path) -> None:
    with CallCache(path) as cache:
        for i in range(200):
            await cache.get(key(i))


async def test_a_damaged_file_is_said_to_be_so(tmp_path: Path) -> None:
    """Its tables broken in the middle; never a wrong answer."""
    path = tmp_path / "c"
    await fill(path)
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="is damaged"):
        await read(path)


@pytest.mark.parametrize("value", [b"", b"xyz", b"x\x9c\x03\x00\x00\x00\x00\x01", None])
async def test_a_damaged_answer_is_never_served(tmp_path: Path, value: bytes | None) -> None:
    """What cannot be read is said to be damaged."""
    path = tmp_path / "c"
    await fill(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE OR IGNORE replies SET reply = coalesce(?, 7)", (value,))
    connection.commit()
    connection.close()
    with CallCache(path) as cache, pytest.raises(ConfigurationError, match="is damaged"):
        await cache.get(key(3))


async def test_a_full_disk_ends_the_stage_and_loses_nothing(tmp_path: Path) -> None:
    """It is no damage: the same command goes on once there is room."""
    path = tmp_path / "c"
    with CallCache(path) as cache:
        await cache.put(key(0), "m", reply("kept"))
        cache._connection.execute("PRAGMA max_page_count = 12")
        with pytest.raises(EngineError, match="full"):
            await cache.put(key(1), "m", Reply((Text(os.urandom(100_000).hex()),)))
    with CallCache(path) as cache:
        assert await cache.get(key(0)) == reply("kept")


def test_others_cannot_read_the_file(tmp_path: Path) -> None:
    """Answers of models are not for everybody on a machine."""
    CallCache(tmp_path / "c").close()
    assert (tmp_path / "c").stat().st_mode & 0o077 == 0
