"""Nothing that the guard withholds comes out of an agent anywhere: text, arguments of calls, results of tools."""

from typing import Any

import pytest
from langchain_core.tools import tool

WAYS = ["invoke", "ainvoke", "stream", "astream", "events v2", "events v3", "async events v3"]

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


def script(acts: Any, case: str) -> tuple[list[Any], list[Any]]:
    """Return the turns and tools of a run in which the risky text stands in the model's text, a call, or a result."""

    @tool
    def look(where: str) -> str:
        """Look somewhere."""
        return f"found {acts.risky}" if where == "there" else f"found nothing in {where}"

    turns = {
        "text": [acts.say(f"I say this:{acts.risky}")],
        "arguments": [acts.call("look", where=f"in {acts.risky}"), acts.say("Well.")],
        "result": [acts.call("look", where="there"), acts.say("Well.")],
    }
    return turns[case], [look]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["text", "arguments", "result"])
async def test_no_outlet_shows_what_was_withheld(
    acts: Any, agent_of: Any, go: Any, caplog: Any, way: str, case: str
) -> None:
    """Results, streams, events, callbacks, states, checkpoints and logs are free of it, and so is the model's input."""
    turns, tools = script(acts, case)
    agent = agent_of(*turns, tools=tools)
    heard = await acts.overheard(way, agent.graph, go, caplog)
    assert {outlet: found for outlet, value in heard.items() if (found := acts.shows(value))} == {}
    assert not acts.shows(agent.model.asked)
    assert len(agent.model.asked) == len(turns)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["text", "arguments", "result"])
async def test_the_ears_hear_it_without_a_guard(
    acts: Any, agent_of: Any, go: Any, caplog: Any, way: str, case: str
) -> None:
    """The same run without the middleware shows the risky text in its result, to callbacks and in the checkpointer."""
    turns, tools = script(acts, case)
    heard = await acts.overheard(way, agent_of(*turns, tools=tools, guarded=False).graph, go, caplog)
    assert {outlet for outlet, value in heard.items() if acts.shows(value)} >= {
        "result", "callbacks", "state", "checkpoints", "raw checkpoints",
    }  # fmt: skip
