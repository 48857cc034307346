"""The token stream API over HTTP and SSE."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from guardrail import Reason
from guardrail.engines.base import Logits
from guardrail.errors import EngineTimeout
from guardrail.service import Settings
from guardrail.service.sections import RouteSettings, ServerSettings
from tests.service.servers import Serving, breaking_guard, failing_guard, marker_guard
from tests.service.streaming import asking, from_sse, kinds, of_kind, post_open, released
from tests.service.test_operators import KEYS, samples

WEB = {"authorization": "Bearer web-0123456789abcdef"}
STRICT = {"authorization": "Bearer strict-0123456789abcdef"}


def test_a_delta_brings_verdicts_then_what_they_clear(client: httpx.Client) -> None:
    """Verdicts have places and probabilities; a release stands behind them, and `read` tells how far it got."""
    stream = post_open(client)
    events = stream.feed("Mix it ")
    assert kinds(events) == ["verdict", "verdict", "verdict", "release", "read"]
    first = events[0]
    assert (first["index"], first["start"], first["risk"], first["category"]) == (0, 0, "Safe", None)
    assert sum(first["risk_probabilities"].values()) == pytest.approx(1)
    assert sum(first["category_probabilities"].values()) == pytest.approx(1)
    assert (events[3]["text"], events[4]["end"]) == ("Mix it", 7)


def test_a_stop_hides_what_follows_and_says_why(client: httpx.Client, served: Serving) -> None:
    """Stop, decision and end come at once; later deltas are taken and bring nothing."""
    stream = post_open(client, conversation_id="talk-1")
    events = stream.feed("Mix it ☠ and stir.")
    assert kinds(events)[-4:] == ["release", "stop", "decision", "closed"]
    stop, record = events[-3], events[-2]["record"]
    assert (stop["stop_offset"], stop["risk"], stop["category"], stop["reason"]) == (7, "Unsafe", "Violent", "verdict")
    assert stop["message"] == "This content was stopped by a safety policy."
    assert (record["action"], record["conversation_id"], record["released_chars"]) == ("stop", "talk-1", 7)
    assert stream.feed("more") == []
    assert stream.finish() == []
    assert released(stream.events) == "Mix it "
    assert client.get(stream.path).json()["state"] == "stopped"
    assert len(served.sink.decisions) == 1


def test_the_end_brings_the_rest_and_the_decision(client: httpx.Client) -> None:
    """A clear answer is released whole; a second finish brings the same events again."""
    stream = post_open(client, verdicts=False)
    stream.feed("It is br")
    stream.feed("ead.")
    events = stream.finish()
    assert kinds(events) == ["release", "decision", "closed"]
    assert released(stream.events) == "It is bread."
    assert stream.finish() == events
    late = client.post(f"{stream.path}/deltas", json={"text": "more"})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "stream_ended")


def test_all_events_can_be_read_again_from_any_one_on(client: httpx.Client) -> None:
    """SSE numbers them, starts behind `after` or Last-Event-ID, and ends behind the last."""
    stream = post_open(client)
    stream.feed("It is bread.")
    stream.finish()
    log = stream.log()
    assert [event["seq"] for event in log] == list(range(len(log)))
    assert log[0] == {"type": "opened", "seq": 0, "id": stream.id, "policy": "balanced", "release": "token",
                      "enforce": True}  # fmt: skip
    assert log[1:] == stream.events
    assert stream.log(after=3) == log[4:]
    assert stream.log(headers={"last-event-id": "3"}) == log[4:]
    wrong = client.get(f"{stream.path}/events", headers={"last-event-id": "x"})
    assert wrong.status_code == 400


def test_a_reader_gets_events_while_they_come_and_comments_while_none_do() -> None:
    """SSE follows a stream that is open, and keeps the connection alive while text is held."""
    with asking(Settings(server=ServerSettings(keep_alive_s=0.05))) as (_running, http):
        stream = post_open(http, verdicts=False)
        with http.stream("GET", f"{stream.path}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("data"))
            assert next(line for line in lines if line) == ": keep-alive"
            stream.feed("It is bread.")
            stream.finish()
            rest = "\n".join(line for line in lines)
    assert kinds([json.loads(line[6:]) for line in rest.splitlines() if line.startswith("data")]) == [
        "release", "read", "release", "decision", "closed",
    ]  # fmt: skip


def test_a_repeated_delta_is_not_read_twice(client: httpx.Client) -> None:
    """Its answer was lost: it brings the same events again; what overlaps is read from where it is new."""
    stream = post_open(client)
    stream.feed("It is ")
    events = stream.feed("bread ")
    again = client.post(f"{stream.path}/deltas", json={"text": "bread ", "offset": 6})
    assert again.json()["events"] == events
    old = client.post(f"{stream.path}/deltas", json={"text": "It is ", "offset": 0})
    assert old.json()["events"] == []
    stream.offset = 6
    stream.feed("bread and salt.")
    stream.finish()
    assert released(stream.log()) == "It is bread and salt."


def test_a_gap_is_refused_and_nothing_is_read(client: httpx.Client) -> None:
    """Text is missing: 409, at a delta and at the end, and the stream stays as it was."""
    stream = post_open(client)
    stream.feed("It is ")
    for path, body in (("deltas", {"text": "x", "offset": 7}), ("finish", {"offset": 5 + 2})):
        answer = client.post(f"{stream.path}/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "offset_gap")
    assert client.get(stream.path).json()["fed_chars"] == 6


def test_reasoning_comes_first_or_not_at_all(client: httpx.Client) -> None:
    """It is judged too; behind the answer it is 409, and the stream goes on."""
    stream = post_open(client)
    assert of_kind(stream.feed("Let me think. ", thinking=True), "verdict")
    stream.feed("It is ")
    late = client.post(f"{stream.path}/deltas", json={"text": "hm", "thinking": True})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "out_of_order")
    stream.feed("bread.")
    stream.finish()
    assert released(stream.events) == "Let me think. It is bread."


def test_a_watched_answer_is_judged_to_its_end_and_never_released(client: httpx.Client, served: Serving) -> None:
    """`enforce: false` tells where it would have been stopped, and every verdict behind that."""
    stream = post_open(client, enforce=False)
    text = "Mix it ☠ and stir."
    stream.feed(text)
    stream.finish()
    assert kinds(stream.events).count("would_stop") == 1
    assert of_kind(stream.events, "would_stop")[0]["stop_offset"] == 7
    assert of_kind(stream.events, "verdict")[-1]["end"] == len(text)
    assert not {"release", "stop"} & set(kinds(stream.events))
    assert [(one.action, one.would_action) for one in served.sink.decisions] == [("flag", "stop")]


def test_a_policy_in_shadow_releases_everything_and_marks_the_stop() -> None:
    """The service's own shadow policy: text goes out at once, the stop is only told."""
    with asking(guard=marker_guard("shadow")) as (_running, http):
        stream = post_open(http)
        stream.feed("Mix it ☠ and stir.")
        stream.finish()
        assert released(stream.events) == "Mix it ☠ and stir."
        assert of_kind(stream.events, "would_stop")[0]["stop_offset"] == 7


def test_a_closed_stream_is_abandoned_and_its_text_stays_withheld(client: httpx.Client, served: Serving) -> None:
    """DELETE ends it, twice is once; it is recorded."""
    stream = post_open(client)
    stream.feed("It is br")
    assert [client.delete(stream.path).json()["state"] for _ in range(2)] == ["abandoned", "abandoned"]
    (decision,) = served.sink.decisions
    assert decision.reason is Reason.ABANDONED
    assert decision.withheld_chars > 0
    assert kinds(stream.log())[-2:] == ["decision", "closed"]


def test_a_guard_that_fails_closes_the_gate_and_says_so() -> None:
    """A failure is a stop with its own reason, without a risk."""
    with asking(guard=failing_guard(EngineTimeout("late"))) as (_running, http):
        stream = post_open(http)
        log = stream.log()
    assert kinds(log) == ["opened", "stop", "decision", "closed"]
    assert (log[1]["reason"], log[1]["risk"]) == ("failure", None)
    assert log[2]["record"]["failure"]["kind"] == "EngineTimeout"


def test_a_call_that_runs_out_of_time_ends_the_stream_and_its_readers_are_told() -> None:
    """The delta gets 504, the log a stop: what was fed is withheld."""
    release = threading.Event()

    def hang(logits: list[Logits], /) -> list[Logits]:
        if hanging.is_set():
            release.wait(30)
        return logits

    hanging = threading.Event()
    guard = breaking_guard(hang)
    with asking(Settings(server=ServerSettings(request_s=0.3)), guard=guard) as (_running, http):
        stream = post_open(http)
        hanging.set()
        threading.Timer(0.6, release.set).start()
        answer = http.post(f"{stream.path}/deltas", json={"text": "It is bread."})
        assert answer.status_code == 504
        log = stream.log()
    assert kinds(log) == ["opened", "stop", "decision", "closed"]
    assert log[1]["reason"] == "failure"


def test_streams_of_other_tenants_do_not_exist() -> None:
    """Every route answers as for an id that nobody has."""
    with asking(Settings(keys=KEYS)) as (running, http):
        http.headers.update(WEB)
        stream = post_open(http)
        for method, path, body in (
            ("POST", "/deltas", {"text": "x"}), ("POST", "/finish", None), ("GET", "/events", None),
            ("GET", "", None), ("DELETE", "", None),
        ):  # fmt: skip
            theirs = http.request(method, stream.path + path, json=body, headers=STRICT)
            unknown = http.request(method, f"/v1/streams/stream_x{path}", json=body)
            assert (theirs.status_code, theirs.json()) == (unknown.status_code, unknown.json())
            assert theirs.status_code == 404
            del http.headers["authorization"]
            assert http.request(method, stream.path + path, json=body).status_code == 401
            http.headers.update(WEB)
        stream.finish()
    assert [decision.tenant for decision in running.sink.decisions] == ["shop"]


def test_deltas_do_not_use_up_a_keys_rate() -> None:
    """A key with two requests a minute opens two streams, and feeds them as often as it likes."""
    headers = {"authorization": "Bearer slow-0123456789abcdef"}
    with asking(Settings(keys=KEYS), headers=headers) as (_running, http):
        for stream in (post_open(http), post_open(http)):
            for _ in range(5):
                stream.feed("bread ")
        assert http.post("/v1/streams", json={"messages": "how?"}).status_code == 429


def test_streams_have_the_routes_policy() -> None:
    """And a controversial answer passes a loose one."""
    with asking(Settings(routes=RouteSettings(streams="loose"))) as (_running, http):
        stream = post_open(http)
        stream.feed("a ☢ b ")
        stream.finish()
    assert released(stream.events) == "a ☢ b "


def test_two_callers_of_one_stream_take_turns() -> None:
    """The second waits: no text is lost, none is read twice."""
    with asking() as (_running, http):
        stream = post_open(http, verdicts=False)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: http.post(f"{stream.path}/deltas", json={"text": "bread "}), range(16)))
        assert [answer.status_code for answer in answers] == [200] * 16
        http.post(f"{stream.path}/finish")
        assert released(stream.log()) == "bread " * 16


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"), ({"messages": 1}, "messages"), ({"messages": [{"role": "king", "content": "x"}]}, None),
        ({"messages": "x", "more": 1}, None), ({"messages": "x", "conversation_id": "x" * 257}, "conversation_id"),
    ],
)  # fmt: skip
def test_what_is_no_opening_is_refused(client: httpx.Client, body: dict[str, object], param: str | None) -> None:
    """400 in the envelope, with the field."""
    answer = client.post("/v1/streams", json=body)
    assert answer.status_code == 400
    assert param is None or param in answer.json()["error"]["param"]
    assert client.get("/metrics").text.count("guardrail_streams_open 0.0") == 1


def test_half_a_character_is_refused(client: httpx.Client) -> None:
    """A lone surrogate is no text; nothing of the delta is read."""
    stream = post_open(client)
    answer = client.post(
        f"{stream.path}/deltas", content=b'{"text": "a\\ud83d"}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert client.get(stream.path).json()["fed_chars"] == 0


def test_open_streams_and_held_deltas_are_counted(client: httpx.Client, served: Serving) -> None:
    """The gauge goes up and down again; every delta that was released is in the histogram."""
    stream = post_open(client)
    assert samples(served, "guardrail_streams_open") == {(): 1}
    stream.feed("bread ")
    stream.feed("and salt ")
    stream.finish()
    assert samples(served, "guardrail_streams_open") == {(): 0}
    assert samples(served, "guardrail_hold_seconds_count") == {(): 2}


def test_a_reader_of_an_ended_stream_is_not_kept_waiting(client: httpx.Client) -> None:
    """Behind the last event there is nothing, and the response ends."""
    stream = post_open(client)
    stream.finish()
    assert from_sse(client.get(f"{stream.path}/events", params={"after": 99}).text) == []
