"""LiteLLM's objects as the JSON that gates read, and back."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from litellm.types.llms.base import BaseLiteLLMOpenAIResponseObject
from litellm.types.utils import ModelResponse, ModelResponseStream, TextCompletionResponse
from pydantic import BaseModel

from guardrail.wire.errors import NotUnderstood
from guardrail.wire.frames import Frames, Unpacked

Held = dict[str, Any]


class Unpacker:
    """Takes what a stream of LiteLLM's gives: objects, dicts, or server-sent events as bytes or text, cut anywhere.

    Attributes:
        is_done: never: LiteLLM's streams end by themselves.
    """

    is_done = False

    def __init__(self) -> None:
        self._frames = Frames()

    def take(self, item: Any) -> Iterator[Unpacked]:
        """Yield the pieces that are complete now.

        Raises:
            NotUnderstood: the item cannot be read.
        """
        if isinstance(item, str):
            yield from (Unpacked(one, _decoded(pack)) for one, pack in self._frames.take(item.encode()))
        elif isinstance(item, bytes | bytearray):
            yield from self._frames.take(bytes(item))
        else:
            yield unpacked(item)

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            NotUnderstood: the stream ended inside a frame.
        """
        self._frames.end()


def unpacked(item: Any) -> Unpacked:
    """Return an object or a dict as JSON, with how what leaves is packed again.

    Raises:
        NotUnderstood: it is neither.
    """
    if isinstance(item, Mapping):
        return Unpacked(item, _as_it_is)
    if isinstance(item, ModelResponseStream | TextCompletionResponse):
        return Unpacked(dumped(item), partial(_as_chunk, item))
    if isinstance(item, BaseModel) and not isinstance(item, ModelResponse):
        return Unpacked(dumped(item), _as_event)
    raise NotUnderstood(f"the stream's pieces, {type(item).__name__}, are in no format that it can read")


def dumped(item: BaseModel) -> Held:
    """Return an object as JSON."""
    return item.model_dump(mode="json", exclude_none=True, warnings=False)


def _as_chunk(like: Any, made: Mapping[str, Any]) -> Any:
    """Return a chunk of the kind of another one, with what LiteLLM keeps about it; a stop's summary is where LiteLLM
    looks for what it does not know.
    """
    choices = [dict(choice) for choice in made["choices"]]
    for choice in choices:
        if (summary := choice.pop("guardrail", None)) and "delta" in choice:
            choice["delta"] = {**choice["delta"], "provider_specific_fields": {"guardrail": summary}}
    chunk = type(like)(**{**made, "choices": choices})
    chunk._hidden_params = like._hidden_params
    return chunk


def _as_event(made: Mapping[str, Any]) -> Any:
    return BaseLiteLLMOpenAIResponseObject(**made)


def _as_it_is(made: Any) -> Any:
    return made


def _decoded(pack: Callable[[Any], bytes]) -> Callable[[Any], str]:
    return lambda made: pack(made).decode()
