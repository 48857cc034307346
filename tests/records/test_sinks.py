"""Sinks: where decisions are stored, and that none is lost, torn or doubled."""

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.errors import RecordError
from guardrail.guard import Guard
from guardrail.records import JsonlSink, MemorySink, Record, Sink
from guardrail.testing import FailingEngine, MarkerEngine, default_tokenizer, raising

RISKY = {"☠": ("Unsafe", "Violent")}
TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, RISKY)


def lines(path: Path) -> list[Record]:
    return [Record.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def decisions(tokenizer: GuardTokenizer) -> list[Decision]:
    """One decision of each kind: allowed, stopped prompt, stopped answer, failure."""
    sink = MemorySink()
    engine = MarkerEngine(tokenizer, RISKY)
    with Guard(engine, tokenizer, sinks=[sink]) as guard:
        guard.check_prompt("hello", conversation_id="c1")
        guard.check_prompt("kill ☠")
        guard.check_response("hi", "some words ☠ and more words")
        Guard(
            FailingEngine(engine, at_step=0, breakage=raising(RuntimeError("SECRET"))), tokenizer, sinks=[sink]
        ).check_prompt("x")
    return list(sink.decisions)


def test_a_line_is_there_when_the_call_returns(decisions: list[Decision], tmp_path: Path) -> None:
    """Appended and flushed, one line each, behind what the file held."""
    path = tmp_path / "deep" / "records.jsonl"
    for n, decision in enumerate(decisions, 1):
        with JsonlSink(path) as sink:
            sink.write(decision, "text")
            assert len(lines(path)) == n
    assert [r.id for r in lines(path)] == [d.id for d in decisions]


def test_a_killed_process_loses_no_acknowledged_record(tmp_path: Path) -> None:
    """Nothing waits in a buffer of the process: what a call returned stands in the file."""
    path = tmp_path / "r.jsonl"
    code = f"""
import os
from guardrail import Guard
from guardrail.records import JsonlSink
from guardrail.testing import MarkerEngine, default_tokenizer
tokenizer = default_tokenizer()
engine = MarkerEngine(tokenizer, {{"☠": ("Unsafe", "Violent")}})
guard = Guard(engine, tokenizer, sinks=[JsonlSink({str(path)!r}, durability="batch")])
for i in range(3):
    guard.check_prompt("kill ☠", conversation_id=str(i))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == -9
    assert [r.conversation_id for r in lines(path)] == ["0", "1", "2"]


@pytest.mark.parametrize(("durability", "n_synced"), [("sync", 3), ("batch", 0)])
def test_stops_are_forced_to_the_disk_before_the_call_returns(
    durability: str, n_synced: int, decisions: list[Decision], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of the four decisions are stops; what is let go waits for the operating system."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with JsonlSink(tmp_path / "r.jsonl", durability=durability) as sink:
        for decision in decisions:
            sink.write(decision, "")
    assert len(synced) == n_synced


def test_a_record_file_is_its_owners_alone(decisions: list[Decision], tmp_path: Path) -> None:
    """Kept text may be private."""
    JsonlSink(tmp_path / "r.jsonl").close()
    assert stat.S_IMODE((tmp_path / "r.jsonl").stat().st_mode) == 0o600


def test_an_unfinished_line_costs_no_other_record(decisions: list[Decision], tmp_path: Path) -> None:
    """A writer that was killed left half a line: the next record begins a line of its own."""
    path = tmp_path / "r.jsonl"
    path.write_text('{"schema_version":1,"id":"ha')
    for decision in decisions[:2]:
        with JsonlSink(path) as sink:
            sink.write(decision, "")
    fragment, *rest = path.read_text("utf-8").splitlines()
    assert fragment == '{"schema_version":1,"id":"ha'
    assert [Record.model_validate_json(line).id for line in rest] == [d.id for d in decisions[:2]]


def test_a_full_disk_costs_only_the_records_it_had_no_room_for(decisions: list[Decision], tmp_path: Path) -> None:
    """Cut in the middle by a limit on the file's size: an error then, whole lines again once there is room."""
    path = tmp_path / "r.jsonl"
    with JsonlSink(path) as sink:
        sink.write(decisions[0], "")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
        try:
            for _ in range(2):
                with pytest.raises(RecordError, match="cannot write the record: File too large"):
                    sink.write(decisions[1], "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sink.write(decisions[2], "")
        sink.write(decisions[3], "")
    first, fragment, *rest = path.read_text("utf-8").splitlines()
    assert len(fragment) == 100
    assert [Record.model_validate_json(line).id for line in (first, *rest)] == [
        decisions[i].id for i in (0, 2, 3)
    ]  # fmt: skip


def test_a_fragment_of_another_writer_costs_no_record_either(decisions: list[Decision], tmp_path: Path) -> None:
    """Another process died inside its line while this sink was open: the next record begins a line of its own."""
    path = tmp_path / "r.jsonl"
    with JsonlSink(path) as sink:
        sink.write(decisions[0], "")
        with path.open("a") as other:
            other.write('{"schema_version":1,"id":"ha')
        sink.write(decisions[1], "")
        sink.write(decisions[2], "")
    first, fragment, *rest = path.read_text("utf-8").splitlines()
    assert fragment == '{"schema_version":1,"id":"ha'
    assert [Record.model_validate_json(line).id for line in (first, *rest)] == [d.id for d in decisions[:3]]


def test_a_pipe_takes_records_though_it_has_no_disk(decisions: list[Decision]) -> None:
    """As with `--records /dev/stderr`: a stop is written, and is no failure of the sink."""
    reading, writing = os.pipe()
    with JsonlSink(f"/dev/fd/{writing}") as sink:
        for decision in decisions:
            sink.write(decision, "")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert [Record.model_validate_json(line).id for line in pipe] == [d.id for d in decisions]


def test_a_file_that_may_only_be_written_takes_records(decisions: list[Decision], tmp_path: Path) -> None:
    """A log that its writers may not read; how it ends is then not looked at."""
    path = tmp_path / "r.jsonl"
    path.touch(0o200)
    with JsonlSink(path) as sink:
        sink.write(decisions[0], "")
    path.chmod(0o600)
    assert [r.id for r in lines(path)] == [decisions[0].id]


def test_no_text_unless_asked_for(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Neither the prompt nor the answer; with `include_text` both, lone surrogates replaced."""
    plain, full = tmp_path / "plain.jsonl", tmp_path / "full.jsonl"
    sinks = [JsonlSink(plain), JsonlSink(full, include_text=True, include_tokens=True)]
    with Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=sinks) as guard:
        guard.check_prompt("my secret \ud800")
        guard.check_response("hi", "the secret answer")
    assert "secret" not in plain.read_text()
    kept = lines(full)
    assert [r.text for r in kept] == ["my secret \ufffd", "the secret answer"]
    assert kept[1].tokens is not None
    assert len(kept[1].tokens) == kept[1].n_tokens


@given(st.text(st.characters(codec=None), max_size=40), st.text(st.characters(codec=None), max_size=10))
def test_any_text_is_one_line(text: str, conversation_id: str) -> None:
    """Newlines of every kind, NUL and lone surrogates, in the text and in the ids of the caller: nothing is lost."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "r.jsonl"
        with JsonlSink(path, include_text=True) as sink:
            guard = Guard(ENGINE, TOKENIZER, sinks=[sink])
            guard.check_prompt(text, conversation_id=conversation_id)
            assert guard.n_record_failures == 0
        (line,) = path.read_bytes().split(b"\n")[:-1]
    record = Record.model_validate_json(line)
    assert record.text == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert record.conversation_id == conversation_id.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_kinds_of_parts_may_hold_anything(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """They come from the caller's messages."""
    sink = JsonlSink(tmp_path / "r.jsonl")
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    guard.check_prompt([{"role": "user", "content": ["hi", {"type": "image\udcff\n"}]}])
    assert guard.n_record_failures == 0
    assert lines(tmp_path / "r.jsonl")[0].unreadable == ["image\ufffd\n"]


def test_many_threads_write_whole_lines(decisions: list[Decision], tmp_path: Path) -> None:
    """No line is torn or lost."""
    path = tmp_path / "r.jsonl"
    with JsonlSink(path, durability="batch") as sink:

        def write_many() -> None:
            for _ in range(50):
                sink.write(decisions[0], "")

        threads = [threading.Thread(target=write_many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines(path)) == 400


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    """Each record is one appending write."""
    path = tmp_path / "r.jsonl"
    code = f"""
from guardrail import Guard
from guardrail.records import JsonlSink
from guardrail.testing import MarkerEngine, default_tokenizer
tokenizer = default_tokenizer()
engine = MarkerEngine(tokenizer, {{"☠": ("Unsafe", "Violent")}})
with Guard(engine, tokenizer, sinks=[JsonlSink({str(path)!r})]) as guard:
    for _ in range(100):
        guard.check_prompt("hello")
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert len(lines(path)) == 200


def test_a_sink_that_cannot_write_says_so(decisions: list[Decision], tmp_path: Path) -> None:
    """A folder in the way, an unknown durability, a closed file."""
    with pytest.raises(RecordError, match="cannot open"):
        JsonlSink(tmp_path)
    with pytest.raises(RecordError, match="valid: sync, batch"):
        JsonlSink(tmp_path / "r.jsonl", durability="never")
    sink = JsonlSink(tmp_path / "r.jsonl")
    sink.close()
    sink.close()
    with pytest.raises(RecordError, match="closed"):
        sink.write(decisions[0], "")


def test_a_closed_sink_changes_no_decision_but_is_counted(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """The guard goes on; `n_record_failures` tells."""
    sink = JsonlSink(tmp_path / "r.jsonl")
    sink.close()
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    assert guard.check_prompt("kill ☠").stopped
    assert guard.n_record_failures == 1


class BrokenSink:
    """Raises on every write, with the text in its message."""

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
        raise OSError(f"no space for {text}")

    def close(self) -> None:
        """Nothing to free."""


def test_a_broken_sink_costs_its_own_records_only(tokenizer: GuardTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """Decisions are as without it, other sinks get them, each failure is counted and logged without the text."""
    kept = MemorySink()
    engine = MarkerEngine(tokenizer, RISKY)
    guard = Guard(engine, tokenizer, sinks=[BrokenSink(), kept, BrokenSink()])
    made = [guard.check_prompt("SECRET"), guard.check_prompt("SECRET ☠"), guard.check_response("hi", "SECRET ☠ x")]
    assert [d.stopped for d in made] == [False, True, True]
    assert list(kept.decisions) == made
    assert guard.n_record_failures == 6
    assert len(caplog.records) == 6
    assert "SECRET" not in caplog.text
    assert "sink BrokenSink failed: OSError" in caplog.text


async def test_a_broken_sink_breaks_no_async_call(tokenizer: GuardTokenizer) -> None:
    """As in sync."""
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[BrokenSink()])
    assert (await guard.acheck_prompt("kill ☠")).stopped
    stream = await guard.aopen_stream("hi")
    assert await stream.afeed("go on ☠ and on and on") == "go on "
    await stream.afinish()
    assert guard.n_record_failures == 2


def test_one_decision_is_recorded_once(tokenizer: GuardTokenizer) -> None:
    """However often a stopped, a finished or an abandoned stream is fed, finished and closed."""
    sink = MemorySink()
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    for text in ("kill ☠ him now", "all is fine"):
        stream = guard.open_stream("hi")
        stream.feed(text)
        stream.finish()
        stream.finish()
        stream.close()
        assert stream.decision == sink.decisions[-1]
    guard.open_stream("hi").close()
    assert [d.reason.value for d in sink.decisions] == ["verdict", "clear", "abandoned"]
    assert len({d.id for d in sink.decisions}) == len({d.stream_id for d in sink.decisions}) == 3


def test_guards_that_share_an_engine_record_their_own_policy(tokenizer: GuardTokenizer) -> None:
    """`with_policy` keeps the sinks unless others are given."""
    first, second = MemorySink(), MemorySink()
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[first])
    guard.with_policy("strict").check_prompt("a")
    guard.with_policy("loose", sinks=[second]).check_prompt("b")
    guard.check_prompt("c")
    assert [d.identity.policy for d in first.decisions] == ["strict", "balanced"]
    assert [d.identity.policy for d in second.decisions] == ["loose"]
    assert len({d.identity.policy_sha256 for d in (*first.decisions, *second.decisions)}) == 3


def test_memory_keeps_the_latest(decisions: list[Decision]) -> None:
    """Bounded, oldest first."""
    sink = MemorySink(max_decisions=2)
    for decision in decisions:
        sink.write(decision, "")
    assert list(sink.decisions) == decisions[-2:]


def test_sinks_keep_the_protocol(tmp_path: Path) -> None:
    """Ours, and one that a user wrote without a base class; closing twice is harmless."""
    for sink in (MemorySink(), JsonlSink(tmp_path / "r.jsonl"), BrokenSink()):
        assert isinstance(sink, Sink)
        sink.close()
        sink.close()
