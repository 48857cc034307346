"""Token positions of the published test become characters, with the tokenizer that made them only."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardrail.conversation import ANSWER_HEADER, EMPTY_THINKING, Message, Role, Segment, render
from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.judges import GuardJudge
from guardrail.evaluation.rows import Row
from guardrail.evaluation.spans import Spoken, risky_span
from guardrail.guard import Guard
from guardrail.testing import MarkerEngine, default_tokenizer
from guardrail.token_reader import TokenReader
from tests.evaluation.judged_rows import row

TOKENIZER = default_tokenizer()
READER = TokenReader(TOKENIZER)
QUESTION = Message(Role.USER, "How?")
CLOSE = (Segment("<|im_end|>", "control"), Segment("\n", "scaffold"))


def plain(text: str) -> tuple[Row, list[int]]:
    """An answer without reasoning, and the ids of the conversation as the template has it."""
    answer = (*ANSWER_HEADER, *EMPTY_THINKING, Segment(text, "content"), *CLOSE)
    ids = TOKENIZER.encode_segments([*render([QUESTION]), *answer])
    return row("u", answer=True, messages=(QUESTION, Message(Role.ASSISTANT, text))), ids


def thinking(reasoning: str, text: str) -> tuple[Row, list[int]]:
    """The same with reasoning, which the published rows carry inside the text."""
    ids = TOKENIZER.encode_segments(render([QUESTION, Message(Role.ASSISTANT, text, reasoning=reasoning)]))
    inline = f"<think>\n{reasoning}\n</think>\n\n{text}"
    return row("u", answer=True, messages=(QUESTION, Message(Role.ASSISTANT, inline))), ids


def located(asked: tuple[Row, list[int]], part: str) -> Row:
    """The row with the positions of the tokens that hold a part of its text."""
    found, ids = asked
    wanted = TOKENIZER.encode_plain(part).ids
    start = next(i for i in range(len(ids)) if ids[i : i + len(wanted)] == wanted)
    meta = {"input_ids": ids, "unsafe_start_index": start, "unsafe_end_index": start + len(wanted) - 1}
    return replace(found, meta=meta)


def at(asked: Row, ids: list[int], place: int) -> Row:
    """The row with one token as its risky sentence."""
    return replace(asked, meta={"input_ids": ids, "unsafe_start_index": place, "unsafe_end_index": place})


def test_a_position_becomes_characters() -> None:
    """Of the answer's own text."""
    text = "All is well. We kill them all. Then we go."
    start, end = risky_span(located(plain(text), " We kill them all."), READER)
    assert text[start:end] == " We kill them all."


@pytest.mark.parametrize("part", [" a pot", " my plan"])
def test_reasoning_is_counted_first_and_without_its_tags(part: str) -> None:
    """As the guard reads it."""
    asked = thinking("I want a pot now.", "Here is my plan for it.")
    spoken = Spoken.of(asked[0].messages[-1].content)
    start, end = risky_span(located(asked, part), READER)
    assert (spoken.reasoning + spoken.text)[start:end] == part


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_a_position_is_the_character_where_its_token_begins(text: str) -> None:
    """Whatever the writing: tokens may hold parts of characters, and one inside a character is that character."""
    assume("\ufffd" not in text and unicodedata.is_normalized("NFC", text) and not text.startswith("\n"))
    asked, ids = plain(text)
    n_before = len(TOKENIZER.encode_segments([*render([QUESTION]), *ANSWER_HEADER, *EMPTY_THINKING]))
    for place in range(n_before, n_before + len(TOKENIZER.encode_plain(text).ids)):
        start, _ = risky_span(at(asked, ids, place), READER)
        assert text[:start] == TOKENIZER.decode(ids[n_before:place]).rstrip("\ufffd")


def test_a_position_inside_a_character_is_that_character() -> None:
    """A sentence of signs that are several tokens may begin in one."""
    asked, ids = plain("I like pots. 🦓 pot!")
    place = next(i for i in range(len(ids)) if TOKENIZER.decode(ids[: i + 1]).endswith("\ufffd")) + 1
    start, _ = risky_span(at(asked, ids, place), READER)
    assert start == len("I like pots. ")


@pytest.mark.parametrize("place", [0, 3])
def test_a_position_before_the_answer_is_not_placed(place: int) -> None:
    """A question is no part of an answer."""
    asked, ids = plain("All is well. We kill them all. Then we go.")
    assert risky_span(at(asked, ids, place), READER) == (None, None)


def test_other_ids_are_not_placed() -> None:
    """Another tokenizer's positions say nothing; a label in characters stands."""
    asked = located(plain("We kill them all."), " kill")
    strange = replace(asked, meta={**asked.meta, "input_ids": [i + 1 for i in asked.meta["input_ids"]]})
    assert risky_span(strange, READER) == (None, None)
    assert risky_span(replace(strange, unsafe_start_char=3), READER) == (3, None)
    other = replace(asked, messages=(QUESTION, Message(Role.ASSISTANT, "Another answer")))
    assert risky_span(other, READER) == (None, None)


def test_a_span_in_characters_is_taken_as_it_stands() -> None:
    """With its end, where meta has one."""
    asked = row("u", answer=True, unsafe_start_char=1, meta={"unsafe_end_char": 3})
    assert risky_span(asked, READER) == (1, 3)
    assert risky_span(row("u", answer=True), READER) == (None, None)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_place_in_tagged_text_is_that_of_the_read_text(reasoning: str, text: str) -> None:
    """Every character of the reasoning and of the answer keeps its neighbour."""
    whole = f"<think>\n{reasoning}\n</think>\n\n{text}"
    spoken = Spoken.of(whole)
    read = spoken.reasoning + spoken.text
    for place in range(spoken.text_start, len(whole)):
        assert read[spoken.offset(place)] == whole[place]


def test_the_guard_finds_the_stop_inside_a_span_of_its_reasoning(tokenizer: GuardTokenizer) -> None:
    """Position for position: the marker's tokens are risky, the span begins with it."""
    asked = located(thinking("All is well and ☠ is what I think of.", "Here it is."), " is what I think of")
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    (said,) = GuardJudge(guard).judge([asked])
    assert said.trace is not None
    assert said.onset_token is not None
    assert said.stop_token is not None
    assert said.onset_token <= said.stop_token <= (said.trace.end_token or 0)
    assert said.trace.n_chars == len(Spoken.of(asked.messages[-1].content).reasoning.strip("\n")) + 2 + len(
        "Here it is."
    )
