"""A model that is faster than the guard: what has arrived is read in one call, and the events are the same."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
from agents import Agent, Runner, function_tool

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.openai_agents import GuardedModel
from guardrail.testing import MarkerEngine
from tests.adapters.openai_agents.scripted import ANSWER, SAFE, Script, call, thought
from tests.counting import CountingEngine


@function_tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} rests"


def essence(events: Iterable[Any]) -> list[tuple[str, str]]:
    """Return the types of events in their order, each run of pieces as one, with what it says."""
    found = [getattr(event, "data", event) for event in events]
    return [
        (kind, "".join(getattr(event, "delta", "") for event in run))
        for kind, run in groupby(found, key=lambda event: str(event.type))
    ]


@pytest.mark.parametrize("answer", [SAFE, ANSWER])
async def test_a_fast_model_is_answered_in_few_calls(tokenizer: GuardTokenizer, answer: str) -> None:
    """Events, their order, calls and output are those of a slow one."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, found = Guard(engine, tokenizer), []
    for is_slow in (True, False):
        n_before = len(engine.fed)
        turns: Any = [[thought("Let me see. "), "I look it up.", call("look_up", word="dough")], [answer]]
        model = Script(*turns, is_slow=is_slow)
        result = Runner.run_streamed(Agent("baker", model=GuardedModel(model, guard), tools=[look_up]), "How?")
        events = [event async for event in result.stream_events()]
        found.append((essence(events), result.final_output, len(engine.fed) - n_before))
        assert model.n_closed == 2
    (*slow, n_slow), (*fast, n_fast) = found
    assert fast == slow
    assert n_slow > 2 * n_fast
