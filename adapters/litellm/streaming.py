"""A stream of the gateway or the SDK under moderation."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from litellm import CustomStreamWrapper
from litellm.types.utils import ModelResponseStream, TextCompletionResponse

from guardrail.adapters.litellm.messages import EVENTS, MessagesGate
from guardrail.adapters.litellm.wire import Unpacker
from guardrail.ahead import Ahead
from guardrail.wire import streaming
from guardrail.wire.gate import Gate

_BELOW = ("inner", "completion_stream", "litellm_custom_stream_wrapper", "_billing_source", "response")
"""Where LiteLLM's streams keep the one from which they read; not all close it when they are closed."""


class GatedStream(streaming.GatedStream):
    """What the guard releases of a stream of LiteLLM's. Iterate once."""

    def _new_reader(self) -> Unpacker:
        return Unpacker()

    def _gate_for(self, piece: Any) -> Gate:
        return MessagesGate(self._exchange) if piece.get("type") in EVENTS else super()._gate_for(piece)

    @staticmethod
    def _may_ask_on(item: Any) -> bool:
        """Whether an item is not the last one: LiteLLM logs the raw answer as soon as it is asked for more behind the
        last, so that one is read before. Only chunks say whether more follows.
        """
        is_chunk = isinstance(item, ModelResponseStream | TextCompletionResponse)
        return is_chunk and bool(item.choices) and not any(choice.finish_reason for choice in item.choices)

    async def _close_source(self) -> None:
        await close_stream(self._source, self._arrivals)


async def close_stream(stream: Any, arrivals: Ahead[Any] | None = None) -> None:
    """Close a stream of LiteLLM's with all below it, so that the LLM's connection ends.

    Args:
        stream: from LiteLLM.
        arrivals: who may be asking it for its next item.
    """
    every = list(_with_all_below(stream))  # found while they still hold each other
    if arrivals:
        await arrivals.aclose()
    for one in every:
        if callable(close := getattr(one, "aclose", None)):
            await close()


def _with_all_below(stream: Any) -> Iterator[Any]:
    yield stream
    for one in _streams_below(stream):
        yield from _with_all_below(one)


def _streams_below(stream: Any) -> Iterator[Any]:
    for name in _BELOW:
        if (found := getattr(stream, name, None)) is not None:
            yield found
    frame = getattr(stream, "ag_frame", None)  # a generator keeps it in a variable
    for value in list(frame.f_locals.values()) if frame else ():
        if isinstance(value, CustomStreamWrapper | AsyncGenerator):
            yield value
