"""A soak: threads and tasks use one guard in every way for half an hour; memory stays, and so does every decision.

`make campaign` runs it; `SOAK_MINUTES=1 make campaign` runs a short one. It prints what docs/performance.md shows.
"""

import asyncio
import gc
import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.decision import Decision
from guardrail.encoding import GuardTokenizer
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.onnx_export import export_checkpoint
from tests.conftest import open_onnx
from tests.strategies import SCRIPTS, cuts

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
N_THREADS = N_TASKS = 8
SLOTS = 64
GROWTH_MB = 48
"""Most that the resident memory may grow between the second quarter and the last: what the allocator keeps. Ours."""

Shown = tuple[object, ...]


@dataclass
class Soak:
    """What all workers share."""

    guard: Guard
    pairs: list[tuple[str, str]]
    expected: dict[tuple[str, str], tuple[Shown, Shown]]
    ends_at: float
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, kind: str, decision: Decision, expected: Shown) -> None:
        """Count, and note a decision that is not what it was alone."""
        self.counts[kind] += 1
        if shown(decision) != expected:
            self.wrong.append(f"{kind}: {shown(decision)} instead of {expected}")


def shown(decision: Decision) -> Shown:
    return decision.action, decision.reason, decision.stop_offset, decision.released_chars, decision.failure


def pairs(rng: random.Random) -> list[tuple[str, str]]:
    """Prompts with answers in many scripts, some longer than the context."""
    made = []
    for _ in range(40):
        prompt = "".join(rng.choices(SCRIPTS[:9], k=rng.choice((1, 2, 3, 12))))
        made.append((prompt, "".join(rng.choices(SCRIPTS[:9], k=rng.choice((1, 3, 8, 40))))))
    return made


def work(soak: Soak, seed: int) -> None:
    """One thread: prompts, whole answers, streams in pieces, streams that are left."""
    rng = random.Random(seed)
    while time.monotonic() < soak.ends_at:
        prompt, answer = pair = rng.choice(soak.pairs)
        name = f"c{rng.randrange(200)}" if rng.random() < 0.5 else None
        tenant = rng.choice((None, "one", "other"))
        kind = rng.choice(("prompt", "whole", "stream", "left"))
        if kind == "prompt":
            soak.check(
                kind, soak.guard.check_prompt(prompt, conversation_id=name, tenant=tenant), soak.expected[pair][0]
            )
        elif kind == "whole":
            soak.check(
                kind,
                soak.guard.check_response(prompt, answer, conversation_id=name, tenant=tenant),
                soak.expected[pair][1],
            )
        else:
            pieces = cuts(answer, [rng.randint(1, 30) for _ in range(5)])
            with soak.guard.open_stream(prompt, conversation_id=name, tenant=tenant) as stream:
                for piece in pieces[: None if kind == "stream" else len(pieces) // 2]:
                    stream.feed(piece)
                if kind == "stream":
                    stream.finish()
                    soak.check(kind, stream.decision, soak.expected[pair][1])
            soak.counts[kind] += kind == "left"


async def work_async(soak: Soak, seed: int) -> None:
    """One task: as a thread, and some of its calls are cancelled."""
    rng = random.Random(seed)
    while time.monotonic() < soak.ends_at:
        prompt, answer = pair = rng.choice(soak.pairs)
        call = asyncio.create_task(soak.guard.acheck_response(prompt, answer))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.02)
            call.cancel()
        try:
            soak.check("async", await call, soak.expected[pair][1])
        except asyncio.CancelledError:
            soak.counts["cancelled"] += 1


async def tasks(soak: Soak) -> None:
    await asyncio.gather(*(work_async(soak, 1000 + n) for n in range(N_TASKS)))


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_soak_changes_no_decision_and_leaves_memory_as_it_was(
    tiny_checkpoint: Path, tmp_path: Path, tokenizer: GuardTokenizer
) -> None:
    """Eight threads and eight tasks, all slots used by kept conversations, calls cancelled and streams abandoned."""
    inner = open_onnx(export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="fp32"), max_sessions=SLOTS)
    guard = Guard(ScheduledEngine(inner, Runtime()), tokenizer)
    made = pairs(random.Random(0))
    alone = Guard(inner, tokenizer, kept_bytes=0)
    expected = {pair: (shown(alone.check_prompt(pair[0])), shown(alone.check_response(*pair))) for pair in made}
    soak = Soak(guard, made, expected, time.monotonic() + MINUTES * 60)
    workers: list[Callable[[], None]] = [lambda n=n: work(soak, n) for n in range(N_THREADS)]  # type: ignore[misc]  # loop
    workers.append(lambda: asyncio.run(tasks(soak)))
    threads = [threading.Thread(target=worker) for worker in workers]
    for thread in threads:
        thread.start()
    memory = watch(soak)
    for thread in threads:
        thread.join()
    report(soak, memory)
    assert not soak.wrong, soak.wrong[:5]
    assert soak.counts.total() > 100 * MINUTES
    quarter = len(memory) // 4
    assert statistics.median(memory[-quarter:]) - statistics.median(memory[quarter : 2 * quarter]) < GROWTH_MB
    assert_all_slots_free(guard, inner)


def watch(soak: Soak) -> list[float]:
    """Return the resident memory, MB, once a hundredth of the soak."""
    memory = []
    while time.monotonic() < soak.ends_at:
        memory.append(resident_mb())
        time.sleep(MINUTES * 0.6)
    return memory


def assert_all_slots_free(guard: Guard, inner: OnnxEngine) -> None:
    guard.close()
    gc.collect()
    assert inner.n_free == SLOTS


def report(soak: Soak, memory: list[float]) -> None:
    print(f"\n{MINUTES:g} minutes, {soak.counts.total()} calls: {dict(sorted(soak.counts.items()))}")
    print(f"wrong decisions: {len(soak.wrong)}; resident MB at 0, 25, 50, 75, 100 %: ", end="")
    print([round(memory[int(share * (len(memory) - 1))]) for share in (0, 0.25, 0.5, 0.75, 1)])
