"""Very long white space and other endless text: work that grows with the text, and a bound on what is held."""

from dataclasses import replace

import pytest

from guardrail import Guard, Policy, Reason, RiskLevel
from guardrail.encoding import REENCODE_ALWAYS_BELOW
from guardrail.engines.base import Engine
from guardrail.normalise_rules import NormaliseRules
from guardrail.testing import FakeEngine, MarkerEngine, default_tokenizer_file
from tests.counting import CountingEngine
from tests.evasion.watched import CountingTokenizer
from tests.strategies import cuts

RUNS = {
    "spaces": " ",
    "newlines": "\n",
    "ideographic spaces": "\u3000",
    "zero-width spaces": "\u200b",
    "spaces and newlines": " \n",
    "marks": "\u0301",
    "one word": "a",
}
POLICIES = {"plain": Policy(), "twin": Policy(normalise=NormaliseRules(prompts=True, answers=True))}
TOKENIZER = CountingTokenizer(default_tokenizer_file().read_text("utf-8"))


@pytest.fixture
def tokenizer() -> CountingTokenizer:
    """Counts from nothing."""
    TOKENIZER.n_chars = TOKENIZER.longest = 0
    return TOKENIZER


def marker_engine() -> Engine:
    """Stops at a marker."""
    return MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")})


def work(policy: Policy, text: str, delta: int) -> tuple[int, int]:
    """Characters encoded and tokens read for an answer in deltas of a size."""
    engine = CountingEngine(
        FakeEngine(lambda _ids, _before: (RiskLevel.SAFE, "Violent", 0.9), vocab_size=TOKENIZER.vocab_size)
    )
    before = TOKENIZER.n_chars
    with Guard(engine, TOKENIZER, policy=policy, kept_bytes=0).open_stream("Hi") as stream:
        released = "".join(stream.feed(piece) for piece in cuts(text, [delta])) + stream.finish()
    assert released == text
    return TOKENIZER.n_chars - before, engine.n_read


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("run", [run for run in RUNS if run != "ideographic spaces"])  # two tokens each
def test_work_grows_with_the_text_and_no_faster(policy: str, run: str) -> None:
    """A run of 9,000 characters takes at most three times the encoding and reading of one of 4,500. Both are beyond
    the 4,096 up to which what waits is encoded anew at every delta; work that grew with the square would take four.
    """
    (once, once_read), (twice, twice_read) = (
        work(POLICIES[policy], (RUNS[run] * n)[:n], delta=400) for n in (4_500, 9_000)
    )
    assert twice <= 3 * once
    assert once <= REENCODE_ALWAYS_BELOW**2 / 400 + 4_500 * 12
    assert twice_read <= 3 * once_read + 100


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("run", ["spaces", "ideographic spaces", "zero-width spaces", "marks", "one word"])
def test_an_endless_run_is_stopped_at_the_policys_bound(tokenizer: CountingTokenizer, policy: str, run: str) -> None:
    """With `max_held_chars`, a hundred thousand characters end the answer at a thousand; the rest is never encoded."""
    engine = CountingEngine(marker_engine())
    guard = Guard(engine, tokenizer, policy=replace(POLICIES[policy], max_held_chars=1000), kept_bytes=0)
    with guard.open_stream("Hi") as stream:
        for piece in cuts("Hello " + RUNS[run] * 100_000, [20]):
            stream.feed(piece)
        stream.finish()
    assert stream.decision.reason is Reason.HELD
    assert stream.decision.stopped
    assert tokenizer.longest <= 1000 + 40
    assert tokenizer.n_chars <= 1040**2 / 20
    assert engine.n_read <= 2 * 1040


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("run", RUNS)
def test_a_marker_behind_a_long_run_stops_where_it_stands(policy: str, run: str) -> None:
    """In an answer that comes in deltas: 3,000 characters of nothing, then a marker, of which nothing is released."""
    text = (RUNS[run] * 3000)[:3000] + " ☠ and on"
    with Guard(marker_engine(), TOKENIZER, policy=POLICIES[policy]).open_stream("Hi") as stream:
        released = "".join(stream.feed(piece) for piece in cuts(text, [97])) + stream.finish()
    assert (stream.decision.stop_offset, stream.decision.leaked_chars) == (3001, 0)
    assert text[:3001].startswith(released)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("run", RUNS)
def test_a_prompt_around_a_long_run_is_judged(tokenizer: CountingTokenizer, policy: str, run: str) -> None:
    """A marker in front of it, in it and behind it is read, and no character more than a few times."""
    guard = Guard(marker_engine(), tokenizer, policy=POLICIES[policy], kept_bytes=0)
    for text in ("☠" + RUNS[run] * 1500, RUNS[run] * 1500 + "☠", RUNS[run] * 750 + "☠" + RUNS[run] * 750):
        assert guard.check_prompt(text).stopped
    assert tokenizer.n_chars <= 3 * 6 * 2 * 1600
