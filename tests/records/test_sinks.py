"""Sinks: each decision reaches each of them once, and none of them changes a decision."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.errors import RecordError
from guardrail.guard import Guard
from guardrail.records import JsonlSink, MemorySink, Privacy, Queueing, Record, Sink, StoredSink, TextForm
from guardrail.testing import MarkerEngine, default_tokenizer
from tests.records.made import HeldStore, ScriptedStore, decision, lines

RISKY = {"☠": ("Unsafe", "Violent")}
TOKENIZER = default_tokenizer()
ENGINE = MarkerEngine(TOKENIZER, RISKY)
FULL = Privacy(text=TextForm.FULL, tokens=True)


def test_a_stop_is_stored_when_its_call_returns(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Prompts, answers and streams: under `sync`, the default, its line stands in the file by then."""
    path = tmp_path / "r.jsonl"
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[JsonlSink(path)])
    made = [guard.check_prompt("kill ☠")]
    assert [r.id for r in lines(path)] == [d.id for d in made]
    made.append(guard.check_response("hi", "some words ☠ and more words"))
    assert [r.id for r in lines(path)] == [d.id for d in made]
    stream = guard.open_stream("hi")
    stream.feed("some words ☠ and more words")
    assert [r.id for r in lines(path)] == [*(d.id for d in made), stream.decision.id]


async def test_a_stop_is_stored_when_its_call_returns_on_an_event_loop(
    tokenizer: GuardTokenizer, tmp_path: Path
) -> None:
    """As in sync."""
    path = tmp_path / "r.jsonl"
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[JsonlSink(path)])
    made = [await guard.acheck_prompt("kill ☠"), await guard.acheck_response("hi", "some words ☠ and more words")]
    assert [r.id for r in lines(path)] == [d.id for d in made]


def test_a_store_that_hangs_changes_no_decision(tokenizer: GuardTokenizer) -> None:
    """A stop's call returns when it has waited long enough; the record follows when the store goes on."""
    store = HeldStore()
    sink = StoredSink(store, queueing=Queueing(timeout_s=0.02))
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    assert [guard.check_prompt(text, conversation_id="1").stopped for text in ("kill ☠", "hello")] == [True, False]
    assert (sink.n_waiting, sink.n_stored) == (2, 0)
    store.released.set()
    assert sink.flush()
    assert (sink.n_waiting, sink.n_stored, sink.n_lost) == (0, 2, 0)
    sink.close()


def test_what_is_lost_is_counted_by_the_sink_and_by_the_guard(tokenizer: GuardTokenizer) -> None:
    """A store that takes no record at all."""
    sink = StoredSink(ScriptedStore([RecordError("no")] * 3))
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
    assert guard.check_prompt("kill ☠").stopped
    assert sink.flush()
    assert (sink.n_lost, guard.n_record_failures) == (1, 1)
    sink.close()


def test_no_text_unless_asked_for(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Neither the prompt nor the answer; with `text="full"` both, lone surrogates replaced."""
    plain, full = tmp_path / "plain.jsonl", tmp_path / "full.jsonl"
    sinks = [JsonlSink(plain), JsonlSink(full, privacy=FULL)]
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=sinks)
    guard.check_prompt("my secret \ud800")
    guard.check_response("hi", "the secret answer")
    for sink in sinks:
        sink.close()
    assert "secret" not in plain.read_text()
    kept = lines(full)
    assert [r.text for r in kept] == ["my secret \ufffd", "the secret answer"]
    assert kept[1].tokens is not None
    assert len(kept[1].tokens) == kept[1].n_tokens


@given(st.text(st.characters(codec=None), max_size=40), st.text(st.characters(codec=None), max_size=10))
def test_any_text_is_one_line(tmp_path_factory: pytest.TempPathFactory, text: str, conversation_id: str) -> None:
    """Newlines of every kind, NUL and lone surrogates, in the text and in the ids of the caller: nothing is lost."""
    path = tmp_path_factory.mktemp("line") / "r.jsonl"
    with JsonlSink(path, privacy=FULL) as sink:
        guard = Guard(ENGINE, TOKENIZER, sinks=[sink])
        guard.check_prompt(text, conversation_id=conversation_id)
    assert guard.n_record_failures == 0
    (line,) = path.read_bytes().split(b"\n")[:-1]
    record = Record.model_validate_json(line)
    assert record.text == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert record.conversation_id == conversation_id.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_kinds_of_parts_may_hold_anything(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """They come from the caller's messages."""
    with JsonlSink(tmp_path / "r.jsonl") as sink:
        guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[sink])
        guard.check_prompt([{"role": "user", "content": ["hi", {"type": "image\udcff\n"}]}])
    assert guard.n_record_failures == 0
    assert lines(tmp_path / "r.jsonl")[0].unreadable == ["unknown"]


def test_a_sink_that_cannot_write_says_so(tmp_path: Path) -> None:
    """A folder in the way, unknown or impossible values, a closed file."""
    with pytest.raises(RecordError, match="cannot open"):
        JsonlSink(tmp_path)
    with pytest.raises(RecordError, match="valid: sync, batch"):
        JsonlSink(tmp_path / "r.jsonl", durability="never")
    with pytest.raises(RecordError, match="at least 1"):
        JsonlSink(tmp_path / "r.jsonl", max_files=0)
    sink = JsonlSink(tmp_path / "r.jsonl")
    sink.close()
    sink.close()
    with pytest.raises(RecordError, match="closed"):
        sink.write(decision(), "")


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


def test_memory_keeps_the_latest() -> None:
    """Bounded, oldest first."""
    sink = MemorySink(max_decisions=2)
    made = [decision() for _ in range(4)]
    for one in made:
        sink.write(one, "")
    assert list(sink.decisions) == made[-2:]


def test_sinks_keep_the_protocol(tmp_path: Path) -> None:
    """Ours, and one that a user wrote without a base class; closing twice is harmless."""
    for sink in (MemorySink(), JsonlSink(tmp_path / "r.jsonl"), BrokenSink()):
        assert isinstance(sink, Sink)
        sink.close()
        sink.close()
