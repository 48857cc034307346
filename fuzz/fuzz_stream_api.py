"""The token stream API, over HTTP and a WebSocket: any frames in any order release a prefix of the clean text."""

from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.serving import BAD, MARKER, SECRET, Answer, Service, is_risky
from fuzz.shaping import BRIEF, from_bytes, json_bytes

OPEN = {
    "type": "open", "messages": [{"role": "user", "content": f"how {SECRET}?"}], "conversation_id": "c",
    "verdicts": False, "enforce": True,
}  # fmt: skip
DELTA = {"type": "delta", "text": "Mix flour and water. ", "thinking": False, "offset": None}
RISKY = {"type": "delta", "text": f"Then {BAD}", "offset": 21}
FINISH = {"type": "finish", "offset": None}
CLOSE = {"type": "close"}
RESUME = {"type": "resume", "id": "stream_x", "after": -1}
ALSO = (MARKER, f"{SECRET} ", "\ud83d", "open", "delta", "finish", 21, 10**9, "thinking", f"{SECRET}\ud800")

FRAMES = st.one_of(*(json_bytes(frame, ALSO) for frame in (DELTA, DELTA, RISKY, FINISH, CLOSE, RESUME, OPEN)))
CALLS = st.tuples(
    st.sampled_from(["deltas", "deltas", "deltas", "finish", "events", "state", "delete", "lost"]),
    FRAMES,
    st.sampled_from([b"", b"after=0", b"after=-1", b"after=x", b"after=99999999999999999999", b"after=2"]),
)


@cache
def service() -> Service:
    """Return the server; one serves all inputs."""
    return Service()


@BRIEF
@given(
    opening=st.just(b"{}") | json_bytes(OPEN, ALSO), calls=st.lists(CALLS, max_size=6),
    frames=st.lists(FRAMES, max_size=6), is_text=st.booleans(),
)  # fmt: skip
def holds(opening: bytes, calls: list[tuple[str, bytes, bytes]], frames: list[bytes], is_text: bool) -> None:
    """Nothing from a marker on is released, events are numbered, and errors repeat nothing."""
    opened = service().ask("/v1/streams", opening)
    if opened.status == 201:
        over_http(opened.values[0]["id"], calls)
    sent = [opening, *frames]
    check_events(service().talk([frame.decode("utf-8", "replace") if is_text else frame for frame in sent]), 0)


def over_http(name: str, calls: list[tuple[str, bytes, bytes]]) -> None:
    """Make calls about one stream, and give it up at the end."""
    events: list[Any] = []
    path = f"/v1/streams/{name}"
    for kind, body, query in calls:
        answer = call(path, kind, body, query)
        if kind == "events" and answer.status == 200:
            check_events(answer.values, None)
        elif answer.status == 200 and "events" in answer.values[0]:
            events += [event for event in answer.values[0]["events"] if event["seq"] >= len(events) + 1]
    check_events(events, 1)
    assert service().ask(path, method="DELETE").status == 200


def call(path: str, kind: str, body: bytes, query: bytes) -> Answer:
    """Make one call."""
    if kind in ("deltas", "finish"):
        return service().ask(f"{path}/{kind}", body)
    if kind == "events":
        return service().ask(f"{path}/events", method="GET", query=query, leaves=True)
    if kind == "lost":
        return service().ask(f"/v1/streams/{SECRET}/deltas", body)
    return service().ask(path, method="GET" if kind == "state" else "DELETE")


def check_events(events: list[Any], first: int | None) -> None:
    """Events are numbered, release text in order, and nothing of it is risky; errors repeat nothing."""
    text, place = "", 0
    numbers = [event["seq"] for event in events if event["seq"] >= 0]
    if first is not None:
        assert numbers == list(range(first, first + len(numbers)))
    for event in events:
        if event["type"] == "release":
            assert (first is None and not text) or event["start"] == place
            text, place = text + event["text"], event["end"]
        assert SECRET not in str(event.get("error"))
    assert not is_risky(text)


one_input = from_bytes(holds)
