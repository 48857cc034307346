"""How names and messages from records are shown, in the terminal and on pages alike: they are other people's."""

import unicodedata

_MAX_SHOWN_CHARS = 120
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def shown(text: str) -> str:
    """Return a name or a message on one line, with a code in place of every character that is invisible or would move
    others, such as a terminal's escape or a turn of the writing direction.
    """
    text = text if len(text) <= _MAX_SHOWN_CHARS else f"{text[: _MAX_SHOWN_CHARS - 1]}…"
    return "".join(f"\\u{{{ord(c):x}}}" if unicodedata.category(c) in _UNSEEN else c for c in text)
