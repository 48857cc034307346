"""Events of Anthropic's messages, through one answer."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.waiting import Steps
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.event_gate import EventGate
from guardrail.wire.exchange import Exchange
from guardrail.wire.summary import summary_of

Event = Mapping[str, Any]

_TEXTS = {"text": False, "thinking": True}
"""Kinds of blocks that hold text, each with whether it is reasoning; the text is under the name of the kind."""

_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
EVENTS = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "ping", "error",
)  # fmt: skip


class MessagesGate(EventGate):
    """The events of one message. One caller at a time.

    Text leaves token by token; from the first tool call on everything waits until the message has ended well.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._kinds: dict[int, str] = {}
        self._open: int | None = None
        self._n_blocks = 0

    def taking(self, event: Event) -> Steps[list[Event]]:
        """Take an event; return those that may leave.

        Raises:
            NotUnderstood: the event cannot be read.
        """
        yield from self._answer.opening()
        made = yield from self._taking(event)
        return self._sent(made) + self._closing()

    def finishing(self) -> Steps[list[Event]]:
        """Come to an end: the LLM has ended, or was ended; return the rest."""
        made = yield from self._answer.finishing()
        return self._sent(made) + self._closing()

    def _taking(self, event: Event) -> Steps[list[Event]]:
        kind = event["type"]
        if kind == "content_block_start":
            return (yield from self._starting(event))
        if kind == "content_block_delta":
            return (yield from self._reading(event))
        if kind in ("message_delta", "message_stop"):
            made = yield from self._answer.finishing()
            return made if self.is_cut else [*made, event]
        if kind == "content_block_stop":
            return self._answer.passing(lambda _: {"type": kind, "index": event["index"]})
        if kind == "message_start" and event["message"].get("content"):
            raise NotUnderstood("a message begins with content")
        return self._answer.passing(lambda _: event)

    def _starting(self, event: Event) -> Steps[list[Event]]:
        block, index = event["content_block"], event["index"]
        kind = self._kinds[index] = block["type"]
        if kind in _TEXTS:
            kept = {name: block[name] for name in ("type", "signature") if name in block}
            return (
                yield from self._answer.reading(
                    block.get(kind) or "",
                    lambda shown: {"type": event["type"], "index": index, "content_block": {**kept, kind: shown}},
                    thinking=_TEXTS[kind], whole=True,
                )
            )  # fmt: skip
        if kind in _CALLS:
            self._answer.holding(lambda _: event)
            given = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else ""
            return (yield from self._answer.calling(index, block["name"], given))
        if kind == "redacted_thinking":
            return self._answer.passing(lambda _: event)
        raise NotUnderstood(f"a content block is of the unknown type {kind!r}")

    def _reading(self, event: Event) -> Steps[list[Event]]:
        delta, index = event["delta"], event["index"]
        kind = delta["type"].removesuffix("_delta")
        if kind in _TEXTS:
            tags = {"type": event["type"], "index": index}  # other fields may repeat text that is not shown yet
            return (
                yield from self._answer.reading(
                    delta[kind],
                    lambda shown: {**tags, "delta": {"type": delta["type"], kind: shown}},
                    thinking=_TEXTS[kind],
                )
            )
        if kind == "input_json" and self._kinds.get(index) in _CALLS:
            self._answer.holding(lambda _: event)
            return (yield from self._answer.calling(index, "", delta["partial_json"]))
        if kind == "signature":
            return self._answer.passing(lambda _: event)
        raise NotUnderstood(f"a content block's delta is of the unknown type {delta['type']!r}")

    def _sent(self, events: list[Event]) -> list[Event]:
        """Remember which block is open for the reader."""
        for event in events:
            if event["type"] == "content_block_start":
                self._open, self._n_blocks = event["index"], event["index"] + 1
            elif event["type"] == "content_block_stop":
                self._open = None
        return events

    def _closing(self) -> list[Event]:
        if not self.is_cut or self._is_closed or self._exchange.raises:
            return []
        self._is_closed = True
        return list(self._last_events(self._exchange.closing_text(self._answer.decision)))

    def _last_events(self, text: str) -> Iterator[Event]:
        if self._open is not None:
            yield {"type": "content_block_stop", "index": self._open}
        if text:
            block = {"type": "text", "text": ""}
            yield {"type": "content_block_start", "index": self._n_blocks, "content_block": block}
            delta = {"type": "text_delta", "text": text}
            yield {"type": "content_block_delta", "index": self._n_blocks, "delta": delta}
            yield {"type": "content_block_stop", "index": self._n_blocks}
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": "refusal", "stop_sequence": None},
            "usage": {"output_tokens": sum(answer.decision.n_tokens for answer in self.answers.values())},
            "guardrail": summary_of(self._answer.decision),
        }
        yield {"type": "message_stop"}
