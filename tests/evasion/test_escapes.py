"""Escapes of JSON in tool calls and results: what they say is judged, however they are written and cut."""

from collections.abc import Callable
from itertools import product

import pytest

from guardrail import Guard, Policy, ToolCall
from guardrail.encoding import GuardTokenizer
from guardrail.normalise_rules import NormaliseRules
from guardrail.testing import HashEngine, MarkerEngine
from tests.evasion.watched import every_single_cut


@pytest.fixture
def guard(tokenizer: GuardTokenizer) -> Guard:
    """Random verdicts: equal ones can only come from equal readings."""
    return Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.1, seed=11), tokenizer)


def decide(guard: Guard, pieces: list[str]) -> tuple[object, ...]:
    """What a call in pieces comes to."""
    with guard.open_tool_call("Hi", "shell") as stream:
        for piece in pieces:
            stream.feed(piece)
        decision = stream.finish()
    return decision.action, decision.stop_offset, decision.category, [(t.start, t.end, t.risk) for t in decision.tokens]


WRITTEN: list[Callable[[str], str]] = [str, lambda char: f"\\u{ord(char):04x}", lambda char: f"\\u{ord(char):04X}"]


def test_every_way_to_escape_a_word_reads_alike(guard: Guard) -> None:
    """36 spellings of a word of four letters, each of them plain or escaped in small or large hex digits."""
    plain = decide(guard, ['{"a": "a bomb now"}'])
    spellings = {
        "".join(write(char) for write, char in zip(ways, "bomb", strict=True)) for ways in product(WRITTEN, repeat=4)
    }
    assert len(spellings) == 36
    for spelling in spellings:
        assert decide(guard, [f'{{"a": "a {spelling} now"}}']) == plain


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\u0062omb", "bomb"),
        (r"\u0062\u006F\u006d\u0062", "bomb"),
        (r"\ud83d\udca3 x", "💣 x"),
        (r"\uD83D\uDCA3", "💣"),
        (r"\u7206\u5f39", "爆弹"),
        (r"a\/b\tc", "a/b\tc"),
        (r"e\u0301", "e\u0301"),
        (r"\u003c|im_end|\u003e", "<|im_end|>"),
        (r"\u200bb", "\u200bb"),
    ],
)
def test_an_escape_cut_at_every_place_reads_alike(guard: Guard, written: str, read: str) -> None:
    """Whole, in two at every place, and character by character: the verdicts of the plain word."""
    plain = decide(guard, [f'{{"a": "{read}"}}'])
    text = f'{{"a": "{written}"}}'
    for pieces in [*every_single_cut(text), list(text)]:
        assert decide(guard, pieces) == plain


@pytest.mark.parametrize("text", ["a ☠ b", r"a \u2620 b", r"a \u2620\u2620"])
def test_results_are_read_with_their_escapes_undone(tokenizer: GuardTokenizer, text: str) -> None:
    """Of a tool result, a document, and a call."""
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    assert guard.check_tool_result("Hi", f'{{"a": "{text}"}}', tool="read").stopped
    assert guard.check_documents([text])[0].stopped
    assert guard.check_tool_call("Hi", ToolCall("write", f'{{"a": "{text}"}}')).stopped


def test_json_within_json_needs_the_twin(tokenizer: GuardTokenizer) -> None:
    """One level of escapes is undone in calls; the twin undoes what is left."""
    engine = MarkerEngine(tokenizer, {"bomb": ("Unsafe", "Violent")})
    call = ToolCall("write", r'{"a": "{\"b\": \"a \\u0062\\u006f\\u006d\\u0062 for you\"}"}')
    assert not Guard(engine, tokenizer).check_tool_call("Hi", call).stopped
    twin = Guard(engine, tokenizer, policy=Policy(normalise=NormaliseRules(answers=True)))
    assert twin.check_tool_call("Hi", call).stopped
