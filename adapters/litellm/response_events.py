"""Fields and texts of the events of OpenAI's responses, which come as objects or as dicts."""

from collections.abc import Mapping
from typing import Any

from guardrail.adapters.litellm.errors import NotUnderstood

Place = tuple[int, str, int]
"""Where a text stands: its item, "content" or "summary", and its part."""


def get(event: Any, name: str) -> Any:
    """Return a field of an event, which may be an object or a dict."""
    return event.get(name) if isinstance(event, Mapping) else getattr(event, name, None)


def kind_of(event: Any) -> str:
    """Return an event's type."""
    kind = get(event, "type")
    return str(getattr(kind, "value", kind))


def changed(event: Any, name: str, value: Any) -> Any:
    """Return an event with another value of a field."""
    if isinstance(event, Mapping):
        return {**event, name: value}
    return event.model_copy(update={name: value})


def place_of(event: Any) -> Place:
    """Return where an event's text stands."""
    summary = get(event, "summary_index")
    if summary is not None:
        return get(event, "output_index"), "summary", summary
    return get(event, "output_index"), "content", get(event, "content_index") or 0


_PARTS = ("output_text", "refusal", "summary_text", "reasoning_text", "text")


def refuse_unknown(part: Any) -> None:
    """Refuse a part whose texts are not known.

    Raises:
        NotUnderstood: it is such a one.
    """
    if get(part, "type") not in _PARTS:
        raise NotUnderstood(f"a part is of the unknown type {get(part, 'type')!r}")


def has_annotations(event: Any) -> bool:
    """Whether an event carries texts that stand beside the answer's."""
    return any(get(part, "annotations") for part in (get(event, "part"), *(get(get(event, "item"), "content") or ())))


def part_of(place: Place, part: Any) -> tuple[Place, str, bool]:
    """Return a part's place, its text, and whether it is reasoning.

    Raises:
        NotUnderstood: its type is unknown.
    """
    refuse_unknown(part)
    text = get(part, "text") or get(part, "refusal") or ""
    return place, text, place[1] == "summary" or get(part, "type") == "reasoning_text"


_OF_DELTA = {
    "type", "item_id", "output_index", "content_index", "summary_index", "sequence_number", "delta", "logprobs",
}  # fmt: skip


def shown(event: Any, text: str) -> Any:
    """Return a delta's event with the text that may be shown; probabilities name tokens, and go with a whole delta.

    Fields that are not known may repeat text that is not shown yet, and stay back.
    """
    if isinstance(event, Mapping):
        event = {name: value for name, value in event.items() if name in _OF_DELTA}
    else:
        event = event.model_copy()
        for name in set(event.model_extra or ()) - _OF_DELTA:
            delattr(event, name)
    if text != get(event, "delta") and get(event, "logprobs"):
        event = changed(event, "logprobs", [])
    return changed(event, "delta", text)


def response_texts(response: Any) -> list[tuple[Place, str, bool]]:
    """Return the texts of a response that has only begun.

    Raises:
        NotUnderstood: it holds something else already.
    """
    items = list(get(response, "output") or ())
    if any(get(item, "type") not in ("message", "reasoning") for item in items):
        raise NotUnderstood("a response begins with a call")
    return [text for index, item in enumerate(items) for text in item_texts(index, item)]


def item_texts(index: int, item: Any) -> list[tuple[Place, str, bool]]:
    """Return the texts of an item, each with its place and whether it is reasoning."""
    return [
        part_of((index, name, i), part)
        for name in ("summary", "content")
        for i, part in enumerate(get(item, name) or ())
    ]
