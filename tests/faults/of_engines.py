"""Faults of the model: what it raises, what it gives instead of numbers, and that it gives nothing."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Never

from guardrail.cascade_rules import CascadeRules
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import EngineOverloaded
from guardrail.guard import Guard
from guardrail.policy import TooLong
from guardrail.policy_file import load_policy
from guardrail.testing import Breakage, FailingEngine, MarkerEngine, hanging, not_a_number, raising, wrong_shape
from tests.faults.scene import ANSWER, TOKENIZER, Scene, Seen, words

RISKY = {"☠": ("Unsafe", "Violent")}

AT_STEP = 4
"""Inside the harmless part: the context takes the first step, and a word or two each other one."""


def broken(breakage: Breakage) -> Callable[[Scene], Seen]:
    """Return a fault: the engine breaks in the middle of an answer."""

    def fault(scene: Scene) -> Seen:
        engine = FailingEngine(scene.engine(), at_step=AT_STEP, breakage=breakage)
        return scene.seen([scene.answer(scene.guard(engine))])

    return fault


def hangs(scene: Scene) -> Seen:
    """The model never comes back from a call; its caller gives up after the time-out."""
    until = threading.Event()
    inner = FailingEngine(scene.engine(), at_step=AT_STEP, breakage=hanging(until))
    engine = ScheduledEngine(inner, Runtime(timeout_s=0.3))
    try:
        return scene.seen([scene.answer(scene.guard(engine))])
    finally:
        until.set()
        engine.close()


def no_memory_for_a_session(scene: Scene) -> Seen:
    """The engine cannot get memory for another text."""

    class Full(MarkerEngine):
        def open(self) -> Never:
            raise MemoryError

    return scene.seen([scene.answer(scene.guard(Full(TOKENIZER, RISKY)))])


def no_room_in_the_pool(scene: Scene) -> Seen:
    """All KV slots of the real engine are taken by streams that are open."""
    runtime = Runtime(threads=1, max_sessions=2)
    with Guard.default(sinks=scene.guard().sinks, runtime=runtime, kept_bytes=0) as guard:
        taken = [guard.open_stream("hi") for _ in range(2)]
        shown = scene.answer(guard)
        for stream in taken:
            stream.finish()
    return scene.seen([shown], note="stop; the streams that had room went on")


def fails_open(scene: Scene) -> Seen:
    """The policy lets failures pass: what the model did not judge is shown, and counted as unjudged."""
    engine = FailingEngine(scene.engine(), at_step=AT_STEP, breakage=raising(RuntimeError("SECRET")))
    policy = replace(load_policy("balanced"), name="open", on_failure="allow")  # type: ignore[arg-type]
    shown = scene.answer(scene.guard(engine, policy=policy))
    seen = scene.seen([], note="allow: all of it is shown, by the policy")
    assert shown.rstrip() == ANSWER
    assert seen.stored[0].unjudged_chars > 0
    return seen


def grows_too_long(scene: Scene) -> Seen:
    """The answer outgrows the model's context, under a policy that stops there."""
    small = MarkerEngine(TOKENIZER, RISKY, max_context=24)
    policy = replace(load_policy("balanced"), too_long=TooLong.STOP)
    return scene.seen([scene.answer(scene.guard(small, policy=policy))])


def caller_gives_up(scene: Scene) -> Seen:
    """The task that streams is cancelled in the middle of a call of the model."""
    until = threading.Event()
    engine = FailingEngine(scene.engine(), at_step=AT_STEP, breakage=hanging(until))
    guard, shown = scene.guard(engine), []

    async def stream() -> None:
        with await guard.aopen_stream("hi") as answer:
            for word in words(ANSWER):
                shown.append(await answer.afeed(word))  # noqa: PERF401  # what was shown before it is cancelled counts

    async def give_up() -> None:
        task = asyncio.create_task(stream())
        while engine.n_steps <= AT_STEP:  # noqa: ASYNC110  # the model is in another thread
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.05)
        until.set()
        await asyncio.wait([task])

    asyncio.run(give_up())
    return scene.seen(["".join(shown)], note="stop: nobody reads on")


def endpoint_is_away(scene: Scene) -> Seen:
    """The server of a Qwen3Guard-Gen model does not answer."""
    guard = Guard.generative("http://127.0.0.1:9/v1", model="gen", sinks=scene.guard().sinks)
    with guard:
        return scene.seen([scene.answer(guard)])


def strong_guard_is_away(scene: Scene) -> Seen:
    """The second model of a cascade fails when it is asked."""
    away = FailingEngine(scene.engine(), at_step=0, breakage=raising(RuntimeError("SECRET")))
    cheap = scene.guard()
    policy = replace(load_policy("balanced"), cascade=CascadeRules(low=0.01, high=0.99))
    guard = Guard.cascade(cheap, scene.guard(away), policy=policy)
    return scene.seen([scene.answer(guard)])


FAULTS: dict[str, Callable[[Scene], Seen]] = {
    "the engine raises": broken(raising(RuntimeError("SECRET"))),
    "the engine hangs": hangs,
    "the engine gives NaN": broken(not_a_number),
    "the engine gives arrays of another shape": broken(wrong_shape),
    "the engine's queue is full": broken(raising(EngineOverloaded("1024 calls wait"))),
    "no memory for another session": no_memory_for_a_session,
    "no memory inside a call of the model": broken(raising(MemoryError())),
    "all slots of the real engine are taken": no_room_in_the_pool,
    "the answer outgrows the context (`too_long = stop`)": grows_too_long,
    "the engine raises under `on_failure = allow`": fails_open,
    "the caller is cancelled inside a call of the model": caller_gives_up,
    "the server of a Gen model is away": endpoint_is_away,
    "the strong guard of a cascade fails": strong_guard_is_away,
}
