# long: the facade as a whole, over one fixture
"""The facade: decisions, failures, bad input, records; over fakes that make every case reachable."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from guardrail.actions import Action
from guardrail.decision import Decision, Direction, Reason
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Feed, Logits
from guardrail.errors import ContextOverflow, ConversationError, EngineError, PolicyError, StreamClosed, StreamError
from guardrail.guard import Guard
from guardrail.policy import CategoryRule, OnStop, Policy, ReleaseMode, Rules, TooLong
from guardrail.records import MemorySink
from guardrail.taxonomy import RiskLevel
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, not_a_number, raising, wrong_shape

RISKY = {"☠": ("Unsafe", "Violent"), "⚠": ("Controversial", "PII")}


@pytest.fixture
def make(tokenizer: GuardTokenizer) -> Callable[..., tuple[Guard, MemorySink]]:
    """A guard that stops at a skull and minds a warning sign."""

    def build(*, max_context: int = 8192, **changes: object) -> tuple[Guard, MemorySink]:
        sink = MemorySink()
        engine = MarkerEngine(tokenizer, RISKY, max_context=max_context)
        policy = replace(Policy(), **changes)  # type: ignore[arg-type]
        return Guard(engine, tokenizer, policy=policy, sinks=[sink]), sink

    return build


Make = Callable[..., tuple[Guard, MemorySink]]


def test_a_safe_prompt_is_allowed_and_recorded(make: Make) -> None:
    """The decision carries verdict, identity and counts."""
    guard, sink = make()
    decision = guard.check_prompt("How are you?", conversation_id="c1")
    assert (decision.action, decision.direction, decision.reason) == (Action.ALLOW, Direction.PROMPT, Reason.CLEAR)
    assert (decision.risk, decision.category, decision.conversation_id) == (RiskLevel.SAFE, None, "c1")
    assert decision.released_chars == len("How are you?")
    assert list(sink.decisions) == [decision]


def test_an_unsafe_prompt_is_stopped_and_a_controversial_one_flagged(make: Make) -> None:
    """Balanced: as documented."""
    guard, _ = make()
    stopped, flagged = guard.check_prompt("boom ☠"), guard.check_prompt("hm ⚠")
    assert (stopped.action, stopped.category, stopped.stop_offset) == (Action.STOP, "Violent", 0)
    assert (stopped.released_chars, stopped.withheld_chars) == (0, len("boom ☠"))
    assert (flagged.action, flagged.category, flagged.stop_offset) == (Action.FLAG, "PII", None)


def test_the_worst_of_several_tool_results_counts(make: Make) -> None:
    """Each is read by itself; one poisoned result is enough."""
    guard, _ = make()
    messages = [
        {"role": "user", "content": "go"},
        {"role": "tool", "content": "x ☠"},
        {"role": "tool", "content": "fine"},
    ]
    decision = guard.check_prompt(messages)
    assert decision.stopped
    assert decision.n_windows == 2


def test_system_prompts_are_judged_only_if_the_policy_says_so(make: Make) -> None:
    """The operator's text is context by default."""
    messages = [{"role": "system", "content": "☠ rules"}, {"role": "user", "content": "hi"}]
    marker_in_context, _ = make(judge_system=True)
    assert marker_in_context.check_prompt(messages).stopped


def test_unreadable_parts_are_flagged_by_default(make: Make) -> None:
    """An image is neither safe nor unsafe: it is unjudged, and the record says so."""
    guard, _ = make()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    decision = guard.check_prompt([{"role": "user", "content": content}])
    assert (decision.action, decision.reason, decision.unreadable) == (Action.FLAG, Reason.UNREADABLE, ("image_url",))


def test_a_stream_stops_before_its_first_risky_character(make: Make) -> None:
    """Released text ends where the risk begins; finish adds nothing."""
    guard, sink = make()
    stream = guard.open_stream("hi")
    released = "".join(stream.feed(char) for char in "All is well ☠ until here") + stream.finish()
    assert released == "All is well "
    decision = stream.decision
    assert (decision.stop_offset, decision.category, decision.reason) == (12, "Violent", Reason.VERDICT)
    assert decision.verdict is not None
    assert decision.verdict.risk_probabilities["Unsafe"] > 0.9
    assert decision.released_chars + decision.withheld_chars == len("All is well ☠ until here")
    (recorded,) = sink.decisions
    assert recorded == replace(decision, withheld_chars=recorded.withheld_chars), "written at the stop"


def test_a_checked_response_says_how_much_may_be_shown(make: Make) -> None:
    """check_response is a stream fed at once."""
    guard, sink = make()
    decision = guard.check_response("hi", "Good ☠ bad")
    assert (decision.released_chars, decision.withheld_chars, decision.stop_offset) == (5, 5, 5)
    assert len(sink.decisions) == 1


def test_a_stop_early_in_a_long_answer_spares_the_rest(make: Make) -> None:
    """What follows the stop is never read."""
    guard, _ = make()
    assert guard.check_response("hi", "☠ " + "word " * 5000).n_tokens < 300


def test_bytes_may_be_cut_inside_a_character(make: Make) -> None:
    """Half a UTF-8 sequence waits for its other half; a broken one at the end is shown as U+FFFD."""
    guard, _ = make()
    data = "héllo 中文 😀".encode() + b"\xe4\xb8"
    stream = guard.open_stream("hi")
    released = "".join(stream.feed(data[i : i + 1]) for i in range(len(data))) + stream.finish()
    assert released == "héllo 中文 😀\ufffd"


@pytest.mark.parametrize(
    "text",
    ["", "Something international. " * 40_000, "x" * 50_000, "\ud83d lone \udc00", "nul\x00\x00",
     "e" + "\u0301" * 10_000, " " * 10_000, "\n" * 100, "<|im_end|><think></think>" * 200],
    ids=["empty", "1 MB", "one word", "surrogates", "NUL", "marks", "spaces", "newlines", "control strings"],
)  # fmt: skip
def test_awkward_text_is_read_whole_and_never_lost(make: Make, text: str) -> None:
    """Prompts and answers of any kind: a decision, no traceback, and every character accounted for."""
    guard, _ = make()
    prompt, answer = guard.check_prompt(text), guard.check_response("hi", text)
    for decision in (prompt, answer):
        assert decision.action is Action.ALLOW
        assert decision.released_chars == len(text)
    stream = guard.open_stream("hi")
    half = len(text) // 2
    assert stream.feed(text[:half]) + stream.feed(text[half:]) + stream.finish() == text


def test_a_prompt_beyond_the_context_is_read_in_overlapping_windows(make: Make) -> None:
    """The worst window counts, wherever the risk stands, and the record says how many were read."""
    guard, _ = make(max_context=128)
    for text in ("word " * 400, "☠ " + "word " * 400, "word " * 200 + "☠ " + "word " * 200, "word " * 400 + "☠"):
        decision = guard.check_prompt(text)
        assert decision.stopped == ("☠" in text)
        assert decision.n_windows > 3


def test_old_turns_that_do_not_fit_are_dropped_and_counted(make: Make) -> None:
    """The turn under judgement is always read whole."""
    guard, _ = make(max_context=128)
    history = [{"role": "user", "content": "word " * 30}, {"role": "assistant", "content": "word " * 30}] * 3
    decision = guard.check_prompt(
        [{"role": "system", "content": "Be kind."}, *history, {"role": "user", "content": "hi"}]
    )
    assert decision.n_dropped_turns > 0
    assert decision.n_windows == 1


def test_an_answer_beyond_the_context_stops_if_the_policy_says_so(make: Make) -> None:
    """too_long = "stop": fail closed where the context ends, and say why."""
    guard, _ = make(max_context=128, too_long=TooLong.STOP)
    decision = guard.check_response("hi", "word " * 400)
    assert (decision.action, decision.reason) == (Action.STOP, Reason.TOO_LONG)
    assert decision.failure is not None
    assert decision.failure.kind == "ContextOverflow"
    assert 0 < decision.released_chars < 2000


def test_an_answer_beyond_the_context_slides_by_default(make: Make) -> None:
    """too_long = "slide": read on in windows, find what comes late."""
    guard, _ = make(max_context=128)
    decision = guard.check_response("hi", "word " * 400 + "☠ end")
    assert decision.n_windows > 2
    assert decision.stop_offset == 2000


BREAKAGES = {"raises": raising(RuntimeError("the user wrote SECRET")), "overloaded": raising(EngineError("busy")),
             "nan": not_a_number, "shape": wrong_shape}  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES.keys())
@pytest.mark.parametrize("at_step", [0, 1, 2, 4])
def test_a_failing_engine_closes_the_gate_and_is_recorded(
    tokenizer: GuardTokenizer, breakage: Callable[[list[Logits]], list[Logits]], at_step: int
) -> None:
    """Whenever it fails: nothing unjudged leaves, the record names the failure, no user text in it."""
    sink = MemorySink()
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=at_step, breakage=breakage)
    stream = Guard(engine, tokenizer, sinks=[sink]).open_stream("hi")
    pieces = ["one ", "two ", "three ", "four ", "five "]
    released = "".join(stream.feed(piece) for piece in pieces) + stream.finish()
    decision = stream.decision
    assert "".join(pieces).startswith(released)
    assert released != "".join(pieces)
    assert (decision.action, decision.reason) == (Action.STOP, Reason.FAILURE)
    assert decision.failure is not None
    assert "SECRET" not in decision.failure.message
    (recorded,) = sink.decisions
    assert recorded == replace(decision, withheld_chars=recorded.withheld_chars)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.FLAG])
def test_a_policy_may_let_failures_pass_and_the_record_counts_what_was_unread(
    tokenizer: GuardTokenizer, action: Action
) -> None:
    """Fail open is a choice, visible in every record."""
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=2, breakage=raising(RuntimeError()))
    guard = Guard(engine, tokenizer, policy=replace(Policy(), on_failure=action))
    stream = guard.open_stream("hi")
    assert stream.feed("one ") + stream.feed("two ") + stream.feed("three") + stream.finish() == "one two three"
    assert stream.decision.action is action
    assert stream.decision.unjudged_chars > 0


def test_a_failing_prompt_check_stops_by_default(tokenizer: GuardTokenizer) -> None:
    """A failure is no verdict: risk is unknown, the prompt is stopped."""
    engine = FailingEngine(MarkerEngine(tokenizer, RISKY), at_step=0, breakage=raising(RuntimeError()))
    decision = Guard(engine, tokenizer).check_prompt("hi")
    assert (decision.action, decision.reason, decision.risk, decision.verdict) == (
        Action.STOP,
        Reason.FAILURE,
        None,
        None,
    )
    with pytest.raises(EngineError):
        Guard(engine, tokenizer).judge_prompt("hi")


def test_a_broken_sink_changes_no_decision(tokenizer: GuardTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged without user text and counted; the other sinks still get the decision."""

    class Broken:
        def write(self, decision: Decision, text: str) -> None:
            assert decision.id
            raise OSError(f"disk full while writing {text}")

        def close(self) -> None: ...

    sink = MemorySink()
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, sinks=[Broken(), sink])
    assert guard.check_prompt("SECRET").action is Action.ALLOW
    assert (guard.n_record_failures, len(sink.decisions)) == (1, 1)
    assert "SECRET" not in caplog.text


def test_shadow_never_stops_and_says_where_it_would_have(tokenizer: GuardTokenizer) -> None:
    """The way to roll a guard out."""
    guard = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, policy="shadow")
    decision = guard.check_response("hi", "Good ☠ bad")
    assert (decision.action, decision.would_action, decision.stop_offset) == (Action.FLAG, Action.STOP, 5)
    assert decision.released_chars == 10
    assert guard.check_prompt("☠").action is Action.FLAG


def test_optimistic_mode_counts_leaked_characters(make: Make) -> None:
    """Released at once, stopped when the verdict comes."""
    guard, _ = make(release=ReleaseMode.OPTIMISTIC)
    stream = guard.open_stream("hi")
    assert stream.feed("ok ☠ and more text ") == "ok ☠ and more text "
    assert stream.feed("never") == ""
    assert stream.decision.leaked_chars == len("☠ and more text ")


def test_text_that_stays_unreadable_is_bounded_by_the_policy(make: Make) -> None:
    """An endless word is stopped or flagged at the bound, and its unread part never leaves."""
    guard, _ = make(max_held_chars=50)
    stream = guard.open_stream("hi")
    assert "".join(stream.feed("a") for _ in range(100)) == ""
    assert (stream.decision.action, stream.decision.reason) == (Action.STOP, Reason.HELD)
    guard, _ = make(max_held_chars=50, on_held=Action.FLAG)
    stream = guard.open_stream("hi")
    held = "".join(stream.feed("a") for _ in range(100))
    assert (held, stream.finish(), stream.decision.action) == ("", "a" * 100, Action.FLAG)


def test_after_a_stop_feed_returns_nothing_and_after_finish_it_raises(make: Make) -> None:
    """As settled; a second finish is harmless."""
    guard, _ = make()
    stream = guard.open_stream("hi")
    stream.feed("☠ x ")
    assert stream.is_stopped
    assert (stream.feed("more"), stream.finish(), stream.finish()) == ("", "", "")
    with pytest.raises(StreamClosed):
        stream.feed("x")


def test_a_stream_that_is_left_is_recorded_as_abandoned(make: Make) -> None:
    """A client that stops reading: nothing held leaves, the record says what did."""
    guard, sink = make()
    with guard.open_stream("hi") as stream:
        released = stream.feed("one two thr")
    (decision,) = sink.decisions
    assert (decision.reason, decision.released_chars) == (Reason.ABANDONED, len(released))
    with pytest.raises(StreamClosed):
        stream.feed("x")


def test_a_cancelled_task_shuts_its_stream(tokenizer: GuardTokenizer) -> None:
    """The session's state is unknown afterwards: fail closed, recorded."""
    started, go_on = threading.Event(), threading.Event()

    class Slow(MarkerEngine):
        def step(self, feeds: Sequence[Feed]) -> list[Logits]:
            if started.is_set() is False and feeds[0].session.length:
                started.set()
                go_on.wait(5)
            return super().step(feeds)

    sink = MemorySink()
    guard = Guard(Slow(tokenizer, RISKY), tokenizer, sinks=[sink])

    async def run() -> None:
        stream = await guard.aopen_stream("hi")
        task = asyncio.create_task(stream.afeed("one two three "))
        await asyncio.to_thread(started.wait, 5)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stream.is_stopped

    asyncio.run(run())
    assert sink.decisions[0].failure is not None
    assert sink.decisions[0].failure.kind == "CancelledError"


def test_two_callers_in_one_stream_are_told(tokenizer: GuardTokenizer) -> None:
    """A stream has one caller at a time; the second gets an error, not a mixed-up session."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(MarkerEngine):
        def step(self, feeds: Sequence[Feed]) -> list[Logits]:
            if feeds[0].session.length:
                inside.set()
                go_on.wait(5)
            return super().step(feeds)

    stream = Guard(Slow(tokenizer, RISKY), tokenizer).open_stream("hi")
    first = threading.Thread(target=stream.feed, args=("one two ",))
    first.start()
    inside.wait(5)
    with pytest.raises(StreamError, match="two callers"):
        stream.feed("three ")
    go_on.set()
    first.join()
    assert stream.feed("three ") + stream.finish()


def test_reasoning_after_the_answer_is_refused_and_loses_nothing(make: Make) -> None:
    """A caller's bug: the stream goes on as if it had not happened."""
    guard, _ = make()
    stream = guard.open_stream("hi")
    released = stream.feed("hm ", thinking=True) + stream.feed("one ")
    with pytest.raises(StreamError, match="reasoning"):
        stream.feed("late", thinking=True)
    assert released + stream.feed("two") + stream.finish() == "hm one two"


def test_bare_verdicts_have_names_and_spans(make: Make) -> None:
    """judge_prompt and judge_response: no policy, no record."""
    guard, sink = make()
    assert guard.judge_prompt("x ☠").risk is RiskLevel.UNSAFE
    tokens = guard.judge_response("hi", "Good ☠ bad")
    assert tokens[0].risk_probabilities["Safe"] > 0.9
    assert {t.start for t in tokens if t.risk is RiskLevel.UNSAFE} >= {5}
    assert not sink.decisions
    assert asyncio.run(guard.ajudge_prompt("x ☠")) == guard.judge_prompt("x ☠")
    assert asyncio.run(guard.ajudge_response("hi", "ok")) == guard.judge_response("hi", "ok")


def test_async_checks_decide_as_sync_ones(make: Make) -> None:
    """The twins differ in nothing but await."""
    guard, _ = make()
    for text in ("fine", "☠", "⚠"):
        assert asyncio.run(guard.acheck_prompt(text)).action is guard.check_prompt(text).action
        left, right = asyncio.run(guard.acheck_response("q", text)), guard.check_response("q", text)
        assert (left.action, left.stop_offset) == (right.action, right.stop_offset)


def test_many_threads_and_tasks_share_one_guard(make: Make) -> None:
    """Each conversation gets its own decision."""
    guard, sink = make()
    texts = [f"answer {i} {'☠' if i % 3 == 0 else 'ok'} end" for i in range(60)]

    async def run() -> list[Decision]:
        return await asyncio.gather(*(guard.acheck_response("q", text) for text in texts))

    for text, decision in zip(texts, asyncio.run(run()), strict=True):
        assert decision.stopped == ("☠" in text)
    assert len({decision.stream_id for decision in sink.decisions}) == 60


def test_long_provisional_tails_are_read_early_and_change_no_verdict(tokenizer: GuardTokenizer) -> None:
    """A long clause without spaces warms the cache before its tokens are final; verdicts stay those of the whole."""
    text = "我们今天去公园散步天气很好孩子们在湖边放风筝然后我们一起回家吃晚饭" * 3
    counted = FailingEngine(HashEngine(vocab_size=tokenizer.vocab_size), at_step=10**9, breakage=not_a_number)
    guard = Guard(counted, tokenizer, policy=replace(Policy(), response=Rules(debounce=3)))
    stream = guard.open_stream("hi")
    released = "".join(stream.feed(char) for char in text)
    assert (released, counted.n_steps > 3) == ("", True)
    stream.finish()
    whole = guard.judge_response("hi", text)
    assert stream.verdicts == whole[: len(stream.verdicts)]


def test_a_policy_for_an_unknown_category_is_refused(tokenizer: GuardTokenizer) -> None:
    """A rule that can never apply is a mistake; the valid names are listed."""
    policy = replace(Policy(), response=Rules(debounce=2, categories={"Weather": CategoryRule(unsafe=Action.STOP)}))
    with pytest.raises(PolicyError, match="unknown category 'Weather'"):
        Guard(MarkerEngine(tokenizer, RISKY), tokenizer, policy=policy)


def test_a_guard_can_change_its_policy_without_loading_again(make: Make) -> None:
    """with_policy shares engine and sinks."""
    guard, sink = make()
    assert guard.with_policy("loose").check_prompt("⚠").action is Action.ALLOW
    assert guard.with_policy("strict").check_prompt("⚠").action is Action.STOP
    assert len(sink.decisions) == 2
    assert guard.with_policy("loose", sinks=[]).check_prompt("⚠").action is Action.ALLOW
    assert len(sink.decisions) == 2


def test_messages_that_cannot_be_judged_are_refused(make: Make) -> None:
    """No user turn, no decision: an error of ours."""
    guard, _ = make()
    with pytest.raises(ConversationError):
        guard.check_prompt([])
    with pytest.raises(ConversationError):
        guard.check_prompt([{"role": "assistant", "content": "x"}])


def test_the_guard_is_a_context_manager_and_warms_up(make: Make) -> None:
    """Leaving it frees the engine."""
    guard, _ = make(on_stop=OnStop.RAISE)
    with guard as opened:
        opened.warm_up()


def test_the_open_decision_is_a_preview(make: Make) -> None:
    """Before the end, decision says how things stand and is not recorded."""
    guard, sink = make()
    stream = guard.open_stream("hi")
    stream.feed("one two ")
    assert (stream.decision.action, len(sink.decisions)) == (Action.ALLOW, 0)
    assert stream.released_chars == stream.decision.released_chars


def test_overflow_errors_are_engine_errors() -> None:
    """So that one handler catches every failure of the model."""
    assert issubclass(ContextOverflow, EngineError)
