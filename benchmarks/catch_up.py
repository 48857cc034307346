"""How fast an LLM the guard keeps up with: tokens read a call, backlog, and how much later each token is released.

    python benchmarks/catch_up.py --seconds 4
    python benchmarks/catch_up.py --model runs/06b/export --speeds 20 40 80 160 320

A scripted LLM makes a token at a fixed beat, whether or not anybody reads: reading late finds the tokens waiting, as
with a real one behind a network. It is read in three ways, in turns: delta by delta (as synchronous callers do), ahead
(all that has arrived in one call), and ahead inside a LangChain stream. A token's delay is from the moment the LLM made
it to the moment all of it is released; it holds the wait for the text that its own token may still join (one token of
the LLM, as a rule). A way keeps up if the delay does not grow: its median over the last quarter of the answer is at
most half again that over the second quarter, or below a beat and a half. The policy only flags, so that every answer is
read to its end.
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import accumulate, product
from pathlib import Path
from typing import Any

from chain_overhead import QUESTION, TOKENS
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field
from rich.progress import track

from guardrail import Action, Guard, Policy
from guardrail.adapters.langchain import GuardedChatModel
from guardrail.ahead import Ahead
from guardrail.engines.base import Feed, Ticket
from guardrail.policy import Rules
from guardrail.testing import EngineAround

FLAGGING = Policy(
    name="flagging", prompt=Rules(Action.FLAG, Action.FLAG), response=Rules(Action.FLAG, Action.FLAG, debounce=2)
)


@dataclass(frozen=True, slots=True)
class Row:
    """One way at one speed.

    Attributes:
        speed: tokens per second of the LLM.
        way: how it is read.
        mean_k: tokens of the guard a call of its engine.
        delay_p50_ms: of a token of the LLM, median.
        delay_p99_ms: likewise, 99th percentile.
        last_ms: median delay in the last quarter.
        keeps_up: whether the delay does not grow.
    """

    speed: float
    way: str
    mean_k: float
    delay_p50_ms: float
    delay_p99_ms: float
    last_ms: float
    keeps_up: bool


class Counted(EngineAround):
    """An engine that notes how many tokens each call brings.

    Attributes:
        sizes: tokens of each call.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.sizes: list[int] = []

    def submit(self, feeds: Sequence[Feed]) -> Ticket:
        self.sizes.append(sum(len(feed.ids) for feed in feeds))
        return self.inner.submit(feeds)


class Metronome:
    """Makes a token every `1 / speed` seconds.

    Attributes:
        tokens: of the answer.
        made: when each was made, seconds of the monotonic clock.
    """

    def __init__(self, speed: float, seconds: float) -> None:
        self.tokens = [TOKENS[i % len(TOKENS)] for i in range(max(40, int(speed * seconds)))]
        self._speed = speed
        self.made: list[float] = []

    async def stream(self) -> AsyncIterator[str]:
        """Yield the tokens."""
        started = time.perf_counter()
        self.made = [started + number / self._speed for number in range(1, len(self.tokens) + 1)]
        for due, token in zip(self.made, self.tokens, strict=True):
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            yield token

    def delays_ms(self, releases: Sequence[tuple[float, int]]) -> list[float]:
        """Return each token's delay, from moments and the characters that had been released by then."""
        delays, moments = [], iter(releases)
        now, n_released = next(moments)
        for made, end in zip(self.made, accumulate(map(len, self.tokens)), strict=True):
            while n_released < end:
                now, n_released = next(moments)
            delays.append((now - made) * 1000)
        return delays


Release = Callable[[str], None]


async def delta_by_delta(guard: Guard, llm: Metronome, release: Release) -> None:
    """Read each delta when it comes."""
    with await guard.aopen_stream(QUESTION) as stream:
        async for delta in llm.stream():
            release(await stream.afeed(delta))
        release(await stream.afinish())


async def ahead(guard: Guard, llm: Metronome, release: Release) -> None:
    """Read all that has arrived."""
    with await guard.aopen_stream(QUESTION) as stream:
        async with Ahead(llm.stream()) as arrivals:
            async for delta, more in arrivals:
                release(await stream.afeed(delta, more=more))
        release(await stream.afinish())


class MetronomeModel(BaseChatModel):
    """A metronome as a chat model."""

    llm: Any = Field(repr=False)  # a metronome

    @property
    def _llm_type(self) -> str:
        return "metronome"

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for token in self.llm.stream():
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.llm.tokens)))])


async def langchain(guard: Guard, llm: Metronome, release: Release) -> None:
    """Read through a guarded chat model."""
    async for chunk in GuardedChatModel(MetronomeModel(llm=llm), guard).astream(QUESTION):
        release(str(chunk.text))


WAYS: dict[str, Callable[[Guard, Metronome, Release], Awaitable[None]]] = {
    "delta by delta": delta_by_delta,
    "ahead": ahead,
    "LangChain": langchain,
}


async def measure(guard: Guard, counted: Counted, speed: float, way: str, seconds: float) -> Row:
    """Read one answer."""
    llm, releases, n_released = Metronome(speed, seconds), [], 0

    def release(text: str) -> None:
        nonlocal n_released
        n_released += len(text)
        releases.append((time.perf_counter(), n_released))

    counted.sizes.clear()
    await WAYS[way](guard, llm, release)
    delays = llm.delays_ms(releases)
    sizes = counted.sizes[2 if way == "LangChain" else 1 :]  # without the prompt's and the context's
    quarter = len(delays) // 4
    second, last = statistics.median(delays[quarter : 2 * quarter]), statistics.median(delays[-quarter:])
    return Row(
        speed, way, statistics.mean(sizes), statistics.median(delays), sorted(delays)[int(len(delays) * 0.99)], last,
        last <= max(1.5 * second, 1500 / speed),
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the Markdown table, and the highest speed of each way."""
    lines = [
        "| LLM, tokens/s | " + " | ".join(f"{way}: k, delay p50 / p99" for way in WAYS) + " |",
        "|---|" + "---|" * len(WAYS),
    ]
    for speed in sorted({row.speed for row in rows}):
        cells = [one for way in WAYS for one in rows if (one.speed, one.way) == (speed, way)]
        shown = [
            f"{one.mean_k:.1f}, {one.delay_p50_ms:.0f} / {one.delay_p99_ms:.0f} ms"
            + " (falls behind)" * (not one.keeps_up)
            for one in cells
        ]
        lines.append(f"| {speed:.0f} | " + " | ".join(shown) + " |")
    best = {way: max((row.speed for row in rows if row.way == way and row.keeps_up), default=0) for way in WAYS}
    return "\n".join([*lines, "", "Keeps up to: " + ", ".join(f"{way} {speed:.0f}" for way, speed in best.items())])


def main() -> None:
    """Measure; print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="an exported folder or a checkpoint; the embedded model without it")
    parser.add_argument("--speeds", type=float, nargs="+", default=[20, 50, 100, 200, 400], help="tokens/s of the LLM")
    parser.add_argument("--seconds", type=float, default=4, help="that the LLM takes for an answer")
    parser.add_argument("--threads", type=int, help="threads of one engine call")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    given = parser.parse_args()
    load = Guard.default if given.model is None else lambda **options: Guard.load(given.model, **options)
    with load(threads=given.threads) as loaded:
        counted = Counted(loaded.engine)
        guard = Guard(counted, loaded.reader, policy=FLAGGING, kept_bytes=0)  # nothing is left of earlier answers
        runs = track(list(product(given.speeds, WAYS)), "runs", disable=not sys.stderr.isatty())
        guard.warm_up()
        rows = [asyncio.run(measure(guard, counted, speed, way, given.seconds)) for speed, way in runs]
        model = f"{guard.engine.info.name} {guard.engine.info.precision}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("guardrail-stream", "langchain-core", "onnxruntime"))
    machine = f"{platform.machine()}, Python {platform.python_version()}, {versions}; {model}"
    print(f"{machine}; {given.seconds:g} s an answer\n\n{table(rows)}")
    if given.json:
        given.json.write_text(
            json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1), "utf-8"
        )


if __name__ == "__main__":
    main()
