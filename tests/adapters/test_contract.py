"""What every adapter must do, whatever its framework: the same text released, one decision, nothing else let out."""

import asyncio
from typing import Any

import pytest

from guardrail import Action, Decision, Direction, Guard, GuardTokenizer, Policy
from guardrail.leaktest import Canary
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.doors import DOORS, is_there
from tests.adapters.playing import Died, Played, Script

CANARY = Canary(
    "contract",
    "Bread needs flour, water, salt and time; let the dough rest.☠☠ FORBIDDEN alder12 birch13 cedar14 dogwood15",
    "☠☠ FORBIDDEN",
    "How?",
)


@pytest.fixture(params=[pytest.param(name, id=name) for name in DOORS])
def door(request: pytest.FixtureRequest) -> str:
    """One door after the other."""
    name = str(request.param)
    if not is_there(name):
        pytest.skip(f"needs {DOORS[name][1]}")
    return name


@pytest.fixture(scope="module")
def engine(tokenizer: GuardTokenizer) -> MarkerEngine:
    """Stops at the marker."""
    return MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})


@pytest.fixture
def sink() -> MemorySink:
    """Where the guard of a test records."""
    return MemorySink()


@pytest.fixture
def guard(engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink) -> Guard:
    """A guard with the default policy."""
    return Guard(engine, tokenizer, sinks=[sink])


async def play(name: str, guard: Guard, script: Script, conversation: str = "c") -> Played:
    """Play a script through a door; what the framework makes of an LLM that dies is heard."""
    played = Played()
    try:
        await DOORS[name][0](guard, script, played, conversation)
    except Exception as error:  # what a framework raises is one of its outlets
        played.hear("exceptions", error)
        if script.ending == "well" and "filter" not in type(error).__name__.lower():
            raise
    return played


def answers(sink: MemorySink) -> list[Decision]:
    """Return the decisions on answers."""
    return [decision for decision in sink.decisions if decision.direction is Direction.RESPONSE]


def essence(decision: Decision) -> dict[str, Any]:
    """Return what two doors must agree on."""
    names = ("action", "would_action", "reason", "risk", "category", "stop_offset", "released_chars", "failure")
    return {name: getattr(decision, name) for name in names}


@pytest.mark.parametrize(
    ("size", "is_slow"), [*((size, False) for size in range(1, 41)), *((size, True) for size in (1, 2, 3, 5, 8))]
)
async def test_every_door_releases_the_same_and_leaks_nothing(
    door: str, guard: Guard, sink: MemorySink, size: int, is_slow: bool
) -> None:
    """Cuts of 1 to 40 characters, faster and slower than the guard: the text before the marker, one decision on the
    answer, and a closed LLM.
    """
    script = Script(CANARY.text, size, is_slow=is_slow)
    played = await play(door, guard, script)
    assert played.released == CANARY.clean
    (decision,) = answers(sink)
    assert decision.conversation_id == "c"
    plain = MemorySink()
    await play("facade", Guard(guard.engine, guard.reader, sinks=[plain]), Script(CANARY.text, size))
    assert essence(decision) == essence(answers(plain)[0])
    assert [outlet for outlet in played.spy.leaks(CANARY) if outlet.leaks] == []
    assert script.n_closed == 1


@pytest.mark.parametrize("size", [1, 3, 40])
async def test_every_door_lets_a_harmless_answer_through(door: str, guard: Guard, sink: MemorySink, size: int) -> None:
    """Whole, character by character."""
    played = await play(door, guard, Script(CANARY.clean, size))
    assert played.released == CANARY.clean
    assert [decision.action for decision in answers(sink)] == [Action.ALLOW]


async def test_conversations_at_once_never_mix(door: str, guard: Guard, sink: MemorySink) -> None:
    """Twenty at a time, half of them stopped: each gets its own words, and its records carry its own id."""
    written = {f"c{n}": f"word{n} " * (n + 3) + ("☠☠ FORBIDDEN " + f"secret{n} " * 4) * (n % 2) for n in range(20)}
    played = await asyncio.gather(*(play(door, guard, Script(text, 5), name) for name, text in written.items()))
    for one, (name, text) in zip(played, written.items(), strict=True):
        assert one.released == text.split("☠")[0]
        others = [f"word{n} " for n in range(20) if f"c{n}" != name]
        heard = "\n".join(text for outlet in one.spy.outlets for text in one.spy.texts(outlet))
        assert not any(word in heard for word in others)
        assert "secret" not in heard
    assert {d.conversation_id: d.stopped for d in answers(sink)} == {f"c{n}": bool(n % 2) for n in range(20)}


async def test_an_llm_that_dies_leaves_a_prefix_and_a_record(door: str, guard: Guard, sink: MemorySink) -> None:
    """What was held when the connection broke is not released as if it had been judged."""
    played = await play(door, guard, Script(CANARY.clean, 4, ending="dies"))
    assert CANARY.clean.startswith(played.released)
    assert len(answers(sink)) == 1
    assert Died.__name__ in repr([played.spy.texts(o) for o in played.spy.outlets]) or played.released != CANARY.clean


async def test_a_cancelled_reader_closes_the_llm_and_is_recorded(door: str, guard: Guard, sink: MemorySink) -> None:
    """The LLM is not left running, and the record does not say that all was well."""
    if door == "langchain-sync":
        pytest.skip("a thread cannot be cancelled")
    script = Script(CANARY.clean, 4, ending="waits")
    task = asyncio.create_task(play(door, guard, script))
    await asyncio.wait_for(script.is_waiting.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if answers(sink) and (script.n_closed or door == "openai-agents"):
            break
        await asyncio.sleep(0.02)
    (decision,) = answers(sink)
    assert decision.reason.value in ("abandoned", "failure")
    assert script.n_closed or door == "openai-agents"


@pytest.mark.parametrize("at_step", [1, 3])
async def test_a_failing_engine_closes_every_door(
    door: str, engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, at_step: int
) -> None:
    """Nothing unjudged leaves, and the record names the failure."""
    broken = FailingEngine(engine, at_step=at_step, breakage=raising(RuntimeError("no memory")))
    played = await play(door, Guard(broken, tokenizer, sinks=[sink]), Script(CANARY.clean, 3, is_slow=True))
    assert len(played.released) < len(CANARY.clean)
    assert any(decision.failure for decision in sink.decisions)


@pytest.mark.parametrize("changes", [{"enforce": False}, {"release": "answer"}])
async def test_other_policies_hold_at_every_door(
    door: str, engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, changes: dict[str, Any]
) -> None:
    """Shadow mode changes nothing of the text; a guard that waits for the whole answer releases none of a bad one."""
    guard = Guard(engine, tokenizer, policy=Policy(**changes), sinks=[sink])
    played = await play(door, guard, Script(CANARY.text, 7))
    assert played.released == ("" if "release" in changes else CANARY.text)
    assert answers(sink)[0].would_action is Action.STOP
