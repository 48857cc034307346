"""Escapes of JSON text undone as it streams: as a reader does who sees it whole, character by character."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, from_bytes
from guardrail.json_text import JsonUnescaper, undo_unicode
from tests.strategies import chunk_sizes, cuts

_HEX = frozenset("0123456789abcdefABCDEF")
_SHORT = {'"': '"', "/": "/", "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

PIECES = st.sampled_from(
    (
        *("\\", "u", "\\u", "\\ud83d", "\\uDE00", "\\udfff", "\\u00", "62"),
        *('omb"', "\\n", "\n", "{", "D8", "中", "\ud83d"),
    )
)


@BRIEF
@given(text=st.lists(PIECES | st.text(max_size=3), max_size=25).map("".join), sizes=chunk_sizes)
def holds(text: str, sizes: list[int]) -> None:
    """Any cutting gives what the text gives whole, and that is what the rules of JSON say."""
    unescaper = JsonUnescaper()
    cut = "".join(unescaper.feed(piece) for piece in cuts(text, sizes)) + unescaper.finish()
    assert cut == read(text)
    assert unescaper.finish() == ""
    if "\\" not in text.replace("\\u", ""):
        assert undo_unicode(text) == cut


def read(text: str) -> str:
    """Return a text with its escapes undone; what is none stays."""
    out, i = [], 0
    while i < len(text):
        unit = unit_at(text, i)
        if unit is None:
            is_short = text[i] == "\\" and text[i + 1 : i + 2] in _SHORT
            is_other = text[i] == "\\" and i + 1 < len(text) and text[i + 1] != "u"
            out.append(_SHORT[text[i + 1]] if is_short else text[i : i + 2] if is_other else text[i])
            i += 2 if is_short or is_other else 1
            continue
        low = unit_at(text, i + 6)
        if 0xD800 <= unit < 0xDC00 and low is not None and 0xDC00 <= low < 0xE000:
            out.append(chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)))
            i += 12
        else:
            out.append(chr(unit))
            i += 6
    return "".join(out)


def unit_at(text: str, i: int) -> int | None:
    """Return the number that an escape of four digits at a place says; None if none stands there."""
    digits = text[i + 2 : i + 6]
    is_escape = text[i : i + 2] == "\\u" and len(digits) == 4 and _HEX.issuperset(digits)
    return int(digits, 16) if is_escape else None


one_input = from_bytes(holds)
