"""The laws of the gate, through the stream API: any verdicts, any cutting, over HTTP and a WebSocket."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import Guard
from guardrail.testing import HashEngine, default_tokenizer
from tests.service.servers import Serving, serving
from tests.service.streaming import (
    FINISH,
    Events,
    delta_frame,
    of_kind,
    open_frame,
    post_open,
    released,
    socket_to,
)
from tests.strategies import chunk_sizes, cuts, texts

Play = Callable[[list[str]], Events]


@pytest.fixture(scope="module")
def guard() -> Guard:
    """Pseudo-random verdicts."""
    tokenizer = default_tokenizer()
    return Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.15), tokenizer)


@pytest.fixture(scope="module")
def running(guard: Guard) -> Iterator[Serving]:
    """One server for all examples."""
    with serving(guard=guard) as server:
        yield server


@pytest.fixture(params=["http", "socket"], scope="module")
def play(request: pytest.FixtureRequest, running: Serving) -> Iterator[Play]:
    """Send an answer's pieces one way or the other; return all events."""

    def over_http(pieces: list[str]) -> Events:
        stream = post_open(http)
        for piece in pieces:
            stream.feed(piece)
        stream.finish()
        return stream.log()

    def over_socket(pieces: list[str]) -> Events:
        with socket_to(running) as socket:
            socket.send(open_frame(), *map(delta_frame, pieces), FINISH)
            return socket.rest()

    with httpx.Client(base_url=running.url) as http:
        yield over_http if request.param == "http" else over_socket


def well_formed(text: str) -> str:
    """Half characters cannot be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@settings(max_examples=25)
@given(text=texts().map(well_formed), sizes=chunk_sizes)
def test_the_laws_hold_for_any_text_and_cutting(play: Play, guard: Guard, text: str, sizes: list[int]) -> None:
    """Released is a prefix behind its verdicts, nothing is behind a stop, and all is as if it were fed whole."""
    events = play(cuts(text, sizes))
    assert [event["seq"] for event in events] == list(range(len(events)))
    shown, judged = "", 0
    for event in events:
        if event["type"] == "verdict":
            judged = max(judged, event["end"])
        if event["type"] == "release":
            shown += event["text"]
            assert len(shown) <= judged or not of_kind(events, "stop")
    assert text.startswith(released(events))
    record = of_kind(events, "decision")[0]["record"]
    stops = of_kind(events, "stop")
    if stops:
        assert len(shown) <= stops[0]["stop_offset"] == record["stop_offset"]
        after = events[events.index(stops[0]) + 1 :]
        assert [event["type"] for event in after] == ["decision", "closed"]
    else:
        assert shown == text
    alone = guard.check_response("how?", text)
    assert (record["action"], record["stop_offset"]) == (alone.action, alone.stop_offset)
    assert len(shown) == alone.released_chars
    verdicts = [(event["start"], event["end"], event["risk"]) for event in of_kind(events, "verdict")]
    assert verdicts == [(token.start, token.end, token.risk) for token in alone.tokens]


@settings(max_examples=15)
@given(text=texts().map(well_formed), sizes=chunk_sizes, data=st.data())
def test_a_lossy_line_changes_nothing(
    running: Serving, guard: Guard, text: str, sizes: list[int], data: st.DataObject
) -> None:
    """Any delta sent twice, and any overlap, is read once."""
    with httpx.Client(base_url=running.url) as http:
        stream = post_open(http)
        start = 0
        for piece in cuts(text, sizes):
            begin = data.draw(st.integers(0, start))
            stream.offset = begin
            stream.feed(text[begin : start + len(piece)])
            if data.draw(st.booleans()):
                http.post(f"{stream.path}/deltas", json={"text": piece, "offset": start})
            start += len(piece)
        stream.finish()
        log = stream.log()
    alone = guard.check_response("how?", text)
    assert released(log) == text[: alone.released_chars]
    assert of_kind(log, "decision")[0]["record"]["stop_offset"] == alone.stop_offset
