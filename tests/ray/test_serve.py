"""The service on Ray Serve: two replicas under load, and what becomes of their streams when one is killed."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make ray-test")

import httpx  # noqa: E402  # behind the skip
import yaml  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.schema import ServeDeploySchema  # noqa: E402

from guardrail.client import Client, ClientError  # noqa: E402
from guardrail.errors import ConfigurationError  # noqa: E402
from guardrail.service.ray import Arguments, _own_settings, build, replica_named  # noqa: E402
from guardrail.service.settings import load_settings  # noqa: E402

PORT = 18431
URL = f"http://127.0.0.1:{PORT}"
QUESTION = [{"role": "user", "content": "How do I bake bread?"}]
PIECES = [
    "Mix flour",
    " and water",
    ", add salt",
    " and yeast,",
    " knead",
    " the dough",
    " well",
    ", let it",
    " rise",
    ".",
]
ANSWER = "".join(PIECES)
N_CLIENTS = 6
"""Of each kind: sockets, and streams over plain HTTP."""


@pytest.fixture(scope="module")
def served(cluster: None) -> Iterator[None]:
    """Two replicas with the embedded model."""
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    server = {"log": "json", "allow_public": True}  # it listens on this machine only
    allow = {"server": server, "guard": {"policy": "shadow"}}  # what the small model thinks does not matter
    serve.run(build(Arguments(min_replicas=2, max_replicas=2, settings=allow)), name="guardrail")
    yield
    serve.shutdown()


@dataclass
class Told:
    """What one client saw.

    Attributes:
        replica: that held its stream.
        sent: text that it fed.
        released: text that came back.
        decision: of a stream that ended.
        error: that it got instead.
    """

    replica: str = ""
    sent: str = ""
    released: str = ""
    decision: str | None = None
    error: str | None = None


@dataclass
class Load:
    """Clients that stream at the same time, meet half way, and may wait there for a gate.

    Attributes:
        half_way: all clients and the test meet there.
        go_on: lets them go on.
        told: what each saw.
    """

    half_way: threading.Barrier = field(default_factory=lambda: threading.Barrier(2 * N_CLIENTS + 1))
    go_on: threading.Event = field(default_factory=threading.Event)
    told: list[Told] = field(default_factory=list)

    def run(self) -> list[threading.Thread]:
        """Start all clients."""
        threads = [threading.Thread(target=kind) for kind in (self.socket, self.plain) for _ in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def pieces(self, told: Told) -> Iterator[str]:
        """Yield the pieces of the answer, with the gate half way."""
        for i, piece in enumerate(PIECES):
            if i == len(PIECES) // 2:
                self.half_way.wait(90)
                assert self.go_on.wait(90)
            told.sent += piece
            yield piece

    def socket(self) -> None:
        """Stream over a WebSocket, with the client of this package."""
        told = Told()
        self.told.append(told)
        try:
            with Client(URL) as client, client.stream(QUESTION) as stream:
                told.replica = _replica(stream.id)
                for piece in self.pieces(told):
                    told.released += stream.feed(piece)
                told.released += stream.finish()
                told.decision = stream.decision.action if stream.decision else None
        except ClientError as error:
            told.error = str(error)

    def plain(self) -> None:
        """Stream over HTTP: every delta is a request of its own."""
        told = Told()
        self.told.append(told)
        with httpx.Client(base_url=URL, timeout=30) as http:
            stream = http.post("/v1/streams", json={"messages": QUESTION}).json()["id"]
            told.replica = _replica(stream)
            for piece in self.pieces(told):
                if not self._take(told, http.post(f"/v1/streams/{stream}/deltas", json={"text": piece})):
                    return
            self._take(told, http.post(f"/v1/streams/{stream}/finish"))

    def _take(self, told: Told, response: httpx.Response) -> bool:
        if response.status_code != 200:
            told.error = str(response.status_code)
            return False
        for event in response.json()["events"]:
            told.released += event["text"] if event["type"] == "release" else ""
            told.decision = event["record"]["action"] if event["type"] == "decision" else told.decision
        return True


def wait_for_both() -> None:
    """Return when two replicas take streams: one that was lost is replaced in its own time."""
    seen: set[str] = set()
    deadline = time.monotonic() + 120
    with Client(URL) as client:
        while len(seen) < 2:
            assert time.monotonic() < deadline
            seen = set()
            for _ in range(8):
                with client.stream(QUESTION) as stream:
                    seen.add(_replica(stream.id))


def _replica(stream_id: Any) -> str:
    name = replica_named(f"/v1/streams/{stream_id}/deltas".encode())
    assert name is not None
    return name


@pytest.mark.usefixtures("served")
def test_every_delta_reaches_the_replica_that_holds_its_stream() -> None:
    """Both replicas have streams, and each is read from its first to its last character."""
    wait_for_both()
    load = Load()
    threads = load.run()
    load.half_way.wait(90)
    load.go_on.set()
    for thread in threads:
        thread.join(90)
    assert len({told.replica for told in load.told}) == 2
    for told in load.told:
        assert (told.error, told.released, told.decision) == (None, ANSWER, "allow")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("is_idle", [True, False], ids=["between deltas", "under load"])
def test_streams_of_a_replica_that_is_killed_end_closed_and_the_others_go_on(is_idle: bool) -> None:
    """Its clients get an error and no character more; the rest notice nothing; a new replica takes its place."""
    wait_for_both()
    load = Load()
    if not is_idle:
        load.go_on.set()
    threads = load.run()
    load.half_way.wait(90)
    lost = load.told[0].replica
    before = {id(told): told.released for told in load.told}
    ray.kill(ray.get_actor(f"SERVE_REPLICA::guardrail#guardrail#{lost}", namespace="serve"))
    load.go_on.set()
    for thread in threads:
        thread.join(90)
    assert {told.replica for told in load.told} > {lost}
    for told in load.told:
        if told.replica == lost:
            assert told.error is not None
            assert told.decision is None
            assert told.sent.startswith(told.released)
            assert not is_idle or told.released == before[id(told)]
        else:
            assert (told.error, told.released, told.decision) == (None, ANSWER, "allow")
    errors = [told.error for told in load.told if told.replica == lost]
    print(f"{len(errors)} of {len(load.told)} streams were lost:", {error: errors.count(error) for error in errors})
    with Client(URL) as client, client.stream(QUESTION) as stream:
        assert stream.feed("Mix flour and water.") + stream.finish() == "Mix flour and water."


@pytest.mark.usefixtures("served")
def test_a_socket_that_dropped_is_made_again_at_its_replica() -> None:
    """The client names the stream in the address, so that it goes on where it was, every time."""
    wait_for_both()
    for _ in range(8):
        with Client(URL) as client, client.stream(QUESTION) as stream:
            released = stream.feed("Mix flour")
            assert stream._link is not None
            stream._link.close()  # as a network does that fails
            released += stream.feed(" and water.") + stream.finish()
            assert released == "Mix flour and water."


@pytest.mark.usefixtures("served")
def test_the_example_streams_through_both_replicas(tmp_path: Path) -> None:
    """As its reader would run it."""
    example = Path(__file__).resolve().parents[2] / "examples" / "ray_serve" / "stream_many.py"
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(
        command, env={**os.environ, "GUARDRAIL_URL": URL}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *replicas, answer = done.stdout.splitlines()
    assert sum(int(line.split()[1]) for line in replicas) == 20
    assert answer.startswith("Mix flour and water")


def test_the_example_for_clusters_is_what_serve_and_the_service_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve's own schema reads serve.yaml; the application is ours, with settings that replicas start with."""
    example = Path(__file__).resolve().parents[2] / "examples" / "ray_serve" / "serve.yaml"
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(example.read_text("utf-8"))).applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    arguments = Arguments.model_validate(application.args)
    assert build(arguments)
    monkeypatch.setenv("GUARDRAIL_KEY_APP", "a-key-of-sixteen-letters")
    assert [key.name for key in load_settings(arguments.config, **arguments.settings).keys] == ["app"]


def test_without_keys_no_replica_starts_unless_that_is_said() -> None:
    """Serve listens where it is told to, so every address counts as public; the error names both remedies."""
    with pytest.raises(ConfigurationError, match="others can reach") as caught:
        _own_settings(Arguments())
    assert "[[keys]]" in str(caught.value.hint)
    assert "allow_public" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"...\x8c\x14/v1/streams/stream_o16l7qdn.aB-c_9/deltas...", "o16l7qdn"),
        (b"...\x8c\x0b/v1/streams\x94...\x43\x10id=stream_abc-1.xy", "abc-1"),
        (b"/v1/streams/stream_noname", None),
        (b"/v1/streams/upstream_a.b", None),
        (b"/v1/moderations", None),
        ("/v1/streams/stream_a.b", None),
    ],
)
def test_a_request_names_its_replica_by_the_streams_id(head: object, name: str | None) -> None:
    """In its path, or in its query when a socket is made again; nothing is guessed."""
    assert replica_named(head) == name
