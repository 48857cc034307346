"""A risky word split over deltas, in every way that there is."""

from itertools import pairwise

import pytest

from guardrail import Guard, Policy
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.normalise_rules import NormaliseRules
from guardrail.testing import HashEngine, MarkerEngine
from tests.evasion.watched import assert_like_whole, every_cutting, every_single_cut
from tests.test_laws import play

BEFORE, WORD, AFTER = "I like ", "☠ bombs.", " And bread."


@pytest.fixture(params=[False, True], ids=["plain", "twin"])
def guard(request: pytest.FixtureRequest, tokenizer: GuardTokenizer) -> Guard:
    """Stops at the word; once with, once without a twin."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
    return Guard(engine, tokenizer, policy=Policy(normalise=NormaliseRules(answers=request.param)))


def test_no_split_of_a_risky_word_changes_anything(guard: Guard) -> None:
    """128 cuttings of the word between its neighbours: released is what stands before it, of it 0 characters."""
    whole = play(guard, [BEFORE + WORD + AFTER])
    assert whole.released == BEFORE
    assert whole.stream.decision.stop_offset == len(BEFORE)
    cuttings = list(every_cutting(WORD))
    assert len(cuttings) == 128
    for pieces in cuttings:
        assert_like_whole(guard, [BEFORE, *pieces, AFTER], whole)


def test_empty_deltas_and_single_characters_change_nothing(guard: Guard) -> None:
    """Empty deltas between all characters, which some servers send to keep a connection."""
    whole = play(guard, [BEFORE + WORD + AFTER])
    assert_like_whole(guard, [piece for char in BEFORE + WORD + AFTER for piece in ("", char, "")], whole)


@pytest.mark.parametrize("seed", range(4))
def test_no_split_changes_verdicts_at_random(tokenizer: GuardTokenizer, seed: int) -> None:
    """Four random models that find a third of all tokens risky, each with all 256 cuttings of nine characters."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.34, seed=seed), tokenizer)
    text = "kill 爆弹 e\u0301"[:9]
    whole = play(guard, [text])
    for pieces in every_cutting(text):
        assert_like_whole(guard, pieces, whole)


@pytest.mark.parametrize("n_before", range(249, 261))
def test_a_marker_at_the_edge_of_a_read_is_seen(tokenizer: GuardTokenizer, n_before: int) -> None:
    """256 tokens are read at once: a marker on either side of that edge, and on it, stops where it stands."""
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    text = "a" + " a" * (n_before - 1) + " ☠ and so on"
    for pieces in ([text], [text[:-9], text[-9:]], list(text)):
        played = play(guard, pieces)
        assert (played.stream.decision.stop_offset, played.stream.decision.leaked_chars) == (2 * n_before, 0)
        assert "☠" not in played.released


@pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32"])
def test_tokens_at_the_edge_of_an_engines_call_have_their_verdicts(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str
) -> None:
    """Calls of at most 24 tokens are cut where merges, bytes of one character and marks straddle the edge: the levels
    of every token are those of one call, for 40 places of the edge.
    """
    text = "unbelievable 爆弹 \U0001fae8 e\u0301\u0323 don't, " * 3
    for n in range(40):
        moved = "x" * n + " " + text
        one, cut = (
            [
                (token.start, token.end, token.risk)
                for token in Guard(engines[which], tokenizer).judge_response("Hi", moved)
            ]
            for which in (name, f"scheduled-{name}")
        )
        assert one == cut


def test_bytes_may_be_cut_anywhere(tokenizer: GuardTokenizer) -> None:
    """Characters of one to four bytes, composed or not, cut in two at each of their bytes and byte by byte."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.2, seed=3), tokenizer)
    raw = "aé爆\U0001fae8e\u0301👨\u200d👩\u200d👧 한국 x☠y the end".encode()
    whole = play(guard, [raw.decode()])
    ends = [[i] for i in range(1, len(raw))] + [list(range(1, len(raw)))]
    assert len(ends) == len(raw) == 52
    for cuts in ends:
        with guard.open_stream("Tell me something.") as stream:
            released = "".join(stream.feed(raw[a:b]) for a, b in pairwise([0, *cuts, len(raw)])) + stream.finish()
            assert released == whole.released
            assert stream.decision.stop_offset == whole.stream.decision.stop_offset


@pytest.mark.parametrize(
    "word", ["antidisestablishment", "don't've", "C++20/ISO", "naïveté", "爆炸物制造", "!!!???...", "a1b2c3"]
)
def test_merges_across_a_cut_are_those_of_the_whole(tokenizer: GuardTokenizer, word: str) -> None:
    """Byte pairs that merge over the cut, at every place of it."""
    guard = Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.1, seed=5), tokenizer)
    whole = play(guard, [f"so {word} then"])
    for pieces in every_single_cut(f"so {word} then"):
        assert_like_whole(guard, pieces, whole)
