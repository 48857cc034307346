"""LiveCodeBench's hidden tests are JSON inside a pickle. A pickle can run code when it is read, so it is not read as
one: exactly one string is taken out of it, and anything else is refused.
"""

import base64
import binascii
import struct
import zlib

_PROTO, _FRAME, _MEMOIZE, _BINPUT, _LONG_BINPUT, _STOP = 0x80, 0x95, 0x94, 0x71, 0x72, 0x2E
_TEXTS = {0x8C: "<B", 0x58: "<I", 0x8D: "<Q"}
"""Codes of the strings of protocols 1 to 5, and how their length is written."""

_SKIPPED = {_PROTO: 1, _FRAME: 8, _MEMOIZE: 0, _BINPUT: 1, _LONG_BINPUT: 4}
"""Codes that change no value, and how many bytes follow them."""

MOST_BYTES = 2**30
"""Of one unpacked text; larger ones are no tests. Ours."""


def text_in(packed: str) -> str:
    """Return the text of a field: base64 of zlib of a pickle of one string.

    Raises:
        ValueError: it is something else.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(packed, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError("no packed tests") from error
    if not unpacker.eof:
        raise ValueError("packed tests are cut off, or too large")
    return _string_of(data)


def _string_of(data: bytes) -> str:
    """Return the only string of a pickle."""
    found: str | None = None
    place = 0
    try:
        while data[place] != _STOP:
            code = data[place]
            place += 1
            if code in _TEXTS and found is None:
                (n,) = struct.unpack_from(_TEXTS[code], data, place)
                place += struct.calcsize(_TEXTS[code])
                found = data[place : place + n].decode("utf-8")
                place += n
            elif code in _SKIPPED:
                place += _SKIPPED[code]
            else:
                raise ValueError("packed tests hold something else than one text")
    except (IndexError, struct.error) as error:
        raise ValueError("packed tests are damaged") from error
    if found is None or place != len(data) - 1:
        raise ValueError("packed tests hold no text, or more than that")
    return found
