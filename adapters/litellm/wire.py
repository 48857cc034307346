"""Whatever comes through LiteLLM's stream: which format it is, and frames of server-sent events taken apart."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from litellm.types.utils import ModelResponse, ModelResponseStream, TextCompletionResponse

from guardrail.adapters.litellm.answer import Answer
from guardrail.adapters.litellm.chat import ChatGate
from guardrail.adapters.litellm.errors import NotUnderstood
from guardrail.adapters.litellm.exchange import Exchange
from guardrail.adapters.litellm.messages import EVENTS, MessagesGate
from guardrail.adapters.litellm.response_events import get
from guardrail.adapters.litellm.responses import ResponsesGate
from guardrail.waiting import Steps

Pack = Callable[[Any], Any]
"""Puts what leaves into the form in which it came."""


_MAX_FRAME_BYTES = 16 * 2**20
"""Longest frame that is waited for. Our choice."""


class Gate(Protocol):
    """The pieces of one answer in one format."""

    answers: dict[int, Answer[Any]]

    @property
    def is_done(self) -> bool:
        """Whether the LLM need not go on."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether an answer was stopped, and what the LLM wrote is not what was released."""
        ...

    def taking(self, piece: Any, /) -> Steps[list[Any]]:
        """Take a piece; return those that may leave."""
        ...

    def catching_up(self) -> Steps[list[Any]]:
        """Read all that was taken; return the pieces that may leave."""
        ...

    def finishing(self) -> Steps[list[Any]]:
        """Come to an end; return the rest."""
        ...

    @property
    def is_repairable(self) -> bool:
        """Whether a stopped answer waits for the LLM to go on with it."""
        ...

    def repairing(self) -> list[dict[str, Any]]:
        """Start another attempt; return what is said to the LLM before it."""
        ...

    def counting(self, usage: Any) -> Any:
        """Return a piece with the usage, if one is missing."""
        ...

    def close(self) -> None:
        """Free what is still open."""
        ...


def gate_for(piece: Any, exchange: Exchange, *, allows_repair: bool) -> Gate:
    """Return the gate for a stream that begins with this piece.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    if isinstance(piece, ModelResponseStream):
        return ChatGate(exchange, allows_repair=allows_repair and exchange.n_choices == 1)
    if isinstance(piece, TextCompletionResponse):
        return ChatGate(exchange)
    kind = get(piece, "type") if not isinstance(piece, ModelResponse) else None
    kind = getattr(kind, "value", kind)
    if isinstance(kind, str) and kind.startswith("response."):
        return ResponsesGate(exchange)
    if kind in EVENTS:
        return MessagesGate(exchange)
    raise NotUnderstood(f"the stream's pieces, {type(piece).__name__}, are in no format that it can read")


class Unpacked(NamedTuple):
    """A piece that a gate reads, and how what leaves is packed again."""

    piece: Any
    pack: Pack


class Unpacker:
    """Takes what a stream gives; returns pieces that a gate reads, each with how it is packed again.

    Bytes and text are server-sent events, cut anywhere.
    """

    def __init__(self) -> None:
        self._left = b""

    def take(self, item: Any) -> Iterator[Unpacked]:
        """Yield the pieces that are complete now.

        Raises:
            NotUnderstood: the item cannot be read.
        """
        if isinstance(item, bytes | bytearray | str):
            yield from self._take_frames(item)
        elif isinstance(item, Mapping):
            yield Unpacked(_as_piece(item), _as_dict)
        else:
            yield Unpacked(item, _as_it_is)

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            NotUnderstood: the stream ended inside a frame.
        """
        if self._left.strip():
            raise NotUnderstood("the stream ended inside a frame")

    def _take_frames(self, data: bytes | bytearray | str) -> Iterator[Unpacked]:
        is_text = isinstance(data, str)
        self._left += data.encode() if isinstance(data, str) else bytes(data)
        self._left = self._left.replace(b"\r\n", b"\n")
        while b"\n\n" in self._left:
            frame, _, self._left = self._left.partition(b"\n\n")
            yield from _read_frame(frame, is_text)
        if len(self._left) > _MAX_FRAME_BYTES:
            raise NotUnderstood("a frame of the stream has no end")


def _read_frame(frame: bytes, is_text: bool) -> Iterator[Unpacked]:
    lines = frame.split(b"\n")
    payload = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
    if not payload or payload == b"[DONE]":  # a comment, or LiteLLM's own end, which it sends by itself
        return
    try:
        held = json.loads(payload)
    except ValueError:
        raise NotUnderstood("a frame of the stream holds no JSON") from None
    if not isinstance(held, Mapping):
        raise NotUnderstood("a frame of the stream holds no object")

    def pack(made: Any) -> bytes | str:
        packed = _as_dict(made)
        head = f"event: {packed['type']}\n" if "type" in packed else ""
        text = f"{head}data: {json.dumps(packed, ensure_ascii=False)}\n\n"
        return text if is_text else text.encode()

    yield Unpacked(_as_piece(held), pack)


def _as_piece(held: Mapping[str, Any]) -> Any:
    """Return a dict as a gate reads it: completions as chunks."""
    if "type" in held or "choices" not in held:
        return held
    try:
        if held.get("object") == "text_completion":
            return TextCompletionResponse(**held)
        return ModelResponseStream(**held)
    except (TypeError, ValueError, AttributeError):
        raise NotUnderstood("a chunk of the stream is no completion's") from None  # the original shows the text


def _as_dict(made: Any) -> Mapping[str, Any]:
    return made if isinstance(made, Mapping) else made.model_dump(mode="json", exclude_none=True)


def _as_it_is(made: Any) -> Any:
    return made
