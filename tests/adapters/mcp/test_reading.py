"""Which text the guard reads of what a server says, and that it reads it once."""

import base64
import json
from typing import Any

import pytest

from guardrail.adapters.mcp.reading import read

PLAIN = {"note": "день", "n": 1}


@pytest.mark.parametrize(
    ("value", "texts", "others", "unreadable"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, ["a", "b"], [], []),
        ({"content": [{"type": "text", "text": "a"}], "structuredContent": {"result": "a"}}, ["a"], [], []),
        ({"content": [{"type": "text", "text": json.dumps(PLAIN)}], "structuredContent": PLAIN},
         [json.dumps(PLAIN)], [], []),
        ({"content": [{"type": "text", "text": "a"}], "structuredContent": {"b": "c"}}, ["a", "b", "c"], [], []),
        ({"content": [{"type": "text", "text": r"C:\users \u2620"}]}, [r"C:\users \u2620"], [], []),
        ({"contents": [{"uri": "x://y", "blob": base64.b64encode(b"plain").decode()}]}, ["plain"], ["x://y"], []),
        ({"contents": [{"uri": "x://y", "blob": "AAEC/w=="}]}, [], ["x://y"], ["blob"]),
        ({"contents": [{"blob": "cGxh\naW4="}, {"blob": "no base64"}]}, ["plain", "no base64"], [], []),
        ({"contents": [{"blob": "cA==cGxhaW4="}]}, ["cA==cGxhaW4="], [], []),
        ({"content": [{"type": "image", "data": base64.b64encode(b"<svg/>").decode()}]}, ["<svg/>"], [], []),
        ({"content": [{"type": "audio", "data": "plain text"}]}, ["plain text"], [], []),
        ({"messages": {"role": "user", "content": {"type": "image", "data": "/w==", "mimeType": "image/png"}}},
         [], ["image/png"], ["image"]),
        ({"data": "not a picture"}, [], ["not a picture"], []),
        ({"type": ["image"], "data": "YQ=="}, [], ["YQ=="], []),
        ({"nextCursor": "x", "requestState": "y", "progressToken": "z", "ttlMs": 1}, [], [], []),
        ({"deep": {"nextCursor": "read"}}, [], ["deep", "nextCursor", "read"], []),
        ([{"novel": ["a", 1, None, True, " "]}, "b"], [], ["novel", "a", "b"], []),
        (None, [], [], []),
    ],
    ids=str,
)  # fmt: skip
def test_content_is_told_from_what_surrounds_it(
    value: Any, texts: list[str], others: list[str], unreadable: list[str]
) -> None:
    """No string is left out but the words of the protocol and opaque members; nothing is read twice."""
    reading = read(value)
    assert (reading.texts, reading.others, reading.unreadable) == (texts, others, unreadable)
