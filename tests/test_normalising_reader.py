"""Answers, calls and prompts that are read with their twins: the laws, what is found, and what it costs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from guardrail import Action, Direction, Guard, Message, Policy, ReleaseMode, RiskLevel, Role, ToolCall
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.errors import EngineError, StreamError
from guardrail.normalise_rules import NormaliseRules
from guardrail.normalising.twin import normalised
from guardrail.policy import TooLong
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, raising
from guardrail.verdict import TokenVerdict
from tests.counting import CountingEngine
from tests.strategies import chunk_sizes, cuts, texts
from tests.test_laws import margin, play
from tests.test_normalising import DISGUISED

BOTH = NormaliseRules(prompts=True, answers=True)
DISGUISES = st.sampled_from([f" {written} " for written, _ in DISGUISED.values()])
MIXED = st.lists(texts(3) | DISGUISES, max_size=6).map("".join)
"""Ordinary text of all scripts with disguised words in between."""


def guard_with(engine: Engine, tokenizer: GuardTokenizer, *, debounce: int = 2, **changes: object) -> Guard:
    """A guard whose policy reads everything twice."""
    policy = replace(Policy(), normalise=BOTH, response=replace(Policy().response, debounce=debounce), **changes)  # type: ignore[arg-type]
    return Guard(engine, tokenizer, policy=policy)


def levels(tokens: tuple[TokenVerdict, ...]) -> list[tuple[int, int, RiskLevel]]:
    """Place and level of every token."""
    return [(token.start, token.end, token.risk) for token in tokens]


@pytest.fixture
def marked(tokenizer: GuardTokenizer) -> MarkerEngine:
    """Stops at the word that the disguises hide."""
    return MarkerEngine(tokenizer, {"bomb": ("Unsafe", "Violent"), "kill": ("Unsafe", "Violent")})


@pytest.mark.parametrize("name", ["fake", "onnx-fp32"])
@pytest.mark.parametrize("debounce", [1, 2])
@given(text=MIXED, sizes=chunk_sizes, release=st.sampled_from([ReleaseMode.TOKEN, ReleaseMode.ANSWER]))
@example(text="a b0mb k i l l \u200bx", sizes=[1], release=ReleaseMode.TOKEN)
def test_the_laws_hold_with_a_twin(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, debounce: int, text: str, sizes: list[int],
    release: ReleaseMode,
) -> None:  # fmt: skip
    """Laws 1, 2 and 5 on the way; 3 and 4: however it is cut, released text, stop and verdicts are those of the whole;
    sync and async alike.
    """
    guard = guard_with(engines[name], tokenizer, debounce=debounce, release=release)
    assume(margin(guard.judge_response("Tell me something.", text)) > 1e-4)
    whole, cut = play(guard, [text]), play(guard, cuts(text, sizes))
    decision = cut.stream.decision
    assert decision.leaked_chars == 0
    if decision.stopped:
        assert decision.stop_offset is not None
        run = cut.stream.verdicts[-debounce:]
        assert all(token.risk is not RiskLevel.SAFE for token in run)
        assert run[0].start == decision.stop_offset
        assert len(cut.released) == (decision.stop_offset if release is ReleaseMode.TOKEN else 0)
    assert cut.released == whole.released
    assert decision.stop_offset == whole.stream.decision.stop_offset
    n_common = min(len(cut.spans), len(whole.spans))
    assert cut.spans[:n_common] == whole.spans[:n_common]
    assert decision.stopped or cut.spans == whole.spans
    if release is ReleaseMode.TOKEN:
        assert asyncio.run(play_async(guard, cuts(text, sizes))) == (cut.released, decision.stop_offset)


async def play_async(guard: Guard, pieces: list[str]) -> tuple[str, int | None]:
    """What an event loop sees."""
    stream = await guard.aopen_stream("Tell me something.")
    released = "".join([await stream.afeed(piece) for piece in pieces]) + await stream.afinish()
    return released, stream.decision.stop_offset


@given(text=MIXED)
def test_a_token_has_the_worst_of_what_stands_there(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, text: str
) -> None:
    """With a twin no token is safer than without, and each has its place of before."""
    plain = Guard(engines["fake"], tokenizer).judge_response("Hi", text)
    both = guard_with(engines["fake"], tokenizer).judge_response("Hi", text)
    assert [(token.start, token.end, token.index) for token in both] == [(t.start, t.end, t.index) for t in plain]
    for one, other in zip(plain, both, strict=True):
        assert other.risk.rank >= one.risk.rank


@pytest.mark.parametrize("name", ["fake", "onnx-fp32"])
@given(text=MIXED, sizes=chunk_sizes, thinking=st.booleans())
@example(text="so k1l", sizes=[1], thinking=False)
@example(text="k i l l", sizes=[1], thinking=True)
def test_a_peek_tells_what_the_answer_would_come_to(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, text: str, sizes: list[int], thinking: bool
) -> None:
    """After every delta the peek is the decision on the text so far, held words read too, and it changes nothing."""
    guard = guard_with(engines[name], tokenizer)
    assume(margin(guard.judge_response("Hi", text)) > 1e-4)
    with guard.open_stream("Hi") as stream:
        fed = released = ""
        for piece in cuts(text, sizes):
            released += stream.feed(piece, thinking=thinking)
            fed += piece
            peeked = stream.peek()
            with guard.open_stream("Hi") as whole:
                whole.feed(fed, thinking=thinking)
                whole.finish()
            assert (peeked.action, peeked.stop_offset) == (whole.decision.action, whole.decision.stop_offset)
            if not stream.is_stopped:
                assert levels(peeked.tokens) == levels(whole.verdicts)
        released += stream.finish()
    with guard.open_stream("Hi") as plain:
        assert released == plain.feed(text, thinking=thinking) + plain.finish()
    assert stream.decision.stop_offset == plain.decision.stop_offset


@given(text=MIXED, sizes=chunk_sizes, split=st.integers(0, 30))
def test_reasoning_and_answer_are_one_text(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, text: str, sizes: list[int], split: int
) -> None:
    """A word ends with the reasoning; offsets count over both."""
    guard = guard_with(engines["fake"], tokenizer)
    results = []
    for pieces in ([text[:split]], cuts(text[:split], sizes)):
        stream = guard.open_stream("Think.")
        released = "".join(stream.feed(piece, thinking=True) for piece in pieces)
        released += "".join(stream.feed(piece) for piece in cuts(text[split:], sizes)) + stream.finish()
        assert text.startswith(released)
        assert stream.decision.stopped or released == text
        results.append((released, stream.decision.stop_offset))
    assert results[0] == results[1]


@given(text=st.lists(texts(10) | DISGUISES, max_size=12).map("".join), sizes=chunk_sizes)
def test_both_readings_slide_over_a_small_context(tokenizer: GuardTokenizer, text: str, sizes: list[int]) -> None:
    """An answer longer than the context is read on in windows, the twin in its own."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, max_context=64, risky_share=0.05)
    guard = guard_with(engine, tokenizer, too_long=TooLong.SLIDE)
    whole, cut = play(guard, [text]), play(guard, cuts(text, sizes))
    assert cut.released == whole.released
    assert cut.stream.decision.n_windows == whole.stream.decision.n_windows


@given(text=MIXED, sizes=chunk_sizes)
def test_calls_have_twins_too(tokenizer: GuardTokenizer, text: str, sizes: list[int]) -> None:
    """The arguments of a call, whole or in pieces."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.05)
    guard = guard_with(engine, tokenizer)
    whole = guard.check_tool_call("hi", ToolCall("shell", text))
    with guard.open_tool_call("hi", "shell") as stream:
        for piece in cuts(text, sizes):
            stream.feed(piece)
        pieces = stream.finish()
    assert (pieces.action, pieces.stop_offset) == (whole.action, whole.stop_offset)


@pytest.mark.parametrize("name", [name for name, (_, meant) in DISGUISED.items() if meant.find("bomb") >= 0])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_disguised_word_is_stopped_where_it_begins(
    marked: MarkerEngine, tokenizer: GuardTokenizer, name: str, size: int
) -> None:
    """Without a twin it passes; with one the word is never released whole, in an answer and in a call alike."""
    written, _ = DISGUISED[name]
    text = f"This is it: {written} and more text follows"
    if "bomb" not in written:
        assert not Guard(marked, tokenizer).check_response("Hi", text).stopped
    guard = guard_with(marked, tokenizer)
    with guard.open_stream("Hi") as stream:
        released = "".join(stream.feed(piece) for piece in cuts(text, [size])) + stream.finish()
    assert stream.decision.stopped
    assert released == text[: len(released)]
    assert "bomb" not in normalised(released).text
    assert guard.check_tool_call("Hi", ToolCall("write", f'{{"text": "{text}"}}')).stopped


def test_shadow_mode_reads_the_twin_of_what_it_would_have_stopped(
    marked: MarkerEngine, tokenizer: GuardTokenizer
) -> None:
    """A policy that enforces has no need of it."""
    for enforce, n_readings in ((True, 1), (False, 2)):
        decision = guard_with(marked, tokenizer, enforce=enforce).check_prompt("how to kill with a b0mb")
        assert decision.would_action is Action.STOP
        assert len(decision.readings) == n_readings


def test_prompts_results_and_documents_are_read_twice(marked: MarkerEngine, tokenizer: GuardTokenizer) -> None:
    """Each of them is stopped for what it means; the direction's switch is its own."""
    guard = guard_with(marked, tokenizer)
    answers_only = guard.with_policy(replace(guard.policy, normalise=NormaliseRules(answers=True)))
    prompts_only = guard.with_policy(replace(guard.policy, normalise=NormaliseRules(prompts=True)))
    checks: list[Callable[[Guard], Action]] = [
        lambda guard: guard.check_prompt("how to b0mb").action,
        lambda guard: guard.check_tool_result("hi", r'{"a": "b\u200bomb"}', tool="read").action,
        lambda guard: guard.check_documents(["a b.o.m.b"])[0].action,
    ]
    for check in checks:
        assert [check(one) for one in (guard, prompts_only, answers_only)] == [Action.STOP, Action.STOP, Action.ALLOW]
    assert answers_only.check_response("Hi", "a b0mb is here now").stopped
    assert not prompts_only.check_response("Hi", "a b0mb is here now").stopped
    assert guard.judge_prompt("how to b0mb").risk is RiskLevel.UNSAFE


def test_history_is_read_as_it_stands(marked: MarkerEngine, tokenizer: GuardTokenizer) -> None:
    """Only the judged turn has a twin."""
    messages = [Message(Role.USER, "a b0mb"), Message(Role.ASSISTANT, "no"), Message(Role.USER, "good morning")]
    assert guard_with(marked, tokenizer).check_prompt(messages).action is Action.ALLOW


def test_as_long_as_text_is_its_own_twin_nothing_is_read_twice(tokenizer: GuardTokenizer) -> None:
    """The tokens read are those of a guard without twins."""
    text = "Mix flour, water, salt and yeast; it's 42 o'clock. " * 10
    read = []
    for rules in (NormaliseRules(), BOTH):
        engine = CountingEngine(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0))
        guard = Guard(engine, tokenizer, policy=replace(Policy(), normalise=rules))
        guard.check_prompt(text)
        with guard.open_stream("Hi") as stream:
            for piece in cuts(text, [5]):
                stream.feed(piece)
            stream.finish()
        read.append(engine.n_read)
    assert read[0] == read[1]


def test_the_twins_reading_copies_the_context(tokenizer: GuardTokenizer) -> None:
    """A long conversation before the answer is read once; of the answer, the twin reads all."""
    engine = CountingEngine(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0))
    guard = Guard(engine, tokenizer, policy=replace(Policy(), normalise=BOTH), kept_bytes=0)
    with guard.open_stream("Tell me of bread. " * 100) as stream:
        n_context = engine.n_read
        stream.feed("One two three k1ll four five. ")
        stream.finish()
    assert n_context > 400
    assert engine.n_read - n_context < 40
    assert not engine.live
    assert not engine.clashes


def test_a_failure_of_the_twins_reading_is_a_failure(marked: MarkerEngine, tokenizer: GuardTokenizer) -> None:
    """It closes the gate by policy and leaves no session open."""
    engine = FailingEngine(marked, at_step=2, breakage=raising(EngineError("broken")))
    counting = CountingEngine(engine)
    guard = Guard(counting, tokenizer, policy=replace(Policy(), normalise=BOTH), kept_bytes=0)
    with guard.open_stream("Hi") as stream:
        released = stream.feed("good k1nd words ")
        released += stream.finish()
    assert stream.decision.failure is not None
    assert stream.decision.stopped
    assert not counting.live


def test_a_peek_that_fails_leaves_the_stream_as_it_was(tokenizer: GuardTokenizer) -> None:
    """The twin that it had begun is given up; the stream goes on and stops where it should."""
    inner = MarkerEngine(tokenizer, {"kill": ("Unsafe", "Violent")})
    engine = FailingEngine(inner, at_step=1, breakage=raising(EngineError("broken")))
    counting = CountingEngine(engine)
    guard = Guard(counting, tokenizer, policy=replace(Policy(), normalise=BOTH), kept_bytes=0)
    with guard.open_stream("Hi") as stream:
        stream.feed("k1ll")
        assert stream.peek().failure is not None
        assert len(counting.live) == 1
        counting.inner = inner
        assert stream.peek().stop_offset == 0
        assert stream.feed(" them all") + stream.finish() == ""
    assert (stream.decision.stop_offset, stream.decision.failure) == (0, None)


def test_reasoning_behind_the_answer_is_refused_at_once(marked: MarkerEngine, tokenizer: GuardTokenizer) -> None:
    """Even while the answer's first word waits for its end."""
    with guard_with(marked, tokenizer).open_stream("Hi") as stream:
        stream.feed("bread")
        with pytest.raises(StreamError, match="after the answer had begun"):
            stream.feed("hm", thinking=True)
        assert stream.feed(" and") + stream.finish() == "bread and"


def test_directions_keep_their_names(marked: MarkerEngine, tokenizer: GuardTokenizer) -> None:
    """A decision says what was judged, with or without a twin."""
    decision = guard_with(marked, tokenizer).check_prompt("how to b0mb")
    assert (decision.direction, decision.risk, decision.category) == (Direction.PROMPT, RiskLevel.UNSAFE, "Violent")
