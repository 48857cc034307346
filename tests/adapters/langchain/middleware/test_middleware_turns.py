"""User turns of an agent: read once, before the model, and kept from it when they are stopped."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver

from guardrail import Guard, OnStop
from guardrail.decision import Direction
from guardrail.errors import ContentStopped
from guardrail.records import MemorySink

THREAD: Any = {"configurable": {"thread_id": "t-1"}}


def ask(text: str) -> dict[str, Any]:
    """Return a user turn as an agent's input."""
    return {"messages": [HumanMessage(text)]}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("on_stop", list(OnStop))
async def test_a_stopped_turn_ends_the_run(
    acts: Any, agent_of: Any, make_guard: Any, on_stop: OnStop, way: str
) -> None:
    """The model is not asked; the answer says why, in the words of the policy's `on_stop`."""
    guard: Guard = make_guard(on_stop=on_stop)
    agent = agent_of(acts.say("never"), by=guard)
    run = {"invoke": agent.graph.invoke, "ainvoke": agent.graph.ainvoke}[way]
    if on_stop is OnStop.RAISE:
        with pytest.raises(ContentStopped):
            await run(ask("Tell me ☠")) if way == "ainvoke" else run(ask("Tell me ☠"))
    else:
        state = await run(ask("Tell me ☠")) if way == "ainvoke" else run(ask("Tell me ☠"))
        last = state["messages"][-1]
        assert isinstance(last, AIMessage)
        assert last.text == ("" if on_stop is OnStop.TRUNCATE else guard.policy.stop_message("Violent"))
        assert last.response_metadata["finish_reason"] == "content_filter"
        assert last.response_metadata["guardrail"]["direction"] == "prompt"
    assert agent.model.asked == []


def test_a_turn_is_read_once_however_many_steps_follow(
    acts: Any, agent_of: Any, sink: MemorySink, tools_of: Any
) -> None:
    """Three steps of one turn give one prompt decision; the next turn gives another."""
    calls = [acts.call("echo", text="a", id="1"), acts.call("echo", text="b", id="2")]
    script = [*calls, acts.say("Done."), acts.say("Again.")]
    agent = agent_of(*script, tools=tools_of("echo"), checkpointer=InMemorySaver())
    agent.graph.invoke(ask("go"), THREAD)
    assert [d.direction for d in sink.decisions].count(Direction.PROMPT) == 1
    agent.graph.invoke(ask("go"), THREAD)
    assert [d.direction for d in sink.decisions].count(Direction.PROMPT) == 2


def test_a_turn_in_another_conversation_is_read_there(acts: Any, agent_of: Any, sink: MemorySink) -> None:
    """Ids that callers choose may come again: the same words behind others are another turn."""
    agent = agent_of(acts.say("Done."), acts.say("Done."))
    for first in ("bread", "weapons"):
        said = [HumanMessage(first, id="1"), AIMessage("Shall I?", id="2"), HumanMessage("yes, do it", id="3")]
        agent.graph.invoke({"messages": said})
    assert [d.direction for d in sink.decisions].count(Direction.PROMPT) == 2


def test_every_new_user_message_is_read(acts: Any, agent_of: Any) -> None:
    """Of several messages sent at once the first counts as much as the last."""
    agent = agent_of(acts.say("never"))
    state = agent.graph.invoke({"messages": [HumanMessage("Tell me ☠"), HumanMessage("please")]})
    assert state["messages"][-1].response_metadata["finish_reason"] == "content_filter"
    assert agent.model.asked == []


def test_a_turn_before_an_answer_of_the_callers_own_is_read(acts: Any, agent_of: Any) -> None:
    """An answer that the caller begins for the model does not hide the question from the guard."""
    agent = agent_of(acts.say("never"))
    state = agent.graph.invoke({"messages": [HumanMessage("Tell me ☠"), AIMessage("Sure:")]})
    assert state["messages"][-1].response_metadata["finish_reason"] == "content_filter"
    assert agent.model.asked == []


def test_a_role_of_the_callers_own_is_read_as_a_user(acts: Any, agent_of: Any) -> None:
    """Whoever speaks to the model is judged."""
    agent = agent_of(acts.say("never"))
    state = agent.graph.invoke({"messages": [ChatMessage(content="Tell me ☠", role="customer")]})
    assert state["messages"][-1].response_metadata["finish_reason"] == "content_filter"


def test_a_thread_goes_on_after_a_raised_stop(acts: Any, agent_of: Any, make_guard: Any, tools_of: Any) -> None:
    """A turn that raised stays stopped when it is sent again alone, and is gone when another one is answered."""
    script = [acts.call("echo", text="a"), acts.say("Bread.")]
    guard = make_guard(on_stop=OnStop.RAISE)
    agent = agent_of(*script, tools=tools_of("echo"), by=guard, checkpointer=InMemorySaver())
    for new in ([HumanMessage("Tell me ☠")], []):
        with pytest.raises(ContentStopped):
            agent.graph.invoke({"messages": new}, THREAD)
    state = agent.graph.invoke(ask("And bread?"), THREAD)
    assert state["messages"][-1].text == "Bread."
    assert [asked[0].text for asked in agent.model.asked] == ["And bread?", "And bread?"]
    assert not acts.shows(state)


def test_later_model_calls_do_not_see_a_stopped_turn(acts: Any, agent_of: Any) -> None:
    """The turn stays in the state where it was written; model and guard read on without it."""
    agent = agent_of(acts.say("Hello."), acts.say("Bread."), checkpointer=InMemorySaver())
    for text in ("hi", f"Tell me {acts.risky}", "And bread?"):
        state = agent.graph.invoke(ask(text), THREAD)
    assert [message.text for message in agent.model.asked[-1]] == ["hi", "Hello.", "And bread?"]
    assert len(state["messages"]) == 6
    assert state["messages"][-1].text == "Bread."


def test_a_run_without_a_new_turn_stays_refused(acts: Any, agent_of: Any) -> None:
    """Asking again after a refusal does not ask the model."""
    agent = agent_of(acts.say("never"), checkpointer=InMemorySaver())
    first = agent.graph.invoke(ask("Tell me ☠"), THREAD)
    again = agent.graph.invoke({"messages": []}, THREAD)
    assert agent.model.asked == []
    assert [m.id for m in again["messages"]] == [m.id for m in first["messages"]]


def test_all_records_of_a_run_share_the_conversation(acts: Any, agent_of: Any, sink: MemorySink, tools_of: Any) -> None:
    """The thread's id stands in every record; without a thread the run has an id of its own."""
    for config, expected in ((THREAD, {"t-1"}), ({}, None)):
        sink.decisions.clear()
        agent = agent_of(acts.call("echo", text="a"), acts.say("Done."), tools=tools_of("echo"))
        agent.graph.invoke(ask("go"), config)
        assert {d.direction for d in sink.decisions} == {"prompt", "response", "tool_call", "tool_result"}
        ids = {d.conversation_id for d in sink.decisions}
        assert ids == expected if expected else len(ids) == 1


def test_the_system_prompt_is_context_of_every_reading(acts: Any, agent_of: Any, counting: Any, tools_of: Any) -> None:
    """With it in place all readings of a run build on each other: nearly every token is fed once."""
    script = [*(acts.call("echo", text=f"word {i}", id=str(i)) for i in range(6)), acts.say("Done.")]
    agent = agent_of(*script, tools=tools_of("echo"), by=counting.guard, system_prompt="You help. " * 40)
    agent.graph.invoke(ask("go"), THREAD)
    assert counting.n_fed() < 2 * counting.longest()
    assert isinstance(agent.model.asked[0][0], SystemMessage)


def test_shadow_mode_stops_nothing(acts: Any, agent_of: Any, make_guard: Any, tools_of: Any, sink: MemorySink) -> None:
    """A policy that does not enforce lets turns, calls and results pass, and records what it would have done."""
    agent = agent_of(
        acts.call("echo", text=f"x {acts.risky}"),
        acts.say("Done."),
        tools=tools_of("echo"),
        by=make_guard(enforce=False),
    )
    state = agent.graph.invoke(ask("Tell me ☠"))
    assert state["messages"][-1].text == "Done."
    assert acts.risky in state["messages"][-2].text
    assert {d.would_action for d in sink.decisions if d.direction != "response"} == {"stop"}


def test_a_policy_of_its_own_replaces_the_guards(acts: Any, guard: Guard, agent_of: Any) -> None:
    """`GuardMiddleware(guard, policy=...)` decides by that policy."""
    from guardrail.adapters.langchain.middleware import GuardMiddleware

    agent = agent_of(acts.say("Well."), guarded=False, middleware=[GuardMiddleware(guard, policy="shadow")])
    assert agent.graph.invoke(ask("Tell me ☠"))["messages"][-1].text == "Well."


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_stopped_answer_is_repaired(acts: Any, agent_of: Any, make_guard: Any, go: Any, way: str) -> None:
    """With `on_stop = "repair"` the model is asked again behind the last safe point, inside the same step."""
    agent = agent_of(acts.say(f"Bread is {acts.risky}"), acts.say("good food."), by=make_guard(on_stop=OnStop.REPAIR))
    state = agent.graph.invoke(go) if way == "invoke" else await agent.graph.ainvoke(go)
    last = state["messages"][-1]
    assert last.text == "Bread is good food."
    assert last.response_metadata["guardrail"]["n_repairs"] == 1
    assert not acts.shows(state)
