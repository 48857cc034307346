"""Fields and texts of the events of OpenAI's responses."""

from collections.abc import Mapping
from typing import Any

from guardrail.wire.errors import NotUnderstood

Place = tuple[int, str, int]
"""Where a text stands: its item, "content" or "summary", and its part."""

Text = tuple[Place, str, bool]
"""A text, where it stands, and whether it is reasoning."""

Event = Mapping[str, Any]


def place_of(event: Event) -> Place:
    """Return where an event's text stands."""
    summary = event.get("summary_index")
    if summary is not None:
        return event["output_index"], "summary", summary
    return event["output_index"], "content", event.get("content_index") or 0


_PARTS = ("output_text", "refusal", "summary_text", "reasoning_text", "text")


def refuse_unknown(part: Event) -> None:
    """Refuse a part whose texts are not known.

    Raises:
        NotUnderstood: it is such a one.
    """
    if part.get("type") not in _PARTS:
        raise NotUnderstood("a part is of an unknown type")


def has_annotations(event: Event) -> bool:
    """Whether an event carries texts that stand beside the answer's."""
    parts = (event.get("part") or {}, *((event.get("item") or {}).get("content") or ()))
    return any(part.get("annotations") for part in parts)


def part_of(place: Place, part: Event) -> Text:
    """Return a part's place, its text, and whether it is reasoning.

    Raises:
        NotUnderstood: its type is unknown.
    """
    refuse_unknown(part)
    text = part.get("text") or part.get("refusal") or ""
    return place, text, place[1] == "summary" or part.get("type") == "reasoning_text"


_OF_DELTA = {
    "type", "item_id", "output_index", "content_index", "summary_index", "sequence_number", "delta", "logprobs",
}  # fmt: skip


def shown(event: Event, text: str) -> dict[str, Any]:
    """Return a delta's event with the text that may be shown; probabilities name tokens, and go with a whole delta.

    Fields that are not known may repeat text that is not shown yet, and stay back.
    """
    kept = {name: value for name, value in event.items() if name in _OF_DELTA}
    if text != event["delta"] and event.get("logprobs"):
        kept["logprobs"] = []
    return {**kept, "delta": text}


def response_texts(response: Event | None) -> list[Text]:
    """Return the texts of a response that has only begun.

    Raises:
        NotUnderstood: it holds something else already.
    """
    items = list((response or {}).get("output") or ())
    if any(item.get("type") not in ("message", "reasoning") for item in items):
        raise NotUnderstood("a response begins with a call")
    return [text for index, item in enumerate(items) for text in item_texts(index, item)]


def item_texts(index: int, item: Event) -> list[Text]:
    """Return the texts of an item, each with its place and whether it is reasoning."""
    return [
        part_of((index, name, i), part)
        for name in ("summary", "content")
        for i, part in enumerate(item.get(name) or ())
    ]
