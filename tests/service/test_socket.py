"""The token stream API over a WebSocket."""

import json
import threading

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from guardrail import Reason
from guardrail.engines.base import Logits
from guardrail.service import Settings
from guardrail.service.sections import ServerSettings, StreamSettings
from guardrail.testing import FailingEngine
from tests.service.servers import Serving, breaking_guard, serving
from tests.service.streaming import (
    FINISH,
    asking,
    delta_frame,
    kinds,
    of_kind,
    open_frame,
    post_open,
    released,
    socket_to,
)
from tests.service.test_operators import KEYS

WEB = {"authorization": "Bearer web-0123456789abcdef"}


def test_a_socket_carries_one_stream_to_its_end(served: Serving) -> None:
    """Open, deltas, finish; the events come in order and the server closes behind the last."""
    with socket_to(served, subprotocols=["guardrail.v1"]) as socket:
        assert socket.socket.subprotocol == "guardrail.v1"
        socket.send(open_frame(conversation_id="talk-1"), delta_frame("It is "), delta_frame("bread."), FINISH)
        events = socket.rest()
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert kinds(events)[0] == "opened"
    assert kinds(events)[-2:] == ["decision", "closed"]
    assert released(events) == "It is bread."
    assert socket.code == 1000
    assert served.sink.decisions[0].conversation_id == "talk-1"


def test_a_stop_ends_the_socket(served: Serving) -> None:
    """Nothing follows the stop but the decision, whatever else was sent."""
    with socket_to(served) as socket:
        socket.send(open_frame(), delta_frame("Mix it ☠ and stir."), delta_frame(" More."))
        events = socket.rest()
    assert kinds(events)[-3:] == ["stop", "decision", "closed"]
    assert released(events) == "Mix it "
    assert socket.code == 1000


def test_deltas_that_have_arrived_are_read_in_few_calls() -> None:
    """A burst costs about as many calls of the model as its text needs, not one for each delta."""
    has_sent = threading.Event()

    def wait(logits: list[Logits], /) -> list[Logits]:
        has_sent.wait(30)
        return logits

    guard = breaking_guard(wait)
    with serving(guard=guard) as running, socket_to(running) as socket:
        socket.send(open_frame(verdicts=False), *(delta_frame("bread ") for _ in range(32)), FINISH)
        has_sent.set()
        assert released(socket.rest()) == "bread " * 32
    assert isinstance(guard.engine, FailingEngine)
    assert guard.engine.n_steps < 12


def test_text_that_waits_is_read_though_what_follows_it_is_a_repetition() -> None:
    """A client that resumes sends again what may be missing: that must not leave the text before it unread."""
    has_sent = threading.Event()

    def wait(logits: list[Logits], /) -> list[Logits]:
        has_sent.wait(30)
        return logits

    with serving(guard=breaking_guard(wait)) as running, socket_to(running) as socket:
        socket.send(open_frame(), delta_frame("It is ", offset=0), *(delta_frame("It is ", offset=0) for _ in range(2)))
        has_sent.set()
        assert socket.next("read")["end"] == 6


def test_text_that_was_sent_is_read_though_the_socket_drops(served: Serving) -> None:
    """And the events are there for who resumes."""
    with socket_to(served) as socket:
        socket.send(open_frame())
        stream_id = socket.next("opened")["id"]
        socket.send(delta_frame("It is "), delta_frame("bread "))
    with socket_to(served) as socket:
        socket.send({"type": "resume", "id": stream_id})
        while socket.next("read")["end"] < len("It is bread "):
            pass


@pytest.mark.parametrize("after", range(-1, 14))
def test_a_stream_is_resumed_behind_any_event(served: Serving, after: int) -> None:
    """A client that lost its socket gets what it has not seen, sends what may be missing, and loses nothing."""
    with socket_to(served, close_timeout=0.1) as socket:
        socket.send(open_frame(), delta_frame("It is ", offset=0))
        first = [socket.next() for _ in range(4)]
        stream_id = first[0]["id"]
    with socket_to(served) as socket:
        socket.send({"type": "resume", "id": stream_id, "after": after}, delta_frame("It is ", offset=0))
        socket.send(delta_frame("bread and salt.", offset=6), {"type": "finish", "offset": 21})
        rest = socket.rest()
    assert [event["seq"] for event in rest] == list(range(after + 1, after + 1 + len(rest)))
    with httpx.Client(base_url=served.url) as http:
        log = [json.loads(line[6:]) for line in http.get(f"/v1/streams/{stream_id}/events").text.splitlines()
               if line.startswith("data")]  # fmt: skip
    assert rest == log[after + 1 :]
    assert released(log) == "It is bread and salt."
    assert len(served.sink.decisions) == 1


def test_what_begins_on_a_socket_can_go_on_over_http_and_back(served: Serving, client: httpx.Client) -> None:
    """They are two ways to the same stream."""
    stream = post_open(client)
    stream.feed("It is ")
    with socket_to(served) as socket:
        socket.send({"type": "resume", "id": stream.id, "after": 2})
        socket.send(delta_frame("bread ", offset=6))
        while socket.next("read")["end"] < 12:
            pass
        stream.offset += 6
        stream.feed("and salt.")
        stream.finish()
        socket.rest()
        assert socket.code == 1000
    assert released(stream.log()) == "It is bread and salt."


GARBAGE = [
    "{", "[]", '"delta"', '{"type": "delta"}', '{"type": "fly"}', '{"type": "delta", "text": 1}', b"\xff\x00",
    '{"type": "delta", "text": "x", "flying": 1}', '{"type": "delta", "text": "\\ud83d"}', "",
    '{"type": "open", "messages": "again"}', '{"type": "delta", "text": "x", "offset": 99}',
    '{"type": "delta", "text": "x", "offset": -1}', "[" * 50000,
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_frame_that_is_none_closes_the_gate(served: Serving, garbage: str | bytes) -> None:
    """An error event without what was sent, then 1008; what is held stays withheld, and the stream is over."""
    with socket_to(served) as socket:
        socket.send(open_frame(), delta_frame("It is br"))
        socket.next("read")
        socket.send(garbage, FINISH)
        events = socket.rest()
    assert kinds(events) == ["error", "decision", "closed"]
    assert socket.code == 1008
    assert "fly" not in json.dumps(events[0])
    (decision,) = served.sink.decisions
    assert decision.reason is Reason.ABANDONED
    assert decision.withheld_chars > 0


@pytest.mark.parametrize(
    "first", ["{", delta_frame("x"), FINISH, {"type": "close"}, open_frame(messages=[{"role": 1}])]
)
def test_a_first_frame_that_opens_nothing_is_refused(served: Serving, first: str | dict[str, object]) -> None:
    """There is no stream to tell of it: the error has the number -1."""
    with socket_to(served) as socket:
        socket.send(first)
        (error,) = socket.rest()
    assert (error["type"], error["seq"], socket.code) == ("error", -1, 1008)
    assert not served.sink.decisions


def test_a_huge_frame_is_not_taken(served: Serving) -> None:
    """More than a mebibyte: 1009, and the stream waits to be resumed or to be given up."""
    with socket_to(served) as socket:
        socket.send(open_frame())
        stream_id = socket.next("opened")["id"]
        socket.send(delta_frame("x" * 2**20))
        assert socket.rest() == []
        assert socket.code == 1009
    with socket_to(served) as socket:
        socket.send({"type": "resume", "id": stream_id}, {"type": "close"})
        assert kinds(socket.rest()) == ["opened", "decision", "closed"]


def test_a_large_delta_tells_everything_it_brought() -> None:
    """Though it brings more events than are kept."""
    text = "bread and salt, " * 500
    with serving(Settings(streams=StreamSettings(max_events=50))) as running, socket_to(running) as socket:
        socket.send(open_frame(), delta_frame(text), FINISH)
        events = socket.rest()
    assert released(events) == text
    assert len(of_kind(events, "verdict")) > 1000


def test_events_that_are_gone_cannot_be_resumed() -> None:
    """410's error, and the socket closes; the stream is left to who has them."""
    with asking(Settings(streams=StreamSettings(max_events=1))) as (running, http), socket_to(running) as socket:
        stream = post_open(http)
        stream.feed("It is bread ")
        stream.feed("and salt ")
        socket.send({"type": "resume", "id": stream.id})
        (error,) = socket.rest()
        assert (error["error"]["code"], socket.code) == ("events_gone", 1008)
        assert http.get(stream.path).json()["state"] == "open"


def test_keys_come_in_a_header_or_a_subprotocol() -> None:
    """A page can set no headers; the answer names the protocol, never the key."""
    with serving(Settings(keys=KEYS)) as running:
        for settings in (
            {"additional_headers": WEB},
            {"subprotocols": ["guardrail.v1", "guardrail.key.web-0123456789abcdef"]},
        ):
            with socket_to(running, **settings) as socket:
                socket.send(open_frame(), FINISH)
                assert kinds(socket.rest())[-1] == "closed"
                assert socket.socket.subprotocol in (None, "guardrail.v1")
        with pytest.raises(InvalidStatus) as refused, socket_to(running):
            pass
    answer = refused.value.response
    assert (answer.status_code, json.loads(answer.body or b"")["error"]["code"]) == (401, "missing_api_key")
    assert [decision.tenant for decision in running.sink.decisions] == ["shop", "shop"]


def test_another_tenants_stream_cannot_be_resumed() -> None:
    """It answers as for an unknown id."""
    with asking(Settings(keys=KEYS), headers=WEB) as (running, http):
        stream = post_open(http)
        answers = []
        for stream_id in (stream.id, "stream_x"):
            with socket_to(running, additional_headers={"x-api-key": "strict-0123456789abcdef"}) as socket:
                socket.send({"type": "resume", "id": stream_id})
                answers.append(socket.rest())
    assert answers[0] == answers[1]
    assert answers[0][0]["error"]["code"] == "stream_not_found"


def test_pages_of_other_origins_may_not_connect() -> None:
    """A browser lets any page open a socket; unless the settings name its origin, the handshake is refused."""
    settings = Settings(server=ServerSettings(cors_origins=("https://app.example",)))
    with serving(settings) as running:
        for origin in ("https://app.example", running.url):
            with socket_to(running, origin=origin) as socket:
                socket.send({"type": "close"})
        with pytest.raises(InvalidStatus) as refused, socket_to(running, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


def test_a_socket_that_says_nothing_is_closed() -> None:
    """A first frame has `body_s` to come."""
    with serving(Settings(server=ServerSettings(body_s=0.1))) as running, socket_to(running) as socket:
        (error,) = socket.rest()
    assert (error["error"]["code"], socket.code) == ("timeout", 1008)


def test_a_full_server_says_when_to_come_back() -> None:
    """The error of HTTP's 429, and the close code for later."""
    with asking(Settings(streams=StreamSettings(max_open=1))) as (running, http), socket_to(running) as socket:
        post_open(http)
        socket.send(open_frame())
        (error,) = socket.rest()
    assert (error["error"]["code"], socket.code) == ("too_many_streams", 1013)
