"""Breaks what a text could use to pass for a part of the prompt around it: the model reads both as one text.

One character is exchanged for a look-alike, so that people and the model still read the same, and offsets stay. Every
other text is left as it is.
"""

import re

_SECTION = re.compile(
    r"<(?=\s*/?\s*(?:BEGIN|END)\s+(?:SAFETY\s+POLICY|UNSAFE\s+CONTENT\s+CATEGORIES|REFUSAL\s+POLICY|CONVERSATION)\s*>)",
    re.IGNORECASE,
)
_NEW_SECTION = re.compile(r"<(?=(?:BEGIN|END) [A-Z][A-Z ]{0,60}>)")
_TURN = re.compile(r"((?:\A|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])[^\S\n]*(?:USER|ASSISTANT)):")
_CONTROL = re.compile(r"<(?=\|[^|<>\s]{1,40}\|>)")

_SURROGATE = re.compile("[\ud800-\udfff]")

_BRACKET, _COLON = "\u2039", "\uff1a"


def without_markers(text: str) -> str:
    """Return a text without the template's section markers, and without lines that begin like a turn."""
    for pattern in (_SECTION, _NEW_SECTION):
        text = pattern.sub(_BRACKET, text)
    return _TURN.sub(rf"\g<1>{_COLON}", text)


def without_control(text: str) -> str:
    """Return a text for servers that parse control tokens, such as `<|im_end|>`: nothing in it reads as one. Lone
    surrogates, which cannot be sent, become U+FFFD.
    """
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(_BRACKET, text))
