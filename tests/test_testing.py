"""The public fakes do what they promise: tests of other people's code rest on them."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from guardrail.decision import Reason
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, Logits
from guardrail.errors import ConfigurationError, ContextOverflow, EngineError, EngineTimeout, InvalidLogits
from guardrail.guard import Guard
from guardrail.policy import Policy, Rules
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.testing import (
    Breakage,
    FailingEngine,
    FakeEngine,
    HashEngine,
    Judged,
    MarkerEngine,
    default_tokenizer,
    default_tokenizer_file,
    not_a_number,
    raising,
    wrong_shape,
)

TOKENIZER = default_tokenizer()
SINGLE = Policy(response=Rules(debounce=1))
RISKY = {"☠": ("Unsafe", "Violent")}
OUTPUTS = ("query_risk", "query_category", "response_risk", "response_category")

texts = st.text(alphabet="ab c.é中\n🙂", max_size=30)


def read(engine: Engine, ids: Sequence[int], size: int) -> list[Logits]:
    session = engine.open()
    return [engine.step([Feed(session, ids[i : i + size])])[0] for i in range(0, len(ids), size)]


def assert_same(left: Sequence[Logits], right: Sequence[Logits]) -> None:
    for name in OUTPUTS:
        one, other = (np.concatenate([getattr(part, name) for part in parts]) for parts in (left, right))
        assert np.array_equal(one, other), name


def clear(before: str) -> str:
    """Return what is released in front of a marker: all, but newlines that open an answer belong to its first token."""
    return before if before.strip("\n") else ""


@given(texts, texts)
@example("\n", "")
@example("a\n", "")
def test_a_marker_stops_at_its_first_character(before: str, after: str) -> None:
    """Whatever stands next to it, also when the tokenizer joins it with a space."""
    guard = Guard(MarkerEngine(TOKENIZER, RISKY), TOKENIZER, policy=SINGLE)
    decision = guard.check_response("hi", before + "☠" + after)
    assert decision.stopped
    assert decision.stop_offset == decision.released_chars == len(clear(before))
    assert not guard.check_response("hi", before + after).stopped


@pytest.mark.parametrize("before", ["", "a", "word", "a ", "word  ", "你好", "你好 ", "a.", "é", "🙂", "x\n", "\n\n"])
def test_a_marker_stops_under_the_default_policy_too(before: str) -> None:
    """As soon as another token stands behind it; as the last token it is a lone one, which that policy lets go."""
    guard = Guard(MarkerEngine(TOKENIZER, RISKY), TOKENIZER)
    decision = guard.check_response("hi", f"{before}☠ and so on")
    assert decision.stopped
    assert decision.stop_offset == decision.released_chars == len(clear(before))
    assert (decision.risk, decision.category) == (RiskLevel.UNSAFE, "Violent")
    assert not guard.check_response("hi", f"{before}☠").stopped


@given(texts, texts, st.lists(st.integers(1, 8), min_size=1, max_size=8))
def test_a_marker_stops_at_the_same_place_in_any_stream(before: str, after: str, sizes: list[int]) -> None:
    """However the text is cut."""
    guard = Guard(MarkerEngine(TOKENIZER, RISKY), TOKENIZER, policy=SINGLE)
    text, released, at = before + "☠" + after, "", 0
    with guard.open_stream("hi") as stream:
        for size in sizes * len(text):
            released += stream.feed(text[at : at + size])
            at += size
        released += stream.finish()
    assert released == clear(before)
    assert stream.decision.stop_offset == len(clear(before))


def test_markers_name_their_own_level_and_category() -> None:
    """In every spelling that the taxonomy knows; the first one in the text decides until the session ends."""
    markers = {"☠": ("Unsafe", "Violent"), "♠": ("Controversial", "Self-Harm"), "e\u0301": ("Unsafe", "PII")}
    guard = Guard(MarkerEngine(TOKENIZER, markers), TOKENIZER, policy="strict")
    found = [guard.check_response("hi", text) for text in ("a ♠ b ☠ c", "a ☠ b ♠ c", "caf\u00e9", "cafe\u0301", "cafe")]
    assert [(d.risk, d.category) for d in found] == [
        ("Controversial", "Suicide & Self-Harm"), ("Unsafe", "Violent"), ("Unsafe", "PII"), ("Unsafe", "PII"),
        ("Safe", None),
    ]  # fmt: skip
    verdicts = guard.judge_response("hi", "fine ☠ and fine again")
    risks = [token.risk for token in verdicts]
    first = risks.index(RiskLevel.UNSAFE)
    assert verdicts[first].end == len("fine ☠")
    assert risks == [RiskLevel.SAFE] * first + [RiskLevel.UNSAFE] * (len(risks) - first)


def test_a_marker_in_a_prompt_stops_the_prompt() -> None:
    """And makes all that follows it risky, the answer too."""
    guard = Guard(MarkerEngine(TOKENIZER, RISKY), TOKENIZER)
    assert guard.check_prompt("kill ☠").stopped
    assert not guard.check_prompt("hello").stopped
    assert guard.check_response("kill ☠", "an answer").stop_offset == 0


def test_a_marker_may_be_a_word() -> None:
    """Risky from its last token on; what stands before that may have been released."""
    guard = Guard(MarkerEngine(TOKENIZER, {"stab": ("Unsafe", "Violent")}), TOKENIZER, policy=SINGLE)
    decision = guard.check_response("hi", "I will stab him")
    assert decision.stopped
    assert decision.stop_offset is not None
    assert len("I will") <= decision.stop_offset < len("I will stab")


@pytest.mark.parametrize(
    ("markers", "says"),
    [
        ({}, "at least one"),
        ({"": ("Unsafe", "Violent")}, "at least one character"),
        ({"☠": ("Dangerous", "Violent")}, "valid: Safe, Unsafe, Controversial|valid: .*Controversial"),
        ({"☠": ("Unsafe", "Violence")}, r"'Violence' is no risk level and category; valid: .*Violent"),
    ],
)
def test_markers_that_would_judge_something_else_are_refused(markers: dict[str, tuple[str, str]], says: str) -> None:
    """A typo must not make another test pass."""
    with pytest.raises(ConfigurationError, match=says):
        MarkerEngine(TOKENIZER, markers)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=40), st.integers(1, 10), st.integers(0, 3))
def test_hashed_verdicts_do_not_depend_on_chunks(ids: list[int], size: int, seed: int) -> None:
    """A function of the ids before a position, so any feeding gives the same, at all four heads."""
    engine = HashEngine(vocab_size=1000, risky_share=0.5, seed=seed)
    assert_same(read(engine, ids, len(ids)), read(engine, ids, size))


@given(st.lists(st.integers(0, 999), min_size=2, max_size=40), st.lists(st.integers(0, 999), max_size=9), st.data())
def test_hashed_verdicts_do_not_depend_on_what_was_rolled_back(
    ids: list[int], other: list[int], data: st.DataObject
) -> None:
    """Nor on batch mates."""
    engine = HashEngine(vocab_size=1000, risky_share=0.5)
    kept = data.draw(st.integers(1, len(ids) - 1))
    session, mate = engine.open(), engine.open()
    first, _ = engine.step([Feed(session, ids[:kept] + other), Feed(mate, [1, 2, 3])])
    session.rollback(kept)
    second, _ = engine.step([Feed(session, ids[kept:]), Feed(mate, [4])])
    first = Logits(*(getattr(first, name)[:kept] for name in OUTPUTS))
    assert_same([first, second], read(engine, ids, len(ids)))


def test_the_share_of_risky_verdicts_is_what_was_asked_for() -> None:
    """None, all, about a third; another seed gives other ones."""
    ids = np.random.default_rng(0).integers(0, 1000, 2000).tolist()

    def risky(share: float, seed: int = 0) -> NDArray[np.bool_]:
        (logits,) = read(HashEngine(vocab_size=1000, risky_share=share, seed=seed), ids, len(ids))
        return np.asarray(logits.response_risk.argmax(-1) != RESPONSE_LABELS.risks.index(RiskLevel.SAFE))

    assert not risky(0.0).any()
    assert risky(1.0).all()
    assert risky(1 / 3).mean() == pytest.approx(1 / 3, abs=0.04)
    assert (risky(1 / 3, seed=0) != risky(1 / 3, seed=1)).any()


BREAKAGES: list[tuple[Breakage, type[EngineError]]] = [
    (raising(EngineError("x")), EngineError),
    (raising(EngineTimeout("x")), EngineTimeout),
    (raising(RuntimeError("x")), EngineError),
    (not_a_number, InvalidLogits),
    (wrong_shape, InvalidLogits),
]


@pytest.mark.parametrize(("breakage", "error"), BREAKAGES)
def test_each_breakage_is_a_failure_that_closes_the_gate(breakage: Breakage, error: type[Exception]) -> None:
    """Bare verdicts raise; decisions are stops with the failure recorded."""
    engine = FailingEngine(MarkerEngine(TOKENIZER, RISKY), at_step=0, breakage=breakage)
    guard = Guard(engine, TOKENIZER)
    with pytest.raises(error):
        guard.judge_prompt("hi")
    decision = guard.check_response("hi", "there")
    assert decision.stopped
    assert decision.reason is Reason.FAILURE
    assert decision.failure is not None
    assert decision.failure.kind == error.__name__


@pytest.mark.parametrize("at_step", [1, 2, 4])
@pytest.mark.parametrize(("breakage", "error"), BREAKAGES)
def test_a_breakage_in_the_middle_releases_nothing_more(
    breakage: Breakage, error: type[Exception], at_step: int
) -> None:
    """Steps before it are the inner engine's; from it on nothing is let out."""
    engine = FailingEngine(MarkerEngine(TOKENIZER, RISKY), at_step=at_step, breakage=breakage)
    guard = Guard(engine, TOKENIZER)
    released = []
    with guard.open_stream("hi") as stream:
        for word in ("one ", "two ", "three ", "four ", "five ", "six "):
            n_before = engine.n_steps
            released.append(stream.feed(word))
            if engine.n_steps > at_step:
                assert released[-1] == "" or n_before < at_step
        released.append(stream.finish())
    assert "one two three four five six ".startswith("".join(released))
    assert engine.n_steps == at_step + 1
    assert stream.decision.failure is not None
    assert stream.decision.failure.kind == error.__name__
    assert stream.decision.stopped


def test_breaking_goes_on() -> None:
    """Later steps break too; the ones before are the inner engine's."""
    inner = HashEngine(vocab_size=100)
    engine = FailingEngine(inner, at_step=2, breakage=raising(EngineError("broken")))
    session, twin = engine.open(), inner.open()
    for ids in ([1, 2], [3]):
        assert_same(engine.step([Feed(session, ids)]), inner.step([Feed(twin, ids)]))
    for _ in range(3):
        with pytest.raises(EngineError, match="broken"):
            engine.step([Feed(session, [4])])
    assert engine.n_steps == 5
    assert engine.info == inner.info
    assert isinstance(engine, Engine)


@pytest.mark.parametrize("error", [EngineError("x"), RuntimeError("x"), KeyboardInterrupt()])
def test_a_step_that_raises_leaves_its_sessions_as_they_were(error: BaseException) -> None:
    """As the protocol of engines says: every session of the batch keeps its former length and its verdicts."""
    inner = HashEngine(vocab_size=100, risky_share=0.5)
    engine = FailingEngine(inner, at_step=1, breakage=raising(error))
    sessions = [engine.open(), engine.open()]
    engine.step([Feed(sessions[0], [1, 2, 3]), Feed(sessions[1], [4])])
    with pytest.raises(type(error)):
        engine.step([Feed(sessions[0], [5]), Feed(sessions[1], [6, 7])])
    assert [session.length for session in sessions] == [3, 1]
    assert_same(inner.step([Feed(sessions[0], [8])]), [read(inner, [1, 2, 3, 8], 1)[-1]])


def test_an_engine_judges_by_a_function_of_ones_own() -> None:
    """It is shown all ids up to a position and what was judged before it; probabilities are those it names."""
    seen: list[tuple[int, ...]] = []

    def judge(ids: Sequence[int], before: Judged | None) -> Judged:
        seen.append(tuple(ids))
        assert (before is None) == (len(ids) == 1)
        return (RiskLevel.UNSAFE if ids[-1] == 7 else RiskLevel.SAFE), "Jailbreak", 0.7

    engine = FakeEngine(judge, vocab_size=10, max_context=4)
    (logits,) = engine.step([Feed(engine.open(), [1, 7, 2])])
    assert seen == [(1,), (1, 7), (1, 7, 2)]
    softmax = np.exp(logits.query_risk) / np.exp(logits.query_risk).sum(-1, keepdims=True)
    assert softmax[1, PROMPT_LABELS.risks.index(RiskLevel.UNSAFE)] == pytest.approx(0.7)
    assert softmax[0, PROMPT_LABELS.risks.index(RiskLevel.SAFE)] == pytest.approx(0.7)
    assert PROMPT_LABELS.categories[int(logits.query_category[0].argmax())] == "Jailbreak"
    assert not logits.response_category.any()
    with pytest.raises(ContextOverflow):
        engine.step([Feed(engine.open(), [1, 2, 3, 4, 5])])


def test_a_function_that_raises_leaves_the_session_whole() -> None:
    """Also in the middle of a feed."""

    def judge(ids: Sequence[int], before: Judged | None) -> Judged:
        if ids[-1] == 9:
            raise RuntimeError
        return RiskLevel.SAFE, "Violent", 0.9

    engine = FakeEngine(judge, vocab_size=10)
    session, mate = engine.open(), engine.open()
    engine.step([Feed(session, [1, 2])])
    with pytest.raises(RuntimeError):
        engine.step([Feed(mate, [1]), Feed(session, [3, 9, 4])])
    assert (session.length, mate.length) == (2, 0)
    (logits,) = engine.step([Feed(session, [3])])
    assert logits.response_risk.shape == (1, 3)
    assert session.length == 3


def test_the_default_tokenizer_is_the_embedded_models() -> None:
    """As a file, for checkpoints that tests write."""
    assert GuardTokenizer.from_file(default_tokenizer_file()).vocab_size == TOKENIZER.vocab_size
    assert default_tokenizer_file().name == "tokenizer.json"
