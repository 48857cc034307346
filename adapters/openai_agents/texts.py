"""Where the texts of an answer stand in the items and events of the Responses format, and what of them was read."""

from collections.abc import Iterator
from typing import Any

DELTAS = {
    "response.output_text.delta": False,
    "response.refusal.delta": False,
    "response.reasoning_text.delta": True,
    "response.reasoning_summary_text.delta": True,
}
"""Events that bring a piece of text, and whether it is reasoning."""

_THINKING_WHOLES = ("response.reasoning_text.done", "response.reasoning_summary_text.done")
_WHOLES = ("response.output_text.done", "response.refusal.done", *_THINKING_WHOLES)

_HOLDERS = (
    "response.content_part.added",
    "response.content_part.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
    "response.output_item.added",
    "response.output_item.done",
)
"""Events that bring a part or an item."""

Place = tuple[int, str, int]
"""Output index, list of the item ("content" or "summary"), index in the list."""


class Reading:
    """What was read of an answer: its texts come as pieces, and again as wholes, which are not read twice.

    A backend may leave out any of these events, and then a whole is the first to bring a text.
    """

    def __init__(self) -> None:
        self._read: dict[Place, str] = {}

    def unread(self, event: Any) -> Iterator[tuple[str, bool]]:
        """Yield the texts of an event that were not read yet, and whether they are reasoning."""
        if event.type in DELTAS:
            place = _place(event)
            self._read[place] = self._read.get(place, "") + event.delta
            if event.delta:
                yield event.delta, DELTAS[event.type]
            return
        for place, text, thinking in _wholes(event):
            if text and text not in self._read.values():
                before = self._read.get(place, "")
                self._read[place] = text
                yield text[len(before) if text.startswith(before) else 0 :], thinking


def may_show(event: Any) -> bool:
    """Whether an event is of a kind whose texts are known: of any other nobody can tell what it says."""
    return event.type in DELTAS or event.type in (*_WHOLES, *_HOLDERS) or hasattr(event, "response")


def item_texts(index: int, item: Any) -> Iterator[tuple[Place, str, bool]]:
    """Yield the texts of an item with their places; only messages and reasoning have any."""
    if item.type == "message":
        for i, part in enumerate(item.content):
            yield (index, "content", i), _part_text(part), False
    elif item.type == "reasoning":
        for name in ("content", "summary"):
            for i, part in enumerate(getattr(item, name) or ()):
                yield (index, name, i), _part_text(part), True


def _wholes(event: Any) -> Iterator[tuple[Place, str, bool]]:
    if event.type in _WHOLES:
        text = event.refusal if event.type == "response.refusal.done" else event.text
        yield _place(event), text, event.type in _THINKING_WHOLES
    elif hasattr(event, "part"):
        place = _place(event)
        yield place, _part_text(event.part), place[1] == "summary" or event.part.type == "reasoning_text"
    elif hasattr(event, "item"):
        yield from item_texts(event.output_index, event.item)
    elif hasattr(event, "response"):
        for index, item in enumerate(event.response.output):
            yield from item_texts(index, item)


def _place(event: Any) -> Place:
    if hasattr(event, "summary_index"):
        return event.output_index, "summary", event.summary_index
    return event.output_index, "content", event.content_index


def _part_text(part: Any) -> str:
    return str(getattr(part, "text", None) or getattr(part, "refusal", None) or "")
