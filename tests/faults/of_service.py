"""Faults around the service, here a process of its own: readers and LLMs that go away, signals, kill -9."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from guardrail.records import read_records
from tests.faults.scene import ANSWER, HARMLESS, Scene, Seen, words
from tests.wire.upstream import Script, Upstream

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[server]
port = 0
drain_s = {drain_s}
[upstream]
base_url = "{upstream}"
[records]
path = "{records}"
"""


@dataclass
class Service:
    """The service's process, and the LLM behind it."""

    process: "subprocess.Popen[bytes]"
    url: str
    upstream: Upstream
    readers: list["Reader"] = field(default_factory=list)

    def read(self, script: Script, most: int | None = None) -> "Reader":
        """Begin to read an answer."""
        name = secrets.token_hex(8)
        self.upstream.plays(name, script)
        reader = Reader(self.url, name, most)
        self.readers.append(reader)
        return reader


class Reader(threading.Thread):
    """A client of the proxy, which may hang up.

    Attributes:
        shown: what it was shown so far.
        ended: how its stream ended: the finish reason, or the name of what broke it.
        told: id of the stop that it was told.
    """

    def __init__(self, url: str, name: str, most: int | None) -> None:
        super().__init__(daemon=True)
        self._url, self._name, self._most = url, name, most
        self.shown, self.ended, self.told = "", "", ""
        self.start()

    def run(self) -> None:
        """Read until the end, or until enough has come."""
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"run {self._name}"}]}
        try:
            with httpx.stream("POST", f"{self._url}/v1/chat/completions", json=body, timeout=60) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        self._take(json.loads(line[6:]))
                    if self._most is not None and len(self.shown) >= self._most:
                        self.ended = "left"
                        return
        except httpx.HTTPError as error:
            self.ended = self.ended or type(error).__name__

    def _take(self, chunk: dict[str, Any]) -> None:
        self.ended = (chunk.get("error") or {}).get("code") or self.ended
        choice = (chunk.get("choices") or [{}])[0]
        self.shown += (choice.get("delta") or {}).get("content") or ""
        self.ended = choice.get("finish_reason") or self.ended
        if summary := choice.get("guardrail"):
            self.told = summary["decision_id"] if summary["action"] == "stop" else ""


@contextmanager
def serving(scene: Scene, drain_s: float = 10) -> Iterator[Service]:
    """Run the service and its LLM."""
    with Upstream() as upstream:
        config = scene.folder / "guardrail.toml"
        config.write_text(CONFIG.format(drain_s=drain_s, upstream=upstream.url, records=scene.target))
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "tests/faults/marked_server.py"), str(config)]
        log = scene.folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=env, stderr=file)
        try:
            wait_for(lambda: "records" in log.read_text())
            yield Service(process, re.findall(r"http://\S+", log.read_text())[0], upstream)
        finally:
            process.kill()
            process.wait(30)


def slowly(text: str, **options: Any) -> Script:
    """An answer, a word at a time."""
    return Script([{"content": word} for word in words(text)], pause_s=0.05, **options)


def wait_for(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    ends_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def seen(scene: Scene, service: Service, note: str = "") -> Seen:
    """Tell what clients were shown and what is stored; a stop that a client was told and that is not stored is lost."""
    stored = list(read_records(scene.target))
    ids = {record.id for record in stored}
    assert {reader.told for reader in service.readers if reader.told} <= ids
    return Seen([reader.shown for reader in service.readers], [], stored, note)


def reader_goes_away(scene: Scene) -> Seen:
    """A client hangs up in the middle of an answer."""
    with serving(scene) as service:
        script = slowly(ANSWER, is_endless=True)
        service.read(script, most=10).join(30)
        wait_for(script.ended.is_set)
        wait_for(lambda: any(r.direction == "response" for r in read_records(scene.target)))
        return seen(scene, service, "closes the LLM's connection")


def llm_dies(scene: Scene) -> Seen:
    """The LLM's connection breaks in the middle of an answer."""
    with serving(scene) as service:
        service.read(slowly(HARMLESS[:40], dies=True)).join(30)
        wait_for(lambda: any(r.direction == "response" for r in read_records(scene.target)))
        return seen(scene, service, f"ends the stream: {service.readers[0].ended}")


def terminated(drain_s: float) -> Callable[[Scene], Seen]:
    """Return a fault: SIGTERM while answers stream."""

    def fault(scene: Scene) -> Seen:
        with serving(scene, drain_s) as service:
            ending, endless = slowly(ANSWER), slowly(HARMLESS, is_endless=True)
            readers = [service.read(ending) for _ in range(3)] + [service.read(endless) for _ in range(3)]
            wait_for(lambda: all(reader.shown for reader in readers))
            service.process.send_signal(signal.SIGTERM)
            wait_for(lambda: _refuses(service.url))
            assert service.process.wait(60) == 0
            for reader in readers:
                reader.join(30)
            # endless answers repeat a harmless word: only their beginning is compared
            for reader in readers[3:]:
                reader.shown = reader.shown[: len(HARMLESS)]
            found = seen(scene, service)
            n_recorded = sum(record.direction == "response" for record in found.stored)
            assert n_recorded == len(readers)
            found.note = f"{sum(r.ended == 'content_filter' for r in readers)} of 6 ended, the others were cut off"
            return found

    return fault


def _refuses(url: str) -> bool:
    """Whether nothing new is let in: 503 with Retry-After, or no connection."""
    try:
        answer = httpx.post(f"{url}/v1/moderations", json={"input": "hello"})
    except httpx.TransportError:
        return True
    if answer.status_code == 503:
        assert "retry-after" in answer.headers
    return answer.status_code == 503


def killed(scene: Scene) -> Seen:
    """kill -9 while answers stream; every stop that a client was told is stored."""
    with serving(scene) as service:
        for _ in range(6):
            service.read(slowly(ANSWER))
            time.sleep(0.1)
        wait_for(lambda: any(reader.told for reader in service.readers))
        service.process.kill()
        for reader in service.readers:
            reader.join(30)
        n_told = sum(bool(reader.told) for reader in service.readers)
        return seen(scene, service, f"dies; {n_told} stops were told before, all of them stored")


FAULTS: dict[str, Callable[[Scene], Seen]] = {
    "a client hangs up": reader_goes_away,
    "the LLM's connection breaks": llm_dies,
    "SIGTERM, and time to end": terminated(drain_s=5),
    "SIGTERM, and no time": terminated(drain_s=0.2),
    "kill -9 of the service": killed,
}
