"""Streams of the stream API, by hand: over HTTP and over a WebSocket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from guardrail import Guard
from guardrail.service import Settings
from tests.service.servers import Serving, serving

Events = list[dict[str, Any]]


@dataclass
class Posted:
    """A stream over HTTP."""

    http: httpx.Client
    id: str
    offset: int = 0
    events: Events = field(default_factory=list)

    @property
    def path(self) -> str:
        """Of the stream."""
        return f"/v1/streams/{self.id}"

    def feed(self, text: str, **more: Any) -> Events:
        """Send a delta; return what it brought."""
        new = brought(self.http.post(f"{self.path}/deltas", json={"text": text, "offset": self.offset, **more}))
        self.offset += len(text)
        self.events += new
        return new

    def finish(self) -> Events:
        """End the answer."""
        new = brought(self.http.post(f"{self.path}/finish", json={"offset": self.offset}))
        self.events += new
        return new

    def log(self, after: int = -1, headers: dict[str, str] | None = None) -> Events:
        """All events of an ended stream, from SSE."""
        answer = self.http.get(f"{self.path}/events", params={"after": after}, headers=headers)
        assert answer.status_code == 200, answer.text
        return from_sse(answer.text)


def brought(answer: httpx.Response) -> Events:
    """The events in an answer."""
    assert answer.status_code == 200, answer.text
    events: Events = answer.json()["events"]
    return events


def from_sse(text: str) -> Events:
    """The events in SSE's frames, whose ids are their numbers."""
    events = []
    for frame in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if line and line[0] != ":")
        if lines:
            events.append(json.loads(lines["data"]))
            assert str(events[-1]["seq"]) == lines["id"]
    return events


def post_open(http: httpx.Client, **asked: Any) -> Posted:
    """Open a stream over HTTP."""
    answer = http.post("/v1/streams", json={"messages": "how?", **asked})
    assert answer.status_code == 201, answer.text
    return Posted(http, answer.json()["id"])


@contextmanager
def asking(
    settings: Settings | None = None, *, guard: Guard | None = None, **client: Any
) -> Iterator[tuple[Serving, httpx.Client]]:
    """A server, and a client that asks it."""
    with serving(settings, guard=guard) as running, httpx.Client(base_url=running.url, timeout=30, **client) as http:
        yield running, http


@dataclass
class Socket:
    """A WebSocket that speaks the protocol."""

    socket: Connection

    def send(self, *frames: dict[str, Any] | str | bytes) -> None:
        """Send frames; the server may have closed meanwhile."""
        with suppress(ConnectionClosed):
            for frame in frames:
                self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def next(self, *kinds: str) -> dict[str, Any]:
        """The next event, or the next of some kinds."""
        while True:
            event: dict[str, Any] = json.loads(self.socket.recv(30))
            if not kinds or event["type"] in kinds:
                return event

    def rest(self) -> Events:
        """All events until the server closes."""
        events: Events = []
        try:
            while True:
                events.append(json.loads(self.socket.recv(30)))
        except ConnectionClosed:
            return events

    @property
    def code(self) -> int | None:
        """With which the server closed."""
        return self.socket.close_code


@contextmanager
def socket_to(running: Serving, **settings: Any) -> Iterator[Socket]:
    """Connect to a server's stream API."""
    url = running.url.replace("http", "ws") + "/v1/streams"
    with connect(url, **{"max_size": None, "close_timeout": 2, **settings}) as socket:
        yield Socket(socket)


def open_frame(**asked: Any) -> dict[str, Any]:
    """Opens a stream."""
    return {"type": "open", "messages": "how?", **asked}


def delta_frame(text: str, **more: Any) -> dict[str, Any]:
    """A delta."""
    return {"type": "delta", "text": text, **more}


FINISH = {"type": "finish"}


def kinds(events: Events) -> list[str]:
    """Types of events."""
    return [event["type"] for event in events]


def released(events: Events) -> str:
    """The text that events release, whose places fit."""
    text = ""
    for event in events:
        if event["type"] == "release":
            assert (event["start"], event["end"]) == (len(text), len(text) + len(event["text"]))
            text += event["text"]
    return text


def of_kind(events: Events, kind: str) -> Events:
    """The events of one type."""
    return [event for event in events if event["type"] == kind]
