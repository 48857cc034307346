"""The five laws of the gate for models that judge whole texts, and what differs from verdicts at tokens."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.conversation import ToolCall
from guardrail.decision import Reason
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ContextOverflow, StreamClosed, StreamError
from guardrail.generative.local import LocalLine
from guardrail.generative.reader import GenerativeReader
from guardrail.guard import Guard
from guardrail.policy import Policy, ReleaseMode, TooLong
from guardrail.taxonomy import RiskLevel
from tests.generative.conftest import Taught
from tests.generative.lines import TextLine, text_guard
from tests.strategies import chunk_sizes, cuts, texts
from tests.test_laws import Played, margin, play

HOLDING = st.sampled_from((ReleaseMode.TOKEN, ReleaseMode.ANSWER))


def played(text: str, sizes: list[int], release: ReleaseMode, stride: int = 16) -> Played:
    """Play a text, cut into pieces, through a guard whose verdicts are a hash of the text so far."""
    guard = text_guard(TextLine(risky_share=0.2), stride_chars=stride, policy=Policy(release=release))
    return play(guard, cuts(text, sizes))


@given(text=texts(30), sizes=chunk_sizes, release=st.sampled_from(ReleaseMode), stride=st.sampled_from([1, 7, 16]))
def test_released_text_ends_where_the_stopped_stride_begins(
    text: str, sizes: list[int], release: ReleaseMode, stride: int
) -> None:
    """Laws 1, 2 and 5; one verdict on all of the text stops, whatever the debounce."""
    result = played(text, sizes, release, stride)
    decision, verdicts = result.stream.decision, result.stream.verdicts
    assert [token.end for token in verdicts[:-1]] == [stride * (i + 1) for i in range(len(verdicts) - 1)]
    if not decision.stopped:
        assert result.released == text
        assert all(token.risk is RiskLevel.SAFE for token in verdicts)
    else:
        assert verdicts[-1].risk is not RiskLevel.SAFE
        assert decision.stop_offset == verdicts[-1].start
        if release is ReleaseMode.TOKEN:
            assert len(result.released) == decision.stop_offset
        elif release is ReleaseMode.ANSWER:
            assert result.released == ""


@given(text=texts(30), sizes=chunk_sizes, release=HOLDING, stride=st.sampled_from([1, 7, 16]))
def test_cutting_changes_nothing(text: str, sizes: list[int], release: ReleaseMode, stride: int) -> None:
    """Laws 3 and 4: strides are counted from the beginning, however the text comes."""
    whole, cut = played(text, [len(text) + 1], release, stride), played(text, sizes, release, stride)
    assert cut.released == whole.released
    assert cut.spans == whole.spans
    assert cut.stream.decision.stop_offset == whole.stream.decision.stop_offset


@given(text=texts(20), split=st.integers(0, 60), sizes=chunk_sizes)
def test_reasoning_and_answer_are_one_text(text: str, split: int, sizes: list[int]) -> None:
    """Strides go on over the end of the reasoning, and cutting either changes nothing."""
    results = []
    for pieces in ([text[:split]], cuts(text[:split], sizes)):
        stream = text_guard(TextLine(risky_share=0.2)).open_stream("Think.")
        released = "".join(stream.feed(piece, thinking=True) for piece in pieces)
        released += "".join(stream.feed(piece) for piece in cuts(text[split:], sizes)) + stream.finish()
        assert text.startswith(released)
        assert stream.decision.stopped or released == text
        results.append((released, stream.decision.stop_offset))
    assert results[0] == results[1]


@given(text=texts(12), sizes=chunk_sizes)
def test_async_streams_decide_as_sync_ones(text: str, sizes: list[int]) -> None:
    """The twins share every decision."""

    async def play_async() -> tuple[str, int | None]:
        stream = await text_guard(TextLine(risky_share=0.2)).aopen_stream("Tell me something.")
        released = "".join([await stream.afeed(piece) for piece in cuts(text, sizes)]) + await stream.afinish()
        return released, stream.decision.stop_offset

    sync = played(text, sizes, ReleaseMode.TOKEN)
    assert asyncio.run(play_async()) == (sync.released, sync.stream.decision.stop_offset)


@given(text=texts(8), sizes=chunk_sizes)
def test_cutting_changes_nothing_for_a_real_model(taught: Taught, local: Guard, text: str, sizes: list[int]) -> None:
    """A checkpoint that runs here rolls back and reads on between strides; verdicts are those of the text fed whole."""
    tokenizer = GuardTokenizer.from_file(taught.folder / "tokenizer.json")
    reader = GenerativeReader(lambda tapes: LocalLine(tapes, tokenizer), stride_chars=16)
    guard = Guard(local.engine, reader)
    assume(margin(guard.judge_response("Tell me something.", text)) > 1e-4)
    whole, cut = play(guard, [text]), play(guard, cuts(text, sizes))
    assert (cut.released, cut.spans) == (whole.released, whole.spans)
    assert cut.stream.decision.stop_offset == whole.stream.decision.stop_offset


def test_peeking_judges_the_rest_and_changes_nothing() -> None:
    """What waits for its stride is judged as if the answer ended there; the verdicts that follow are the same."""
    line = TextLine()
    with text_guard(line).open_stream("Go.") as stream:
        assert stream.feed("0123456789") == ""
        assert stream.peek().action is Action.ALLOW
        stream.feed("☠")
        assert stream.peek().stopped
        assert not stream.is_stopped
        assert stream.feed("abcdefgh") == ""
        assert stream.is_stopped
    assert [text for text, _ in line.asked] == ["0123456789", "0123456789☠", "0123456789☠abcde"]


def test_a_failure_stops_behind_what_was_cleared() -> None:
    """It opens the gate only where the policy says so."""
    text = "0123456789abcdef what?! and more"
    stopped = text_guard(TextLine()).check_response("Go.", text)
    assert (stopped.reason, stopped.stop_offset, stopped.released_chars) == (Reason.FAILURE, 16, 16)
    allowed = text_guard(TextLine(), policy=Policy(on_failure=Action.FLAG)).check_response("Go.", text)
    assert (allowed.action, allowed.unjudged_chars) == (Action.FLAG, 16)


def test_an_answer_that_outgrows_the_model_slides_or_stops() -> None:
    """As with other models, by policy; what slides is recorded."""
    line = TextLine()
    line.limit = 40
    answer = "abcdefghijklmnop" * 5
    slid = text_guard(line).check_response("A question of thirty letters..", answer)
    assert (slid.action, slid.n_windows > 1, slid.failure) == (Action.ALLOW, True, None)
    assert max(len(text) for text, _ in line.asked) <= 40
    assert all(answer.startswith(text) or answer.endswith(text) or text in answer for text, _ in line.asked)
    stopped = text_guard(line, policy=Policy(too_long=TooLong.STOP)).check_response("A question", answer)
    assert (stopped.reason, stopped.failure and stopped.failure.kind) == (Reason.TOO_LONG, ContextOverflow.__name__)


def test_old_turns_go_as_questions_with_their_answers() -> None:
    """A conversation that began with the assistant would lose that turn's text to the template."""
    line = TextLine()
    line.limit = 39
    history = [{"role": "user", "content": "a" * 30}, {"role": "assistant", "content": "b" * 5}]
    decision = text_guard(line).check_prompt([*history, {"role": "user", "content": "c" * 5}])
    assert (decision.n_dropped_turns, decision.n_windows) == (2, 1)
    system = [{"role": "system", "content": "s" * 20}, *history]
    decision = text_guard(line).check_prompt([*system, {"role": "user", "content": "c" * 5}])
    assert (decision.n_dropped_turns, decision.n_windows) == (2, 1)


@pytest.mark.parametrize("size", [1, 40, 41, 333])
def test_windows_of_a_long_prompt_hold_all_of_it(size: int) -> None:
    """They overlap, and a risky one decides."""
    line = TextLine()
    line.limit = 40
    text = "".join(chr(0x4E00 + i) for i in range(size))
    decision = text_guard(line).check_prompt(text)
    asked = [part for part, _ in line.asked]
    assert decision.n_windows == len(asked)
    assert set("".join(asked)) == set(text)
    assert all(part in text and len(part) <= 40 for part in asked)
    assert text_guard(line).check_prompt(f"{text}☠{text}").stopped


def test_a_tool_call_leaves_whole_or_not_at_all() -> None:
    """Its JSON is judged as a response, between its tags."""
    line = TextLine()
    guard = text_guard(line)
    assert guard.check_tool_call("Weather?", ToolCall("weather", '{"at": "Lima"}')).action is Action.ALLOW
    assert line.asked[-1] == ('<tool_call>\n{"name": "weather", "arguments": {"at": "Lima"}}\n</tool_call>', True)
    assert guard.check_tool_call("Weather?", ToolCall("weather", '{"at": "☠"}')).stopped


def test_a_tool_result_and_a_document_are_judged_as_queries() -> None:
    """Each by itself."""
    line = TextLine()
    guard = text_guard(line)
    assert guard.check_tool_result("Weather?", "It rains ☠", tool="weather").stopped
    assert [decision.stopped for decision in guard.check_documents(["fine", "☠"])] == [False, True]
    assert line.asked == [("It rains ☠", False), ("fine", False), ("☠", False)]


def test_reasoning_behind_the_answer_and_text_behind_the_end_are_the_callers_bugs() -> None:
    """As with other models."""
    stream = text_guard(TextLine()).open_stream("Go.")
    stream.feed("an answer")
    with pytest.raises(StreamError, match="reasoning"):
        stream.feed("thoughts", thinking=True)
    stream.finish()
    with pytest.raises(StreamClosed):
        stream.feed("more")


def test_a_bound_on_held_words_does_not_count_what_waits_for_its_stride() -> None:
    """That wait is bounded already."""
    guard = text_guard(TextLine(), policy=replace(Policy(), max_held_chars=4))
    with guard.open_stream("Go.") as stream:
        stream.feed("0123456789")
        assert not stream.is_stopped
        assert stream.finish() == "0123456789"
