"""What the guard costs a streamed chain: tokens per second with and without it, and how much later each token comes.

    python benchmarks/chain_overhead.py --repeats 5

A scripted LLM makes a token at a fixed beat, whether or not anybody reads: reading late finds the tokens waiting, as
with a real one behind a network. The same chain is run without and with the guard in turns (`llm` and
`guard | llm | guard`), so that whatever else the machine does meets both. A token's delay is from the moment the LLM
made it to the moment the reader has all of it. It holds two things: the guard waits for the text behind a token that
its own token may still join (one token of the LLM, as a rule), and its work. The policy is `balanced` with every stop
turned into a mark, so that all runs are of one length.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field
from rich.progress import track

from guardrail import Action, Guard, Policy
from guardrail.adapters.langchain import GuardRunnable
from guardrail.policy import Rules

QUESTION = "How do I bake bread?"
TEXT = """Bread needs flour, water, salt and yeast, and it needs time. Put the flour into a large bowl and make a hollow
in the middle. Stir the yeast into warm water, wait until it foams, and pour it in. Mix from the middle outwards, add
the salt, and knead the dough on a table for ten minutes, until it is smooth and springs back under your finger. Cover
the bowl with a cloth and let the dough rise in a warm place for two hours. It should double its size. Fold it over a
few times, shape a loaf, and let it rest for another half hour while the oven gets hot. Cut the top with a sharp blade
so that the crust can open, put a little water on the floor of the oven for steam, and bake the loaf for forty minutes.
It is done when it sounds hollow from below. Let it cool on a rack before you cut it, since the crumb is still setting.
A part of the flour can be rye or whole wheat, which taste stronger and take more water. Dough that rises overnight in a
cool room needs less yeast and keeps longer. Bread is best on the first day, good toast on the third, and on the fifth
it makes crumbs for dumplings."""
TOKENS = [word if i == 0 else f" {word}" for i, word in enumerate(TEXT.split())]
"""Words with the space before them, as tokens of LLMs are."""

MARKING = Policy(name="marking", response=Rules(Action.FLAG, Action.FLAG, debounce=2))

Run = tuple[float, list[float]]
"""Tokens per second, and each token's delay in milliseconds."""


class MetronomeModel(BaseChatModel):
    """Makes a token every `1 / speed` seconds.

    Attributes:
        speed: tokens per second.
        made: when each token was made, seconds of the monotonic clock.
    """

    speed: float
    made: list[float] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "metronome"

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        started = time.perf_counter()
        self.made = [started + number / self.speed for number in range(1, len(TOKENS) + 1)]
        for due, token in zip(self.made, TOKENS, strict=True):
            time.sleep(max(0.0, due - time.perf_counter()))
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(TOKENS)))])


def timed(chain: Runnable[Any, Any], llm: MetronomeModel) -> Run:
    """Read one answer."""
    ends, n_chars = [], 0
    for token in TOKENS:
        n_chars += len(token)
        ends.append(n_chars)
    delays: list[float] = []
    n_read, started = 0, time.perf_counter()
    for chunk in chain.stream(QUESTION):
        n_read += len(chunk.text)
        now = time.perf_counter()
        while len(delays) < len(ends) and ends[len(delays)] <= n_read:
            delays.append((now - llm.made[len(delays)]) * 1000)
    return len(TOKENS) / (time.perf_counter() - started), delays


def measure(guard: Guard, speeds: list[float], repeats: int) -> list[dict[str, Any]]:
    """Run both chains at every speed, in turns; return a row for each speed."""
    runs: dict[tuple[float, str], list[Run]] = {}
    for speed, repeat in track(list(product(speeds, range(repeats))), "runs", disable=not sys.stderr.isatty()):
        step = GuardRunnable(guard)
        for way in ("bare", "guarded") if repeat % 2 else ("guarded", "bare"):
            llm = MetronomeModel(speed=speed)
            chain = step | llm | step if way == "guarded" else llm
            runs.setdefault((speed, way), []).append(timed(chain, llm))
    return [row(speed, runs[speed, "bare"], runs[speed, "guarded"]) for speed in speeds]


def row(speed: float, bare: list[Run], guarded: list[Run]) -> dict[str, Any]:
    """Return what was measured at one speed."""
    ratios = [with_guard[0] / without[0] for without, with_guard in zip(bare, guarded, strict=True)]
    pairs = [zip(without[1], with_guard[1], strict=True) for without, with_guard in zip(bare, guarded, strict=True)]
    added = sorted(late - early for pair in pairs for early, late in pair)
    return {
        "speed": speed,
        "bare_per_s": statistics.median(run[0] for run in bare),
        "guarded_per_s": statistics.median(run[0] for run in guarded),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "added_p50_ms": statistics.median(added),
        "added_p99_ms": added[int(len(added) * 0.99)],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| LLM, tokens/s | without guard | with guard | ratio (least to most) | a token's added delay, p50 | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        ratio = f"{one['ratio']:.3f} ({one['ratio_least']:.3f} to {one['ratio_most']:.3f})"
        beats = f"{one['added_p50_ms'] * one['speed'] / 1000:.2f} beats"
        lines.append(
            f"| {one['speed']:.0f} | {one['bare_per_s']:.1f} | {one['guarded_per_s']:.1f} | {ratio} | "
            f"{one['added_p50_ms']:.1f} ms ({beats}) | {one['added_p99_ms']:.1f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure; print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speeds", type=float, nargs="+", default=[20, 50, 200], help="tokens per second of the LLM")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each chain at each speed")
    parser.add_argument("--threads", type=int, default=1, help="threads of one engine call")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    given = parser.parse_args()
    with Guard.default(policy=MARKING, threads=given.threads) as guard:
        guard.warm_up()
        rows = measure(guard, given.speeds, given.repeats)
    names = ("guardrail-stream", "langchain-core", "onnxruntime")
    machine = f"{platform.machine()}, Python {platform.python_version()}, " + ", ".join(
        f"{n} {version(n)}" for n in names
    )
    print(f"{machine}; {len(TOKENS)} tokens an answer, {given.repeats} answers a cell\n\n{table(rows)}")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
