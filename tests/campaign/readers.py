"""Clients of a guarded service under load: fast, slow and vanishing ones, over the proxy and over token streams.

Each asks, reads, compares what it was shown with what the guard may show of that answer, and asks again.
"""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from guardrail.client import AsyncClient
from guardrail.client.asking import ClientError

REFUSED = (429, 503)

BROKEN = "connection broken"
"""Neither an answer nor a refusal: the machine had no room for another connection."""

PROMPT = "Tell me how it was."
"""The same for all: what may be shown of an answer depends on what it answers."""


@dataclass(frozen=True)
class Answer:
    """An answer that the LLM gives, and what the guard makes of it.

    Attributes:
        text: all of it.
        pieces: as the LLM writes it.
        shown: what may be shown.
    """

    text: str
    pieces: tuple[str, ...]
    shown: str


@dataclass
class Load:
    """What all readers share, and what they saw.

    Attributes:
        url: of the service.
        llm_url: of the LLM, which tells when it wrote each piece.
        answers: by kind, as the LLM knows them.
        pace_s: pause between two pieces of a token stream.
        ends_at: when readers ask no more, by time.monotonic().
        counts: ended, vanished, refused, failed streams by route.
        leaks: what should not have been shown: route, kind, and how many characters.
        missing: streams that ended without all that may be shown.
        stop_ids: records of the stops that clients were told.
        delays_ms: how late pieces came, by route.
        odd: answers that a service under load must not give.
    """

    url: str
    llm_url: str
    answers: dict[str, Answer]
    pace_s: float
    ends_at: float
    counts: Counter[str] = field(default_factory=Counter)
    leaks: list[tuple[str, str, int]] = field(default_factory=list)
    missing: list[tuple[str, str, int]] = field(default_factory=list)
    stop_ids: list[str] = field(default_factory=list)
    delays_ms: dict[str, list[float]] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)

    def look(self, route: str, kind: str, shown: str, *, ended: bool) -> None:
        """Compare what a client was shown with what may be shown."""
        allowed = self.answers[kind].shown
        if not allowed.startswith(shown):
            same = next((i for i, (a, b) in enumerate(zip(shown, allowed, strict=False)) if a != b), len(allowed))
            self.leaks.append((route, kind, len(shown) - same))
        elif ended and shown != allowed:
            self.missing.append((route, kind, len(allowed) - len(shown)))

    def refuse(self, answer: httpx.Response) -> None:
        """Count a refusal: it must say when to come back."""
        self.counts[f"refused {answer.status_code}"] += 1
        if "retry-after" not in answer.headers:
            self.odd[f"{answer.status_code} without Retry-After"] += 1


@dataclass(frozen=True)
class Habit:
    """How a client reads.

    Attributes:
        name: in the table.
        pause_s: most seconds between two reads.
        leaves: whether it vanishes somewhere in the middle.
    """

    name: str
    pause_s: float = 0.0
    leaves: bool = False


HABITS = (Habit("fast"), Habit("fast"), Habit("slow", pause_s=0.5), Habit("vanishing", leaves=True))


async def proxy_reader(load: Load, seed: int, habit: Habit) -> None:
    """One client of /v1/chat/completions."""
    rng = random.Random(seed)
    async with httpx.AsyncClient(timeout=120) as http:
        while time.monotonic() < load.ends_at:
            kind = rng.choice(sorted(load.answers))
            try:
                await _read(load, http, habit, kind, rng)
            except httpx.TransportError:
                load.counts[BROKEN] += 1
                await asyncio.sleep(0.1)
            except httpx.HTTPError as error:
                load.odd[f"proxy: {type(error).__name__}"] += 1


# long: one request from its start to its end, in order
async def _read(load: Load, http: httpx.AsyncClient, habit: Habit, kind: str, rng: random.Random) -> None:
    name = secrets.token_hex(8)
    messages = [{"role": "user", "content": PROMPT}]
    body = {"model": "llm", "stream": True, "messages": messages, "metadata": {"run": f"run {name} {kind}"}}
    leaves_after = rng.randrange(1, 40) if habit.leaves else None
    shown, arrivals, has_ended = "", [], False
    async with http.stream("POST", f"{load.url}/v1/chat/completions", json=body) as answer:
        if answer.status_code in REFUSED:
            load.refuse(answer)
            await asyncio.sleep(rng.random())
            return
        answer.raise_for_status()
        async for chunk in _chunks(answer):
            if "error" in chunk:  # 200 was said already: the stream ends with an error
                load.odd[f"proxy: {chunk['error'].get('code')}"] += 1
                break
            choice = (chunk.get("choices") or [{}])[0]
            shown += (choice.get("delta") or {}).get("content") or ""
            arrivals.append((len(shown), time.monotonic()))
            has_ended = has_ended or bool(choice.get("finish_reason"))
            if (decision := choice.get("guardrail")) and decision["action"] == "stop":
                load.stop_ids.append(decision["decision_id"])
            if leaves_after is not None and len(arrivals) >= leaves_after:
                break
            if habit.pause_s:
                await asyncio.sleep(rng.random() * habit.pause_s)
    load.look("proxy", kind, shown, ended=has_ended)
    load.counts[f"proxy {habit.name} {'ended' if has_ended else 'left'}"] += 1
    if not habit.pause_s:
        async with httpx.AsyncClient() as other:  # the LLM's server closes connections that rest
            sent = (await other.get(f"{load.llm_url}/sent/{name}")).json()["times"]
        load.delays_ms.setdefault("proxy", []).extend(_delays(load.answers[kind].pieces, sent, arrivals))


async def _chunks(answer: httpx.Response) -> AsyncIterator[dict]:  # type: ignore[type-arg]  # JSON
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def _delays(pieces: tuple[str, ...], sent: list[float], arrivals: list[tuple[int, float]]) -> list[float]:
    """Return how long after it was written each piece had come whole, milliseconds."""
    delays, i, end = [], 0, 0
    for piece, moment in zip(pieces, sent, strict=False):
        end += len(piece)
        while i < len(arrivals) and arrivals[i][0] < end:
            i += 1
        if i == len(arrivals):
            break
        delays.append((arrivals[i][1] - moment) * 1000)
    return delays


async def stream_feeder(load: Load, seed: int, habit: Habit) -> None:
    """One client of the token stream API, with an LLM of its own."""
    rng = random.Random(seed)
    client = AsyncClient(load.url)
    while time.monotonic() < load.ends_at:
        kind = rng.choice(sorted(load.answers))
        try:
            await _feed(load, client, habit, kind, rng)
        except ClientError as error:
            if "too many" in str(error):
                load.counts["stream refused"] += 1
            else:
                load.odd[f"stream: {str(error)[:60]}"] += 1
            await asyncio.sleep(rng.random())


async def _feed(load: Load, client: AsyncClient, habit: Habit, kind: str, rng: random.Random) -> None:
    answer = load.answers[kind]
    leaves_after = rng.randrange(1, 40) if habit.leaves else len(answer.pieces)
    shown, delays = "", load.delays_ms.setdefault("stream", [])
    async with client.stream(PROMPT, verdicts=False) as stream:
        for piece in answer.pieces[:leaves_after]:
            fed = time.monotonic()
            shown += await stream.feed(piece)
            delays.append((time.monotonic() - fed) * 1000)
            if stream.is_stopped:
                break
            await asyncio.sleep(load.pace_s + rng.random() * habit.pause_s)
        else:
            if not habit.leaves:
                shown += await stream.finish()
        has_ended = stream.is_stopped or not habit.leaves
        if stream.is_stopped:
            if stream.decision is None:
                await stream.finish()
            if stream.decision:
                load.stop_ids.append(stream.decision.id)
    load.look("stream", kind, shown, ended=has_ended)
    load.counts[f"stream {habit.name} {'ended' if has_ended else 'left'}"] += 1
