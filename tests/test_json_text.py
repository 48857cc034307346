"""Escapes of JSON text undone as it streams."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardrail.json_text import JsonUnescaper
from tests.strategies import chunk_sizes, cuts, texts


def unescape(text: str, sizes: list[int]) -> str:
    """Feed a text in pieces."""
    unescaper = JsonUnescaper()
    return "".join(unescaper.feed(piece) for piece in cuts(text, sizes)) + unescaper.finish()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'{"a": "\u0062omb"}', '{"a": "bomb"}'),
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\ud83d"),
        (r"\ud83dx\ude00", "\ud83dx\ude00"),
        (r"\\u0062", r"\u0062"),
        (r"\"\/\\\b\f\n\r\t", '"/\\\b\f\n\r\t'),
        (r"\x\u12", r"\x\u12"),
        ("\\", "\\"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 99])
def test_escapes_are_undone_however_the_text_is_cut(written: str, read: str, size: int) -> None:
    """Pairs of surrogates join, doubled backslashes are undone once, and what is no escape stays."""
    assert unescape(written, [size]) == read


@example(text="\ud83d\ude00", ascii_only=True, sizes=[1])
@given(text=texts() | st.text(), ascii_only=st.booleans(), sizes=chunk_sizes)
def test_what_json_writes_is_read_as_it_was(text: str, ascii_only: bool, sizes: list[int]) -> None:
    """A JSON string of any text gives that text, in any pieces; two lone surrogates side by side become their pair."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    read = unescape(json.dumps(text, ensure_ascii=ascii_only)[1:-1], sizes)
    assert read.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == whole


@given(text=st.text(st.sampled_from('\\u0123dDcCbBnN"/xf'), max_size=30), sizes=chunk_sizes)
def test_cutting_changes_nothing(text: str, sizes: list[int]) -> None:
    """Whatever stands there, valid or not."""
    assert unescape(text, sizes) == unescape(text, [len(text) or 1])
