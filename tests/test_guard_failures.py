"""What must hold when something goes wrong: interrupted calls, engines at their worst, misshapen input."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from guardrail.actions import Action
from guardrail.conversation import Message, Role
from guardrail.decision import Reason
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Feed, Logits
from guardrail.errors import ConversationError, EngineError, PolicyError, StreamError
from guardrail.guard import Guard
from guardrail.policy import CategoryRule, Policy, ReleaseMode, Rules
from guardrail.policy_file import load_policy, parse_policy
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, FakeSession, HashEngine, MarkerEngine, raising

RISKY = {"☠": ("Unsafe", "Violent"), "⚠": ("Controversial", "PII")}

RULES = """
[prompt]
controversial = "flag"
unsafe = "stop"
[response]
controversial = "stop"
unsafe = "stop"
"""


def marker_guard(tokenizer: GuardTokenizer, policy: Policy | None = None, **settings: int) -> tuple[Guard, MemorySink]:
    """A guard that stops at a skull, with its records."""
    sink = MemorySink()
    return Guard(MarkerEngine(tokenizer, RISKY, **settings), tokenizer, policy=policy or Policy(), sinks=[sink]), sink


class Gated(MarkerEngine):
    """Holds every step after the first until it is let go."""

    def __init__(self, tokenizer: GuardTokenizer) -> None:
        super().__init__(tokenizer, RISKY)
        self.inside, self.go_on, self.closed_inside = threading.Event(), threading.Event(), False

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Wait, then judge."""
        if feeds[0].session.length:
            self.inside.set()
            self.go_on.wait(5)
        try:
            return super().step(feeds)
        except EngineError:
            self.closed_inside = True
            raise


def test_reasoning_that_ends_in_newlines_leaks_nothing(tokenizer: GuardTokenizer) -> None:
    """The template drops trailing newlines of reasoning; the spans before them stay where they are."""
    guard, _ = marker_guard(tokenizer)
    stream = guard.open_stream("hi")
    released = stream.feed("ok ?!☠☠☠☠\n\n\n\n", thinking=True) + stream.feed("x") + stream.finish()
    assert stream.is_stopped
    assert "☠" not in released
    assert stream.decision.stop_offset == len(released)


def test_the_window_that_the_policy_minds_most_counts(tokenizer: GuardTokenizer) -> None:
    """An allowed category in one window hides no forbidden one in another, however the model ranks them."""
    rules = Rules(categories={"Violent": CategoryRule(controversial=Action.ALLOW, unsafe=Action.ALLOW)})
    guard, _ = marker_guard(tokenizer, Policy(prompt=rules), max_context=128)
    for text in ("☠ " + "word " * 400 + "⚠", "⚠ " + "word " * 400 + "☠"):
        decision = guard.check_prompt(text)
        assert (decision.action, decision.category) == (Action.STOP, "PII")


def test_what_was_read_before_a_failure_counts(tokenizer: GuardTokenizer) -> None:
    """A poisoned tool result stops the prompt even if the next one cannot be read and failures are let pass."""
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=1, breakage=raising(RuntimeError()))
    guard = Guard(engine, tokenizer, policy=Policy(on_failure=Action.ALLOW))
    results = [{"role": "tool", "content": "x ☠"}, {"role": "tool", "content": "fine"}]
    decision = guard.check_prompt([{"role": "user", "content": "go"}, *results])
    assert (decision.action, decision.reason, decision.category) == (Action.STOP, Reason.VERDICT, "Violent")
    assert decision.failure is not None
    assert decision.n_windows == 1


def test_a_task_cancelled_twice_still_waits_for_its_step(tokenizer: GuardTokenizer) -> None:
    """The session is freed only when no step uses it any more; the stream is stopped and recorded."""
    engine, sink = Gated(tokenizer), MemorySink()
    guard = Guard(engine, tokenizer, sinks=[sink])

    async def run() -> None:
        stream = await guard.aopen_stream("hi")
        task = asyncio.create_task(stream.afeed("one two three "))
        await asyncio.to_thread(engine.inside.wait, 5)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        engine.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (stream.is_stopped, await stream.afeed("more"), await stream.afinish()) == (True, "", "")

    asyncio.run(run())
    assert not engine.closed_inside
    assert [decision.reason for decision in sink.decisions] == [Reason.FAILURE]


def test_text_of_an_interrupted_call_counts_as_withheld(tokenizer: GuardTokenizer) -> None:
    """It was cleared, but the caller never got it."""
    text = "word " * 400  # more than one step
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=2, breakage=raising(KeyboardInterrupt()))
    stream = Guard(engine, tokenizer).open_stream("hi")
    with pytest.raises(KeyboardInterrupt):
        stream.feed(text)
    assert stream.decision.n_tokens > 0
    assert (stream.decision.released_chars, stream.decision.withheld_chars) == (0, len(text))
    assert (stream.feed("more"), stream.finish()) == ("", "")


def test_in_shadow_mode_too_an_interrupted_call_released_nothing(tokenizer: GuardTokenizer) -> None:
    """The failure stops nothing there, and still nobody got the text of the call."""
    sink = MemorySink()
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=2, breakage=raising(KeyboardInterrupt()))
    stream = Guard(engine, tokenizer, policy="shadow", sinks=[sink]).open_stream("hi")
    with pytest.raises(KeyboardInterrupt):
        stream.feed("word " * 400)
    assert [(d.released_chars, d.withheld_chars, d.unjudged_chars) for d in sink.decisions] == [(0, 2000, 0)]


@pytest.mark.parametrize("on_failure", [Action.STOP, Action.ALLOW])
def test_an_interrupted_prompt_check_is_recorded(tokenizer: GuardTokenizer, on_failure: Action) -> None:
    """Nobody gets the decision, so the record must tell, and nothing counts as released."""
    sink = MemorySink()
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=0, breakage=raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        Guard(engine, tokenizer, policy=Policy(on_failure=on_failure), sinks=[sink]).check_prompt("hi")
    assert [(d.action, d.reason, d.released_chars) for d in sink.decisions] == [(Action.STOP, Reason.FAILURE, 0)]


class Junk(MarkerEngine):
    """Answers with something that is no logits, or cannot even be opened."""

    answer: object = None

    def open(self) -> FakeSession:
        """Start a session, or fail."""
        if self.answer == "unopenable":
            raise MemoryError
        return super().open()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step, and answer junk."""
        super().step(feeds)
        return self.answer  # type: ignore[return-value]  # the point of it


@pytest.mark.parametrize("answer", ["unopenable", None, 3, [None], ["logits"]], ids=str)
def test_an_engine_that_breaks_its_protocol_is_a_recorded_failure(tokenizer: GuardTokenizer, answer: object) -> None:
    """No traceback of its own, no verdict: the gate closes, in both directions."""
    engine = Junk(tokenizer, RISKY)
    engine.answer = answer
    sink = MemorySink()
    guard = Guard(engine, tokenizer, sinks=[sink])
    decisions = [guard.check_prompt("hi"), guard.check_response("hi", "hello")]
    assert [(d.action, d.reason) for d in decisions] == [(Action.STOP, Reason.FAILURE)] * 2
    assert len(sink.decisions) == 2
    with pytest.raises(EngineError):
        guard.judge_response("hi", "hello")


def test_the_reason_is_that_of_the_gravest_action(tokenizer: GuardTokenizer) -> None:
    """A flag for held text does not explain a stop for a verdict."""
    guard, _ = marker_guard(tokenizer, Policy(max_held_chars=20, on_held=Action.FLAG))
    stream = guard.open_stream("hi")
    for char in "a" * 40 + " ☠ and so on":
        stream.feed(char)
    assert (stream.decision.action, stream.decision.reason) == (Action.STOP, Reason.VERDICT)


def test_a_conversation_that_fits_is_read_whole_before_an_answer(tokenizer: GuardTokenizer) -> None:
    """No turn is dropped while everything fits; an answer that outgrows the rest slides."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, max_context=256)
    guard = Guard(engine, tokenizer, policy=Policy(enforce=False))
    turns = [{"role": "user", "content": "word " * 90}, {"role": "assistant", "content": "yes"}] * 2
    messages = [*turns, {"role": "user", "content": "hi"}]
    short, long = guard.check_response(messages, "no"), guard.check_response(messages, "word " * 200)
    assert (short.n_dropped_turns, short.n_windows) == (0, 1)
    assert long.n_windows > 1


@pytest.mark.parametrize(
    "conversation",
    [None, 3, b"hi", {"role": "user", "content": "hi"}, [None], ["hi"], [{"role": ["user"], "content": "hi"}],
     [{"content": "hi"}], [{"role": "user", "content": b"hi"}], [{"role": "user", "content": 3}],
     [{"role": "user", "content": "hi", "tool_calls": 3}], [{"role": "user", "content": "hi", "tool_calls": [3]}],
     [{"role": "user", "content": "hi", "tool_calls": [{"function": None}]}],
     [{"role": "assistant", "content": "hi", "reasoning_content": 3}, {"role": "user", "content": "hi"}]],
    ids=repr,
)  # fmt: skip
def test_misshapen_conversations_are_named(tokenizer: GuardTokenizer, conversation: object) -> None:
    """A clear error of ours in every entrance, and no record, since nothing was judged."""
    guard, sink = marker_guard(tokenizer)
    for call in (guard.check_prompt, guard.judge_prompt, guard.open_stream):
        with pytest.raises(ConversationError):
            call(conversation)  # type: ignore[arg-type]
    assert not sink.decisions


def test_messages_check_their_fields() -> None:
    """A role may be given by its name; what is neither role nor text is refused."""
    assert Message("user", "hi").role is Role.USER  # type: ignore[arg-type]
    for role, content in (("robot", "hi"), (None, "hi"), ("user", None)):
        with pytest.raises(ConversationError):
            Message(role, content)  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", [None, 3, ["a"]])
def test_a_delta_that_is_no_text_leaves_the_stream_as_it_was(tokenizer: GuardTokenizer, delta: object) -> None:
    """The caller's bug, told before anything is touched."""
    guard, _ = marker_guard(tokenizer)
    stream = guard.open_stream("hi")
    released = stream.feed("one ")
    with pytest.raises(StreamError):
        stream.feed(delta)  # type: ignore[arg-type]
    assert released + stream.feed(bytearray(b"two")) + stream.finish() == "one two"


def test_half_a_character_before_text_is_not_kept_for_later_bytes(tokenizer: GuardTokenizer) -> None:
    """Order of the text is order of arrival."""
    guard, _ = marker_guard(tokenizer)
    stream = guard.open_stream("hi")
    released = stream.feed(b"a\xe4") + stream.feed("b") + stream.feed(b"\xb8\xad") + stream.finish()
    assert released == "a\ufffdb\ufffd\ufffd"


def test_a_busy_stream_cannot_be_closed(tokenizer: GuardTokenizer) -> None:
    """Closing is one caller's turn too."""
    engine = Gated(tokenizer)
    stream = Guard(engine, tokenizer).open_stream("hi")
    thread = threading.Thread(target=stream.feed, args=("one two three ",))
    thread.start()
    engine.inside.wait(5)
    with pytest.raises(StreamError):
        stream.close()
    engine.go_on.set()
    thread.join()
    stream.close()


def test_policies_take_plain_words_and_refuse_unknown_ones() -> None:
    """A misspelt word must never switch a protection off."""
    rules = Rules(unsafe="stop", controversial="flag")  # type: ignore[arg-type]  # the point of it
    policy = Policy(release="answer", on_failure="flag", response=rules)  # type: ignore[arg-type]
    assert policy.release is ReleaseMode.ANSWER
    assert policy.on_failure is Action.FLAG
    assert policy.response.controversial is Action.FLAG
    for changes in ({"release": "tokens"}, {"on_failure": "STOP"}, {"enforce": "off"}, {"max_held_chars": "3"}):
        with pytest.raises(PolicyError):
            replace(Policy(), **changes)  # type: ignore[arg-type]
    for wrong in (
        {"unsafe": "halt"},
        {"unsafe": None},
        {"debounce": "2"},
        {"debounce": True},
        {"unsafe_threshold": "0.5"},
    ):
        with pytest.raises(PolicyError):
            Rules(**wrong)


@pytest.mark.parametrize("line", ["enforce = 0", 'enforce = "off"', "judge_system = 1", 'max_held_chars = "3"'])
def test_policy_files_take_no_value_of_another_type(line: str) -> None:
    """A quoted number or a number for a switch is refused."""
    with pytest.raises(PolicyError):
        parse_policy(f'name = "mine"\n{line}\n{RULES}')


def test_a_category_may_stand_once_in_a_policy_file() -> None:
    """Two spellings of one category would overwrite each other."""
    twice = '[response.categories.Violent]\nunsafe = "stop"\n[response.categories.violent]\nunsafe = "allow"\n'
    with pytest.raises(PolicyError, match="twice"):
        parse_policy(f'name = "mine"\n{RULES}{twice}')


@pytest.mark.parametrize("source", ["x" * 5000, "nul\0byte", "", ".", "missing.toml"], ids=lambda s: s[:8] or "empty")
def test_what_is_no_policy_is_a_policy_error(source: str) -> None:
    """No traceback of the file system."""
    with pytest.raises(PolicyError):
        load_policy(source)
