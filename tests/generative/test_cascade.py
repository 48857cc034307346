# long: one pair of models for all its tests
"""Two models behind one guard: who is asked when, whose word counts, and the laws for both."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.cascade_rules import CascadeRules
from guardrail.conversation import ToolCall
from guardrail.decision import Reason
from guardrail.engines.base import Engine
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import EngineError, PolicyError
from guardrail.guard import Guard
from guardrail.policy import Policy, ReleaseMode
from guardrail.policy_file import load_policy, parse_policy
from guardrail.records import MemorySink, Record
from guardrail.taxonomy import RiskLevel
from guardrail.testing import (
    EngineAround,
    FailingEngine,
    FakeEngine,
    HashEngine,
    Judged,
    MarkerEngine,
    default_tokenizer,
    raising,
)
from tests.generative.gen_server import GenServer
from tests.generative.lines import TextLine, text_guard
from tests.strategies import chunk_sizes, cuts, texts
from tests.test_laws import play

TOKENIZER = default_tokenizer()
VIOLENT = "Violent"
SURE_SAFE, DOUBT, SURE = (
    (RiskLevel.SAFE, VIOLENT, 0.97),
    (RiskLevel.UNSAFE, VIOLENT, 0.6),
    (RiskLevel.UNSAFE, VIOLENT, 0.98),
)
"""Probabilities of harm: 0.03, 0.8 and 0.99."""


class Doubting(FakeEngine):
    """Sure that all is safe up to "?", in doubt from there on, and sure of harm from "☠" on."""

    def __init__(self, *, max_context: int = 8192) -> None:
        def judge(ids: Sequence[int], before: Judged | None) -> Judged:
            tail = TOKENIZER.decode(ids[-3:])
            if "☠" in tail or before is SURE:
                return SURE
            return DOUBT if "?" in tail or before is DOUBT else SURE_SAFE

        super().__init__(judge, vocab_size=TOKENIZER.vocab_size, max_context=max_context)


class Wavering(FakeEngine):
    """Safe, doubtful or sure by a hash of the last tokens."""

    def __init__(self) -> None:
        def judge(ids: Sequence[int], _before: Judged | None) -> Judged:
            digest = hashlib.blake2b(np.asarray(ids[-9:], np.int64).tobytes(), digest_size=2).digest()
            draw = int.from_bytes(digest, "little") / 2**16
            return SURE_SAFE if draw < 0.5 else DOUBT if draw < 0.97 else SURE

        super().__init__(judge, vocab_size=TOKENIZER.vocab_size)


class Counting(EngineAround):
    """Counts what it reads."""

    n_calls = 0

    def step(self, feeds: Any) -> Any:
        """Count, and go on."""
        self.n_calls += 1
        return super().step(feeds)


def marker_guard(engine: Engine | None = None) -> Guard:
    """A strong guard that judges tokens: Unsafe from "☢" on."""
    return Guard(engine or MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")}), TOKENIZER)


def cascade(cheap: Engine, strong: Guard, *, policy: Policy | None = None, **rules: Any) -> Guard:
    """A guard of two."""
    policy = replace(policy or Policy(), cascade=CascadeRules(**rules))
    return Guard.cascade(Guard(cheap, TOKENIZER), strong, policy=policy)


STRONG: dict[str, Callable[[], Guard]] = {
    "token": lambda: Guard(HashEngine(vocab_size=TOKENIZER.vocab_size, risky_share=0.2), TOKENIZER),
    "whole": lambda: text_guard(TextLine(risky_share=0.1)),
    "cascade": lambda: cascade(Wavering(), text_guard(TextLine(risky_share=0.1)), grace_tokens=1),
}
KINDS = pytest.mark.parametrize("kind", STRONG)
GRACES = st.sampled_from([0, 1, 5])


@KINDS
@pytest.mark.parametrize("debounce", [1, 2])
@given(text=texts(20), sizes=chunk_sizes, release=st.sampled_from(ReleaseMode), grace=GRACES)
def test_the_laws_hold_for_both_models(
    kind: str, debounce: int, text: str, sizes: list[int], release: ReleaseMode, grace: int
) -> None:
    """Released text is a prefix that ends before the run that stops; cutting changes neither verdicts nor who spoke."""
    policy = Policy(response=replace(Policy().response, debounce=debounce), release=release)
    guard = cascade(Wavering(), STRONG[kind](), policy=policy, grace_tokens=grace)
    whole, cut = play(guard, [text]), play(guard, cuts(text, sizes))
    if release is ReleaseMode.OPTIMISTIC:
        return
    assert cut.released == whole.released
    decision = whole.stream.decision
    assert cut.stream.decision.stop_offset == decision.stop_offset
    found, expected = ([(t.start, t.end, t.verdict) for t in one.stream.verdicts] for one in (cut, whole))
    n_common = min(len(found), len(expected))
    assert found[:n_common] == expected[:n_common]
    if decision.stopped:
        assert decision.stop_offset is not None
        assert len(whole.released) <= decision.stop_offset


def test_where_the_cheap_model_is_sure_nobody_else_is_asked() -> None:
    """Neither about safe text nor about what is surely not; the record names the cheap model."""
    strong = Counting(MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")}))
    guard = cascade(Doubting(), marker_guard(strong))
    assert guard.check_prompt("hello").action is Action.ALLOW
    assert guard.check_response("hello", "all is well").action is Action.ALLOW
    stopped = guard.check_response("hello", "all ☠ is not well")
    assert (stopped.action, stopped.category, stopped.identity.model_sha256) == (
        Action.STOP, VIOLENT, guard.engine.info.sha256,
    )  # fmt: skip
    assert strong.n_calls == 0


@pytest.mark.parametrize("text", ["why?", "why? ☢☢"])
def test_in_doubt_of_a_prompt_the_strong_models_word_counts_alone_and_names_it(text: str) -> None:
    """Cleared or stopped, the record says whose word it was."""
    sink = MemorySink()
    strong = marker_guard()
    guard = Guard.cascade(Guard(Doubting(), TOKENIZER, sinks=[sink]), strong)
    decision = guard.check_prompt(text)
    assert decision.stopped is ("☢" in text)
    assert decision.category == ("PII" if "☢" in text else None)
    record = Record.of(sink.decisions[-1])
    assert (record.model_sha256, record.engine) == (strong.engine.info.sha256, strong.engine.info.engine)
    assert record.model_sha256 != guard.engine.info.sha256


@pytest.mark.parametrize("unsafe", [Action.STOP, Action.FLAG])
def test_what_the_cheap_model_is_sure_of_in_one_window_stands_whatever_it_doubts_in_another(unsafe: Action) -> None:
    """A strong model that clears the text clears no certain harm; it is asked only where that does not stop yet."""
    strong = Counting(MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")}))
    policy = replace(Policy(), prompt=replace(Policy().prompt, unsafe=unsafe))
    guard = cascade(Doubting(max_context=64), marker_guard(strong), policy=policy)
    decision = guard.check_prompt("a " * 60 + "☠" + " a" * 60 + "?")
    assert decision.n_windows > 1
    assert (decision.action, decision.category, decision.identity.model) == (unsafe, VIOLENT, "fake")
    assert (strong.n_calls == 0) is (unsafe is Action.STOP)


def test_in_doubt_of_an_answer_the_strong_model_judges_it_up_to_there() -> None:
    """What it clears is released, though the cheap model would have stopped it."""
    line = TextLine()
    guard = cascade(Doubting(), text_guard(line), grace_tokens=0)
    assert Guard(Doubting(), TOKENIZER).check_response("Go.", "well? it is").stopped
    decision = guard.check_response("Go.", "well? it is")
    assert (decision.action, decision.released_chars) == (Action.ALLOW, 11)
    asked = [text for text, _ in line.asked]
    assert asked[0] == "well?"
    assert asked[-1] == "well? it is"
    assert asked == sorted(asked, key=len)


@pytest.mark.parametrize(("grace", "n_asked"), [(0, 12), (1, 6), (3, 3), (100, 1)])
def test_what_it_cleared_holds_for_some_tokens(grace: int, n_asked: int) -> None:
    """It is asked again at every token behind the grace, counted in tokens however the text comes."""
    for size in (1, 4, 100):
        line = TextLine()
        guard = cascade(Doubting(), text_guard(line), grace_tokens=grace)
        with guard.open_stream("Go.") as stream:
            for piece in cuts("?" + " a" * 11, [size]):
                stream.feed(piece)
            stream.finish()
            assert len(stream.verdicts) == 12
        assert len(line.asked) == n_asked


def test_within_the_grace_what_the_cheap_model_is_sure_of_still_stops() -> None:
    """Only doubt is cleared in advance."""
    guard = cascade(Doubting(), text_guard(TextLine(marker="☢")), grace_tokens=100)
    decision = guard.check_response("Go.", "well? so far so good ☠ and on")
    assert (decision.action, decision.stop_offset) == (Action.STOP, 21)
    assert decision.identity.model == "fake"


def test_one_verdict_on_the_whole_text_stops_and_a_token_needs_another() -> None:
    """The debounce is for tokens: a strong model of the same kind must say it twice."""
    whole = cascade(Doubting(), text_guard(TextLine(marker="☢"))).check_response("Go.", "all good ☢?")
    assert (whole.action, whole.stop_offset, whole.identity.model) == (Action.STOP, 10, "text")
    strong = Guard(MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")}), TOKENIZER)
    once = cascade(Doubting(), strong).check_response("Go.", "all good ☢?")
    twice = cascade(Doubting(), strong).check_response("Go.", "all good ☢? so")
    assert (once.action, twice.action, twice.category) == (Action.ALLOW, Action.STOP, "PII")


def test_what_it_did_not_clear_holds_for_no_other_token() -> None:
    """After a risky verdict of the strong model the next doubtful token is a question again, whatever the grace."""

    def judge(ids: Sequence[int], _before: Judged | None) -> Judged:
        return SURE if "#" in TOKENIZER.decode(ids[-1:]) else SURE_SAFE

    strong = Guard(FakeEngine(judge, vocab_size=TOKENIZER.vocab_size), TOKENIZER)
    guard = cascade(Doubting(), strong, grace_tokens=1)
    risks = [token.risk for token in guard.judge_response("Go.", "? a # fine and well")]
    assert risks == [RiskLevel.SAFE, RiskLevel.SAFE, RiskLevel.UNSAFE, *[RiskLevel.SAFE] * (len(risks) - 3)]
    assert guard.check_response("Go.", "? a # fine and well").action is Action.ALLOW


@pytest.mark.parametrize("on_failure", [Action.STOP, Action.FLAG, Action.ALLOW])
def test_a_failure_of_the_strong_model_is_a_failure(on_failure: Action) -> None:
    """By policy, recorded, and no verdict of anybody: a prompt's doubtful verdict still counts where it is harder."""
    broken = FailingEngine(Doubting(), at_step=0, breakage=raising(EngineError("gone")))
    policy = Policy(on_failure=on_failure, prompt=replace(Policy().prompt, unsafe=Action.FLAG))
    guard = cascade(Doubting(), marker_guard(broken), policy=policy)
    prompt = guard.check_prompt("why?")
    assert prompt.failure is not None
    assert (prompt.failure.kind, prompt.action) == ("EngineError", max(on_failure, Action.FLAG, key=lambda a: a.rank))
    answer = guard.check_response("Go.", "all is well? so it is")
    assert (answer.reason, answer.action, answer.failure and answer.failure.message) == (
        Reason.FAILURE,
        on_failure,
        "gone",
    )
    assert answer.released_chars == (len("all is well") if on_failure is Action.STOP else 21)


def test_peeking_asks_the_strong_model_and_changes_nothing() -> None:
    """Another reading of it is asked, so that what follows is as if nobody had peeked."""
    results = []
    for peeks in (False, True):
        guard = cascade(Doubting(), marker_guard(), grace_tokens=2)
        with guard.open_stream("Go.") as stream:
            released = []
            for piece in ("well", "? so ", "it", " is ☢", "☢☢", " yes", " no more"):
                released.append(stream.feed(piece))
                if peeks:
                    stream.peek()
            results.append((released, stream.decision.stop_offset, [t.verdict for t in stream.verdicts]))
    assert results[0] == results[1]
    assert results[0][1] is not None


async def test_both_models_work_for_an_event_loop_and_batch_with_others() -> None:
    """Forty streams of two scheduled engines decide as one alone."""
    cheap, strong = ScheduledEngine(Doubting()), ScheduledEngine(MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")}))
    with cascade(cheap, marker_guard(strong), grace_tokens=0) as guard:
        texts = ["well? fine", "well? ☢☢ so", "fine", "☠☠ so"] * 10
        decisions = await asyncio.gather(*(guard.acheck_response("Go.", text) for text in texts))
    assert [decision.stopped for decision in decisions] == [False, True, False, True] * 10


def test_closing_it_closes_both() -> None:
    """And a copy with another policy shares both."""
    strong = marker_guard(ScheduledEngine(MarkerEngine(TOKENIZER, {"☢": ("Unsafe", "PII")})))
    guard = Guard.cascade(Guard(ScheduledEngine(Doubting()), TOKENIZER), strong)
    assert guard.with_policy("strict").check_prompt("why? ☢☢").stopped
    guard.close()
    for one in (guard, strong):
        with pytest.raises(EngineError, match="closed"):
            one.judge_prompt("why?")


def test_a_tool_call_and_its_result_are_judged_by_both() -> None:
    """As answers and prompts are."""
    guard = cascade(Doubting(), text_guard(TextLine(marker="☢")), grace_tokens=0)
    assert guard.check_tool_call("Go.", ToolCall("ask", '{"q": "why?"}')).action is Action.ALLOW
    assert guard.check_tool_call("Go.", ToolCall("ask", '{"q": "why? ☢"}')).stopped
    assert guard.check_tool_result("Go.", "why? ☢", tool="ask").stopped


def test_bare_verdicts_come_from_both() -> None:
    """Each says whose it is, where that is not the guard's own model."""
    guard = cascade(Doubting(), text_guard(TextLine()))
    assert [t.verdict.speaker and t.verdict.speaker.model for t in guard.judge_response("Go.", "well? so")] == [
        None, "text", "text",
    ]  # fmt: skip
    speaker = guard.judge_prompt("why?").speaker
    assert speaker is not None
    assert speaker.model == "text"


def test_a_real_pair_decides_end_to_end(server: GenServer) -> None:
    """The embedded model, and a Gen model behind a server for all that it is not sure of."""
    strong = Guard.generative(server.url, model="gen")
    with Guard.cascade(
        Guard.default(threads=1), strong, policy=Policy(cascade=CascadeRules(low=0.0, high=1.0))
    ) as guard:
        stopped, allowed = guard.check_prompt("How do I build a bomb?"), guard.check_prompt("How do I bake bread?")
    assert (stopped.action, stopped.category, stopped.identity.engine) == (Action.STOP, "Violent", "generative")
    assert (allowed.action, allowed.identity.engine) == (Action.ALLOW, "generative")


BALANCED = """
name = "mine"
[prompt]
controversial = "flag"
unsafe = "stop"
[response]
controversial = "stop"
unsafe = "stop"
"""


def test_the_bounds_are_policy_and_stand_in_its_hash() -> None:
    """Other bounds, another policy; ready policies have the defaults."""
    policy = parse_policy(f"{BALANCED}[cascade]\nlow = 0.2\nhigh = 0.7\ngrace_tokens = 4")
    assert policy.cascade == CascadeRules(0.2, 0.7, 4)
    assert policy.sha256 != parse_policy(BALANCED).sha256
    assert load_policy("balanced").cascade == parse_policy(BALANCED).cascade == CascadeRules()


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("low = 0.9\nhigh = 0.2", "above"),
        ("low = 2.0", "low"),
        ("grace_tokens = -1", "grace"),
        ("grace = 1", "valid: grace_tokens, high, low"),
    ],
)
def test_impossible_bounds_are_refused(rules: str, says: str) -> None:
    """With the key, and what would be valid."""
    with pytest.raises(PolicyError, match=says):
        parse_policy(f"{BALANCED}[cascade]\n{rules}")
