"""Server-sent events: taken apart wherever they are cut, and put together again."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.wire.errors import NotUnderstood

MAX_FRAME_BYTES = 16 * 2**20
"""Longest frame that is waited for. Our choice."""

DONE = b"data: [DONE]\n\n"
"""Last frame of a stream of chunks."""


class Unpacked(NamedTuple):
    """A piece that a gate reads, and how what leaves is packed again."""

    piece: Any
    pack: Callable[[Any], Any]


class Frames:
    """Takes bytes; returns the JSON objects in the frames that are complete. Comments are left out.

    Attributes:
        is_done: whether the frame came that says that no more does.
    """

    def __init__(self) -> None:
        self._left = bytearray()
        self._half_end = b""
        self.is_done = False

    def take(self, data: bytes) -> Iterator[Unpacked]:
        """Yield the pieces that are complete now.

        Raises:
            NotUnderstood: a frame cannot be read.
        """
        for one in self._whole(data):
            if (held := self._read(one)) is not None:
                yield Unpacked(held, frame)
        if len(self._left) > MAX_FRAME_BYTES:
            raise NotUnderstood("a frame of the stream has no end")

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            NotUnderstood: the stream ended inside a frame.
        """
        if self._left.strip() and not self.is_done:
            raise NotUnderstood("the stream ended inside a frame")

    def _whole(self, data: bytes) -> list[bytes]:
        """Return the frames that are complete now; what was searched before is not searched again."""
        data = self._half_end + data
        self._half_end = b"\r" if data.endswith(b"\r") else b""
        seam = max(0, len(self._left) - 1)
        self._left += data.removesuffix(self._half_end).replace(b"\r\n", b"\n")
        if self._left.find(b"\n\n", seam) < 0:
            return []
        *whole, left = bytes(self._left).split(b"\n\n")
        self._left = bytearray(left)
        return whole

    def _read(self, one: bytes) -> dict[str, Any] | None:
        payload = b"\n".join(line[5:].strip() for line in one.split(b"\n") if line.startswith(b"data:"))
        if payload == b"[DONE]":
            self.is_done = True
        if not payload or self.is_done:
            return None
        try:
            held = read_json(payload)
        except (ValueError, RecursionError):
            raise NotUnderstood("a frame of the stream holds no JSON") from None
        if not isinstance(held, dict):
            raise NotUnderstood("a frame of the stream holds no object")
        return held


def read_json(payload: bytes | bytearray) -> Any:
    """Return what JSON of an LLM holds; a number that JSON cannot say (NaN, 1e999) is null, since it is written again.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(payload, parse_constant=_null, parse_float=_finite)


def _null(_constant: str) -> None:
    return None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def frame(made: Mapping[str, Any]) -> bytes:
    """Return an object as a frame; events go by their type."""
    head = f"event: {made['type']}\n" if isinstance(made.get("type"), str) else ""
    return f"{head}data: {json.dumps(made)}\n\n".encode()
