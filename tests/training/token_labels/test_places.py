"""Where an answer may be cut."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.testing import default_tokenizer
from guardrail.training.examples import encode_answer
from guardrail.training.token_labels.places import ends_of, places_of
from guardrail.training.token_labels.settings import Mode, TokenLabelsSettings
from tests.strategies import texts

TOKENIZER = default_tokenizer()


def pieces(text: str) -> list[str]:
    """The text between the places."""
    return [text[place.start : place.end] for place in places_of(TOKENIZER, text)]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("a 👨‍👩‍👧 b", "👨‍👩‍👧"),
        ("ok 👍🏽 ok", "👍🏽"),
        ("x 🧿 y", "🧿"),
        ("d\u0301\u0323 end", "d\u0301\u0323"),
        ("नमस्ते", "स्ते"),
        ("很好", "很好"),
        ("龘龘", "龘"),
    ],
)
def test_what_people_see_as_one_character_is_never_cut(text: str, whole: str) -> None:
    """Bytes of one character, marks, and the parts of an emoji stay together."""
    assert any(whole in piece for piece in pieces(text))
    assert "".join(pieces(text)) == text


@given(texts())
def test_places_cover_the_text_and_never_part_a_character(text: str) -> None:
    """Each place begins where the one before it ends, and none begins with a mark."""
    places = places_of(TOKENIZER, text)
    assert [place.start for place in places[1:]] == [place.end for place in places[:-1]]
    assert not places or (places[0].start == 0 and places[-1].end == len(text))
    assert all(unicodedata.category(text[place.start])[0] != "M" for place in places[1:])
    assert bool(places) == bool(text.strip("\n"))


@given(texts())
def test_a_place_is_named_by_the_token_that_completes_its_last_character(text: str) -> None:
    """Tokens that carry some of a character's bytes only are no places."""
    tokens = [token for token in encode_answer(TOKENIZER, text) if token.is_content]
    places = places_of(TOKENIZER, text)
    assert all(tokens[place.token].complete and tokens[place.token].end == place.end for place in places)


@given(texts())
def test_an_onset_labels_the_token_of_its_place_and_all_later_ones(text: str) -> None:
    """Training labels tokens that end behind `unsafe_start_char`: those of the place and later, none before it."""
    tokens = [token for token in encode_answer(TOKENIZER, text) if token.is_content]
    places = places_of(TOKENIZER, text)
    for before, place in zip([None, *places], places, strict=False):
        labelled = [number for number, token in enumerate(tokens) if token.end > place.start]
        assert place.token in labelled
        assert before is None or before.token not in labelled


def test_sentences_end_at_stops_and_line_ends_in_any_script() -> None:
    """The places looked at first are those at which a sentence has just ended, and the last one."""
    text = 'One. "Two!" 3.5 is no end\nThree 四。五？six'
    places = places_of(TOKENIZER, text)
    found = [text[: places[i].end] for i in ends_of(places, text, "coarse", TokenLabelsSettings())]
    assert [beginning.rstrip()[-1] for beginning in found] == [".", '"', "d", "。", "？", "x"]


def test_a_text_without_sentences_is_cut_into_stretches() -> None:
    """No two places that are looked at first are further apart than the setting says."""
    text = "word " * 100
    places = places_of(TOKENIZER, text)
    ends = ends_of(places, text, "coarse", TokenLabelsSettings(longest_stretch=16))
    assert max(high - low for low, high in zip([-1, *ends], ends, strict=False)) == 16


@given(texts(), st.sampled_from(["exact", "stride", "coarse"]), st.integers(1, 9))
def test_the_last_place_is_always_looked_at(text: str, mode: Mode, stride: int) -> None:
    """The places looked at first rise, and end with the last one; none without a place."""
    places = places_of(TOKENIZER, text)
    ends = ends_of(places, text, mode, TokenLabelsSettings(stride=stride, longest_stretch=stride))
    assert ends == sorted(set(ends))
    assert ends[-1:] == [len(places) - 1] * bool(places)
