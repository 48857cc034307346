"""Old turns go first, the judged turn is read whole, and every window is a turn of its own."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import ANSWER_HEADER, Message, Role, ToolCall, render, render_prompt
from guardrail.guard import Guard
from guardrail.tape import common_prefix
from guardrail.testing import MarkerEngine, default_tokenizer
from guardrail.windowing import fit_context, fit_prompt

TOKENIZER = default_tokenizer()
SYSTEM, OLD, LAST = Message(Role.SYSTEM, "be kind"), Message(Role.USER, "old " * 40), Message(Role.USER, "the last")
LONG = " ".join(str(n) for n in range(400))


def encode(messages: Sequence[Message]) -> list[int]:
    return TOKENIZER.encode_segments(render_prompt(messages))


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Up to seven turns of any role; a user's or a tool's stands last."""
    texts = st.text("ab c\n!é中", max_size=20)
    turns = [draw(st.sampled_from(Role)) for _ in range(draw(st.integers(0, 6)))]
    history = [
        Message(
            role, draw(texts), reasoning=draw(st.none() | texts) if role is Role.ASSISTANT else None,
            tool_calls=(ToolCall("look", "{}"),) if role is Role.ASSISTANT and draw(st.booleans()) else (),
        )
        for role in turns
    ]  # fmt: skip
    return [*history, Message(draw(st.sampled_from([Role.USER, Role.TOOL])), draw(texts))]


def test_what_fits_is_read_as_it_is() -> None:
    """One window, nothing dropped; exactly as many tokens as there may be fit."""
    ids = encode([SYSTEM, OLD, LAST])
    for limit in (1000, len(ids)):
        fitted = fit_prompt(TOKENIZER, [SYSTEM, OLD, LAST], limit)
        assert fitted.windows == (ids,)
        assert fitted.n_dropped_turns == 0
    assert fit_prompt(TOKENIZER, [SYSTEM, OLD, LAST], len(ids) - 1).n_dropped_turns == 1


def test_old_turns_go_before_system_turns() -> None:
    """The system prompt stays as long as it fits beside the judged turn."""
    fitted = fit_prompt(TOKENIZER, [SYSTEM, OLD, LAST], 40)
    assert fitted.windows == (encode([SYSTEM, LAST]),)
    assert fitted.n_dropped_turns == 1
    alone = fit_prompt(TOKENIZER, [SYSTEM, OLD, LAST], len(encode([SYSTEM, LAST])) - 1)
    assert alone.windows == (encode([LAST]),)
    assert alone.n_dropped_turns == 2


def test_the_oldest_turns_go_first() -> None:
    """A system turn in the middle keeps its place."""
    turns = [Message(Role.USER, f"{i} " * 10) for i in range(6)]
    messages = [*turns[:3], SYSTEM, *turns[3:]]
    kept = [turns[2], SYSTEM, *turns[3:]]
    fitted = fit_prompt(TOKENIZER, messages, len(encode(kept)))
    assert fitted.windows == (encode(kept),)
    assert fitted.n_dropped_turns == 2


def test_what_is_not_rendered_takes_no_room() -> None:
    """Old reasoning is not part of the rendering, and tool results share one frame: none of them costs a turn."""
    reasoned = [OLD, Message(Role.ASSISTANT, "so", reasoning="long " * 200), LAST]
    tools = [OLD, Message(Role.ASSISTANT, "looking"), *[Message(Role.TOOL, "x")] * 8]
    for messages in (reasoned, tools):
        assert fit_prompt(TOKENIZER, messages, len(encode(messages))).n_dropped_turns == 0


@given(histories(), st.integers(10, 120))
def test_no_turn_is_dropped_that_would_have_fitted(messages: list[Message], limit: int) -> None:
    """Among the system turns and the latest others, the longest reading that fits; else the last turn alone."""
    system = [m for m in messages[:-1] if m.role is Role.SYSTEM]
    others = [m for m in messages if not any(m is s for s in system)]
    readings = []
    for n in range(len(others)):
        kept = [m for m in messages if any(m is k for k in (*system, *others[n:]))]
        readings.append((encode(kept), len(messages) - len(kept)))
    readings.append((encode(messages[-1:]), len(messages) - 1))
    fitting = [reading for reading in readings if len(reading[0]) <= limit]
    fitted = fit_prompt(TOKENIZER, messages, limit)
    if fitting:
        assert (fitted.windows[0], fitted.n_dropped_turns) in fitting
        lengths = [len(ids) for ids, _ in readings]
        if lengths == sorted(lengths, reverse=True):  # else the first that fits need not be found
            assert (fitted.windows[0], fitted.n_dropped_turns) == fitting[0]
    else:
        assert fitted.n_dropped_turns == len(messages) - 1
        assert len(fitted.windows) > 1 or len(fitted.windows[0]) > limit


def test_windows_overlap_and_cover_the_whole_turn() -> None:
    """Every token of an over-long turn stands in some window, between the turn's own opening and closing."""
    words = [str(n) for n in range(3000)]
    fitted = fit_prompt(TOKENIZER, [Message(Role.USER, " ".join(words))], 200)
    assert len(fitted.windows) > 10
    texts = [TOKENIZER.decode(ids) for ids in fitted.windows]
    assert all(len(ids) <= 200 for ids in fitted.windows)
    assert all(ids[-1] == TOKENIZER.control_id("<|im_end|>") for ids in fitted.windows)
    assert all(any(f" {word} " in text for text in texts) for word in words[1:-1])
    first, second = (text.split() for text in texts[:2])
    assert set(first[5:-1]) & set(second[5:-1])


@given(
    st.text("\n !.a中☠", max_size=6),
    st.text("\n !.a中☠", max_size=6),
    st.sampled_from([Role.USER, Role.TOOL]),
    st.integers(40, 90),
)
def test_no_token_is_lost_between_windows(before: str, after: str, role: Role, limit: int) -> None:
    """Whatever the text begins and ends with: any three neighbouring tokens of the turn stand together somewhere, and
    every window opens and closes as the template does.
    """
    message = Message(role, before + LONG + after)
    ids = encode([message])
    windows = fit_prompt(TOKENIZER, [OLD, message], limit).windows
    seen = {tuple(window[i : i + 3]) for window in windows for i in range(len(window))}
    assert {tuple(ids[i : i + 3]) for i in range(len(ids) - 2)} <= seen
    empty = encode([Message(role, "a")])
    n_opening = empty.index(TOKENIZER.encode_plain("a").ids[0])
    assert all(window[:n_opening] == empty[:n_opening] for window in windows[1:])
    assert all(window[n_opening - len(empty) + 1 :] == empty[n_opening + 1 :] for window in windows[:-1])
    assert all(len(window) <= limit for window in windows)
    assert windows[0][: len(ids[:20])] == ids[:20]
    assert windows[-1][-10:] == ids[-10:]


@pytest.mark.parametrize("role", [Role.USER, Role.TOOL])
@pytest.mark.parametrize("lead", ["", "\n", "\n\n", " \n", "x\n"])
@pytest.mark.parametrize("place", [0, 100, 200])
def test_harm_is_found_wherever_it_stands_in_an_over_long_turn(lead: str, place: int, role: Role) -> None:
    """At its beginning, in the middle, as its very last character: leading newlines hide nothing."""
    words = ["word"] * 200
    words.insert(place, "☠")
    guard = Guard(MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")}, max_context=64), TOKENIZER)
    messages = [OLD, Message(Role.ASSISTANT, "looking"), Message(role, lead + " ".join(words))]
    decision = guard.check_prompt(messages)
    assert decision.stopped
    assert decision.n_windows > 3
    assert decision.n_dropped_turns == 2
    assert not guard.check_prompt([*messages[:2], Message(role, lead + " ".join(["word"] * 201))]).stopped


def test_a_context_keeps_its_latest_turns_and_the_header() -> None:
    """As a prompt does, with the header of the answer behind it."""
    header = TOKENIZER.encode_segments(ANSWER_HEADER)
    expected = TOKENIZER.encode_segments(render([SYSTEM, LAST])) + header
    for limit in (len(expected), len(expected) + 30):
        fitted = fit_context(TOKENIZER, [SYSTEM, OLD, LAST], limit)
        assert fitted.windows == (expected,)
        assert fitted.n_dropped_turns == 1


def test_a_context_that_is_too_long_keeps_its_end() -> None:
    """The last turn counts as dropped, since it is not read whole."""
    fitted = fit_context(TOKENIZER, [OLD, Message(Role.USER, LONG)], 50)
    whole = TOKENIZER.encode_segments([*render([Message(Role.USER, LONG)]), *ANSWER_HEADER])
    assert fitted.windows == (whole[-50:],)
    assert fitted.n_dropped_turns == 2


def test_nothing_before_an_answer_is_a_context_too() -> None:
    """Only the header."""
    fitted = fit_context(TOKENIZER, [], 50)
    assert fitted.windows == (TOKENIZER.encode_segments(ANSWER_HEADER),)
    assert fitted.n_dropped_turns == 0


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.integers(24, 80))
def test_nothing_ever_exceeds_the_limit(texts: list[str], limit: int) -> None:
    """For prompts and for what stands before an answer."""
    messages = [Message(Role.USER, text) for text in texts]
    assert all(len(ids) <= limit for ids in fit_prompt(TOKENIZER, messages, limit).windows)
    assert len(fit_context(TOKENIZER, messages, limit).windows[0]) <= limit


@pytest.mark.parametrize(("left", "right", "n"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 9], [1, 2, 3], 2)])
def test_a_common_prefix_ends_with_the_shorter(left: list[int], right: list[int], n: int) -> None:
    """Or where they differ."""
    assert common_prefix(left, right) == common_prefix(right, left) == n
