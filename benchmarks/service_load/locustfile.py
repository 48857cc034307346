"""Locust's users: each holds one stream after the other, and notes how late every piece came.

Run by run.py. Environment: LLM_URL, KIND (clean or risky), MODEL, KEY, BODY (JSON that is added to each request).
"""

import json
import os
import secrets
import time

import httpx
from answers import ANSWERS, pieces
from locust import User, events, task

LLM_URL, KIND = os.environ["LLM_URL"], os.environ["KIND"]
TEXT = ANSWERS[KIND]
ENDS = [sum(map(len, pieces(TEXT)[: i + 1])) for i in range(len(pieces(TEXT)))]
"""Characters up to the end of each piece."""


class Reader(User):
    """Asks, reads, and asks again."""

    def on_start(self) -> None:
        """Open a connection of its own."""
        self.http = httpx.Client(timeout=120)

    @task
    def read(self) -> None:
        """Read one answer; report how late each piece came, and how much came in all."""
        name = secrets.token_hex(8)
        body = {
            "model": os.environ["MODEL"],
            "stream": True,
            "messages": [{"role": "user", "content": f"run {name} {KIND}"}],
        }
        body |= json.loads(os.environ.get("BODY", "{}"))
        arrivals, text, error = [], "", None
        started = time.monotonic()
        try:
            headers = {"Authorization": f"Bearer {os.environ['KEY']}"}
            url = f"{self.host}/chat/completions"
            with self.http.stream("POST", url, json=body, headers=headers) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    text += _content(line)
                    arrivals.append((len(text), time.monotonic()))
        except httpx.HTTPError as problem:
            error = problem
        sent = self.http.get(f"{LLM_URL}/sent/{name}").json()
        _report("stream", "whole", (time.monotonic() - started) * 1000, len(text), error)
        _report("shown", "characters", len(text), 0, None)
        _report("upstream", "pieces", len(sent["times"]), 0, None)
        for late in _delays(sent["times"], arrivals):
            _report("delay", "piece", late * 1000, 0, None)


def _content(line: str) -> str:
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line[6:]).get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def _delays(sent: list[float], arrivals: list[tuple[int, float]]) -> list[float]:
    """Return how long after it was sent each piece had come whole, seconds; pieces that never came are left out."""
    delays, i = [], 0
    for end, moment in zip(ENDS, sent, strict=False):
        while i < len(arrivals) and arrivals[i][0] < end:
            i += 1
        if i == len(arrivals):
            break
        delays.append(arrivals[i][1] - moment)
    return delays


def _report(kind: str, name: str, value: float, length: int, error: Exception | None) -> None:
    events.request.fire(
        request_type=kind, name=name, response_time=value, response_length=length, exception=error, context={}
    )
