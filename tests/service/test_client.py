"""`guardrail.client`: the clients of the service, over a real one."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings

from guardrail import Guard, Reason, StreamClosed
from guardrail.client import AsyncClient, Client, ClientError
from guardrail.errors import EngineTimeout
from guardrail.service import Settings
from guardrail.service.sections import StreamSettings
from guardrail.testing import HashEngine, default_tokenizer
from tests.service.servers import Serving, failing_guard, serving
from tests.service.test_operators import KEYS
from tests.service.test_stream_laws import well_formed
from tests.strategies import chunk_sizes, cuts, texts


@dataclass
class Line:
    """A line to a server that can be cut.

    Attributes:
        url: of its near end.
        target: port of its far end.
        n_made: connections so far.
        is_dead: whether new ones are refused.
    """

    target: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    open: list[socket.socket] = field(default_factory=list)
    n_made: int = 0
    is_dead: bool = False

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break the connections there are."""
        while self.open:
            shut(self.open.pop())

    def run(self) -> None:
        """Take connections, until the listener is closed."""
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.is_dead:
                near.close()
                continue
            self.n_made += 1
            far = socket.create_connection(("127.0.0.1", self.target))
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()


def shut(one: socket.socket) -> None:
    """End a connection, and whoever waits for it."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        one.close()


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on until either end closes."""
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    finally:
        shut(other)


@contextmanager
def line_to(running: Serving) -> Iterator[Line]:
    """A line to a server."""
    line = Line(running.server.port)
    thread = threading.Thread(target=line.run)
    thread.start()
    try:
        yield line
    finally:
        shut(line.listener)
        line.cut()
        thread.join(10)


def test_checks_return_the_record(served: Serving) -> None:
    """Of a prompt and of an answer, with what may be shown of it."""
    with Client(served.url) as client:
        prompt = client.check_prompt("say ☢", conversation_id="talk-1")
        answer = client.check_response([{"role": "user", "content": "how?"}], "Mix it ☠ now.")
        assert (prompt.action, prompt.category, prompt.conversation_id) == ("flag", "Unethical Acts", "talk-1")
        assert (answer.action, answer.released_chars, answer.direction) == ("stop", 7, "response")


async def test_the_async_client_does_the_same(served: Serving) -> None:
    """Without blocking the event loop."""
    async with AsyncClient(served.base_url) as client:
        assert (await client.check_prompt("bread")).action == "allow"
        assert (await client.check_response("how?", "Mix it ☠ now.")).action == "stop"
        async with client.stream("how?") as stream:
            shown = [await stream.feed(delta) for delta in ("Mix ", "it ", "☠ and", " stir")]
            shown.append(await stream.finish())
        assert "".join(shown) == "Mix it "
        assert stream.is_stopped
        assert stream.decision
        assert stream.decision.action == "stop"


def test_a_stream_gives_text_verdicts_and_the_decision(served: Serving) -> None:
    """`feed` returns what its text has cleared, as a stream of the guard itself does."""
    with Client(served.url) as client, client.stream("how?") as stream:
        assert stream.feed("Mix it ") == "Mix it"
        assert [verdict.risk for verdict in stream.verdicts] == ["Safe"] * 3
        assert (stream.decision, stream.stop) == (None, None)
        assert stream.feed("☠ and stir") == " "
        assert stream.is_stopped
        assert stream.stop
        assert (stream.stop.stop_offset, stream.stop.category) == (7, "Violent")
        assert stream.feed("more") == stream.finish() == ""
    assert stream.decision
    assert stream.decision.stop_offset == 7
    assert len(served.sink.decisions) == 1


def test_text_that_has_more_behind_it_is_not_waited_for(served: Serving) -> None:
    """It comes with a later call; nothing is lost."""
    with Client(served.url) as client, client.stream("how?", verdicts=False) as stream:
        assert stream.feed("It is ", more=True) == ""
        assert stream.feed("bread ") == "It is bread"
        assert stream.finish() == " "
        assert stream.verdicts == ()
        with pytest.raises(StreamClosed):
            stream.feed("more")


def test_leaving_without_an_end_gives_the_stream_up(served: Serving) -> None:
    """It is recorded as abandoned, with nothing released behind."""
    with Client(served.url) as client, client.stream("how?") as stream:
        stream.feed("It is br")
    registry = served.app.state.streams
    while registry.open_streams:
        pass
    assert [decision.reason for decision in served.sink.decisions] == [Reason.ABANDONED]


@pytest.mark.parametrize("cut_at", range(4))
def test_a_line_that_drops_is_made_again_and_nothing_is_lost_or_doubled(served: Serving, cut_at: int) -> None:
    """Before any delta, between two, or before the end."""
    deltas = ["It is ", "bread ", "and salt."]
    shown = ""
    with line_to(served) as line, Client(line.url) as client, client.stream("how?") as stream:
        for i, delta in enumerate(deltas):
            if i == cut_at:
                line.cut()
            shown += stream.feed(delta)
        if cut_at == len(deltas):
            line.cut()
        shown += stream.finish()
        assert line.n_made == 2
    assert shown == "It is bread and salt."
    indices = [verdict.index for verdict in stream.verdicts]
    assert indices == list(range(len(indices)))
    assert [decision.action for decision in served.sink.decisions] == ["allow"]


def test_a_line_that_stays_dead_raises_and_releases_nothing(served: Serving) -> None:
    """Failing closed: the error comes again at every call, and text that was on its way is not shown."""
    with line_to(served) as line, Client(line.url, timeout_s=5) as client:
        with client.stream("how?") as stream:
            stream.feed("It is ", more=True)
            line.is_dead = True
            line.cut()
            for call in (partial(stream.feed, "bread"), stream.finish):
                with pytest.raises(ClientError) as failed:
                    call()
                assert failed.value.retryable
        assert stream.decision is None


def test_a_stream_that_the_service_closed_raises_at_every_call(served: Serving) -> None:
    """It shuts down: an error, never an empty text that looks like a clear one."""
    with Client(served.url) as client, client.stream("how?") as stream:
        stream.feed("It is br")
        loop = served.server.servers[0].get_loop()
        asyncio.run_coroutine_threadsafe(served.app.state.streams.close(), loop).result(10)
        for call in (partial(stream.feed, "ead"), partial(stream.feed, "."), stream.finish):
            with pytest.raises(ClientError, match="shutting down"):
                call()


async def test_the_async_stream_resumes_and_fails_closed_too(served: Serving) -> None:
    """The steps are the same; this is the other way of waiting."""
    with line_to(served) as line:
        async with AsyncClient(line.url, timeout_s=5) as client, client.stream("how?") as stream:
            shown = await stream.feed("It is ")
            line.cut()
            shown += await stream.feed("bread ")
            assert shown == "It is bread"
            line.is_dead = True
            line.cut()
            with pytest.raises(ClientError):
                await stream.feed("and salt")


def test_what_the_service_refuses_is_an_error() -> None:
    """A missing key, no messages, a server that is full, a guard that fails: never an empty text."""
    with serving(Settings(keys=KEYS, streams=StreamSettings(max_open=1))) as running:
        with Client(running.url) as client:
            for ask in (lambda: client.check_prompt("bread"), client.stream("how?").__enter__):
                with pytest.raises(ClientError) as refused:
                    ask()
                assert (refused.value.status, refused.value.code) == (401, "missing_api_key")
        with Client(running.url, "web-0123456789abcdef") as client:
            with pytest.raises(ClientError, match="unknown role"):
                client.check_prompt([{"role": "king", "content": "x"}])
            with client.stream("how?"), pytest.raises(ClientError) as full:
                client.stream("how?").__enter__()
            assert full.value.code == "too_many_streams"


def test_a_guard_that_fails_is_an_error_of_a_check_and_a_stop_of_a_stream() -> None:
    """A stop with the reason `failure` and no risk: it never looks like a verdict."""
    with serving(guard=failing_guard(EngineTimeout("late"))) as running, Client(running.url) as client:
        with pytest.raises(ClientError) as failed:
            client.check_prompt("bread")
        assert failed.value.retryable
        with client.stream("how?") as stream:
            assert stream.feed("It is bread.") == ""
            assert stream.stop
            assert (stream.stop.reason, stream.stop.risk) == ("failure", None)


def test_a_server_that_is_not_there_or_not_ours_is_an_error(served: Serving) -> None:
    """Named by its kind; nothing is shown."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        for ask in (lambda: client.check_prompt("bread"), client.stream("how?").__enter__):
            with pytest.raises(ClientError, match="cannot be reached"):
                ask()
    with Client(f"{served.url}/elsewhere") as client, pytest.raises(ClientError) as lost:
        client.stream("how?").__enter__()
    assert lost.value.status == 403 or lost.value.status == 404
    with pytest.raises(ClientError, match="begins with"):
        Client("localhost:8000")


@pytest.fixture(scope="module")
def random_guard() -> Guard:
    """Pseudo-random verdicts."""
    tokenizer = default_tokenizer()
    return Guard(HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.1), tokenizer)


@pytest.fixture(scope="module")
def client_of_random(random_guard: Guard) -> Iterator[Client]:
    """Asks it."""
    with serving(guard=random_guard) as running, Client(running.url) as client:
        yield client


@settings(max_examples=25)
@given(text=texts().map(well_formed), sizes=chunk_sizes)
def test_a_stream_far_away_is_as_one_at_hand(
    client_of_random: Client, random_guard: Guard, text: str, sizes: list[int]
) -> None:
    """Each call returns what the guard's own stream returns, with the same verdicts and decision."""
    own = random_guard.open_stream("how?")
    with client_of_random.stream("how?") as stream:
        for delta in cuts(text, sizes):
            assert stream.feed(delta) == own.feed(delta)
        assert stream.finish() == own.finish()
    decision = own.decision
    assert stream.decision
    assert (stream.decision.action, stream.decision.stop_offset) == (decision.action, decision.stop_offset)
    assert [(v.start, v.end, v.risk, v.category) for v in stream.verdicts] == [
        (v.start, v.end, v.risk, v.category) for v in own.verdicts
    ]
    for far, near in zip(stream.verdicts, own.verdicts, strict=True):
        assert far.risk_probabilities == near.risk_probabilities
