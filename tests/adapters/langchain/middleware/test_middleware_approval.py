"""Calls that wait for a person: the interrupt, the three answers, and a restart between question and answer."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt
from pydantic import ValidationError

from guardrail import Action, Guard, Policy
from guardrail.policy import Rules
from guardrail.records import MemorySink
from guardrail.testing import MarkerEngine
from guardrail.tool_rules import ToolRule, ToolRules, Trust

THREAD: Any = {"configurable": {"thread_id": "t"}}
GO: Any = {"messages": [HumanMessage("go")]}


@pytest.fixture
def asking(tokenizer: Any, sink: MemorySink) -> Guard:
    """A guard that asks about ☂ and about every call of `always`, and stops ☠."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent"), "☂": ("Controversial", "PII")})
    rules = ToolRules(names={"always": ToolRule(call=Trust.ASK)}, controversial=Action.ASK)
    answers = Rules(controversial=Action.FLAG, debounce=2)
    return Guard(engine, tokenizer, policy=Policy(tools=rules, response=answers), sinks=[sink])


@pytest.fixture
def ran() -> list[str]:
    """What tools were run with."""
    return []


@pytest.fixture
def tools(ran: list[str]) -> list[Any]:
    """Tools that remember their runs."""

    @tool("write")
    def write(text: str) -> str:
        """Write a text."""
        ran.append(text)
        return "written"

    @tool("always")
    def always(text: str) -> str:
        """Do what a person must approve."""
        ran.append(f"always {text}")
        return "done"

    @tool("asks_too")
    def asks_too(text: str) -> str:
        """Ask the person something itself."""
        ran.append(f"{text}: {interrupt('which one?')}")
        return "done"

    return [write, always, asks_too]


def answer(kind: str, **more: Any) -> Command[Any]:
    """Return what a run is resumed with."""
    return Command(resume={"decisions": [{"type": kind, **more}]})


async def step(agent: Any, given: Any, way: str) -> Any:
    """Run an agent up to its end or its next question."""
    return agent.graph.invoke(given, THREAD) if way == "invoke" else await agent.graph.ainvoke(given, THREAD)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_the_question_has_the_shape_of_the_human_in_the_loop_middleware(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], way: str
) -> None:
    """A controversial call waits; the interrupt shows it, with what may be answered."""
    script = [acts.call("write", text="☂☂ take it"), acts.say("Done.")]
    agent = agent_of(*script, tools=tools, by=asking, checkpointer=InMemorySaver())
    state = await step(agent, GO, way)
    (question,) = state["__interrupt__"]
    (action,), (review,) = question.value["action_requests"], question.value["review_configs"]
    assert (action["name"], action["args"]) == ("write", {"text": "☂☂ take it"})
    assert "PII" in action["description"]
    assert review == {"action_name": "write", "allowed_decisions": ["approve", "edit", "reject"]}
    assert ran == []
    state = await step(agent, answer("approve"), way)
    assert ran == ["☂☂ take it"]
    assert state["messages"][-1].text == "Done."


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize(("text", "runs", "told"), [
    ("quite harmless", ["quite harmless"], "written"),
    ("☂☂ still so", ["☂☂ still so"], "written"),
    ("☠☠ worse", [], "refused"),
], ids=["harmless", "would ask", "stop"])  # fmt: skip
async def test_an_edited_call_is_judged_again(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], text: str, runs: list[str], told: str, way: str
) -> None:
    """A stop stays a stop; what would only be asked about has just been answered."""
    script = [acts.call("write", text="☂☂ take it"), acts.say("Done.")]
    agent = agent_of(*script, tools=tools, by=asking, checkpointer=InMemorySaver())
    await step(agent, GO, way)
    state = await step(agent, answer("edit", edited_action={"name": "write", "args": {"text": text}}), way)
    assert ran == runs
    assert told in state["messages"][2].text


def test_an_edit_may_name_another_tool(acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str]) -> None:
    """The other tool runs and answers the call."""
    script = [acts.call("write", text="☂☂"), acts.say("Done.")]
    agent = agent_of(*script, tools=tools, by=asking, checkpointer=InMemorySaver())
    agent.graph.invoke(GO, THREAD)
    edit = answer("edit", edited_action={"name": "always", "args": {"text": "x"}})
    assert agent.graph.invoke(edit, THREAD)["messages"][2].name == "always"
    assert ran == ["always x"]


@pytest.mark.parametrize("message", ["Not on a Sunday.", None])
def test_a_rejected_call_does_not_run(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], message: str | None
) -> None:
    """The model is told by an error message, in the person's words if there are any."""
    agent = agent_of(
        acts.call("always", text="x"), acts.say("Ok."), tools=tools, by=asking, checkpointer=InMemorySaver()
    )
    agent.graph.invoke(GO, THREAD)
    state = agent.graph.invoke(answer("reject", **({"message": message} if message else {})), THREAD)
    told = state["messages"][2]
    assert ran == []
    assert (told.status, told.name) == ("error", "always")
    assert (message or "Do not repeat it") in told.content


@pytest.mark.parametrize("given", [
    {"decisions": []},
    {"decisions": [{"type": "respond", "message": "x"}]},
    {"decisions": [{"type": "approve"}, {"type": "approve"}]},
    {"decisions": [{"type": "edit", "edited_action": {"name": "absent", "args": {}}}]},
    "approve",
], ids=["none", "unknown", "two", "no such tool", "text"])  # fmt: skip
def test_an_answer_of_another_shape_can_be_given_again(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], given: Any
) -> None:
    """It is refused, nothing runs, and the right answer still counts."""
    agent = agent_of(
        acts.call("write", text="☂☂"), acts.say("Done."), tools=tools, by=asking, checkpointer=InMemorySaver()
    )
    agent.graph.invoke(GO, THREAD)
    with pytest.raises(ValidationError):
        agent.graph.invoke(Command(resume=given), THREAD)
    assert ran == []
    agent.graph.invoke(answer("approve"), THREAD)
    assert ran == ["☂☂"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_several_calls_are_asked_about_each_by_itself(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], way: str
) -> None:
    """Harmless calls of the turn run at once, stopped ones are refused, and each question is answered by its id."""
    texts = ["fine", "☂☂ one", "☠☠ no", "☂☂ two"]
    turn = [chunk for i, text in enumerate(texts) for chunk in acts.call("write", text=text, index=i)]
    agent = agent_of(turn, acts.say("Done."), tools=tools, by=asking, checkpointer=InMemorySaver())
    state = await step(agent, GO, way)
    assert ran == ["fine"]
    by_text = {one.value["action_requests"][0]["args"]["text"]: one.id for one in state["__interrupt__"]}
    decisions = {by_text["☂☂ one"]: {"type": "reject"}, by_text["☂☂ two"]: {"type": "approve"}}
    state = await step(agent, Command(resume={key: {"decisions": [one]} for key, one in decisions.items()}), way)
    assert ran == ["fine", "☂☂ two"]
    told = [m.status for m in state["messages"] if isinstance(m, ToolMessage)]
    assert told == ["success", "error", "error", "success"]


def test_a_run_that_goes_on_asks_and_judges_no_second_time(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], sink: MemorySink
) -> None:
    """The node is run again at every answer, even a tool's own question: verdict and approval stand."""
    agent = agent_of(
        acts.call("asks_too", text="☂☂"), acts.say("Done."), tools=tools, by=asking, checkpointer=InMemorySaver()
    )
    agent.graph.invoke(GO, THREAD)
    (question,) = agent.graph.invoke(answer("approve"), THREAD)["__interrupt__"]
    assert question.value == "which one?"
    agent.graph.invoke(Command(resume="this one"), THREAD)
    assert ran == ["☂☂: this one"]
    assert [d.action for d in sink.decisions if d.direction == "tool_call"] == ["ask"]


@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_an_answer_counts_after_a_restart(
    acts: Any, agent_of: Any, asking: Guard, make_guard: Any, tools: Any, ran: list[str], tmp_path: Path, kind: str
) -> None:
    """Another agent on the same file takes the answer, even if its own guard would not have asked."""
    path = str(tmp_path / "agent.sqlite")
    with SqliteSaver.from_conn_string(path) as saver:
        script = [acts.call("write", text="☂☂"), acts.say("Done.")]
        agent_of(*script, tools=tools, by=asking, checkpointer=saver).graph.invoke(GO, THREAD)
    with SqliteSaver.from_conn_string(path) as saver:
        agent = agent_of(acts.say("Done."), tools=tools, by=make_guard(), checkpointer=saver)
        state = agent.graph.invoke(answer(kind), THREAD)
    assert ran == (["☂☂"] if kind == "approve" else [])
    assert state["messages"][-1].text == "Done."


def test_a_call_that_was_stopped_stays_stopped_after_a_restart(
    acts: Any, agent_of: Any, asking: Guard, tools: Any, ran: list[str], tmp_path: Path
) -> None:
    """A run that was interrupted before its tools is gone on with by another agent: the refusal is in the state."""
    path = str(tmp_path / "agent.sqlite")
    for script in ([acts.call("write", text="☠☠")], [acts.say("Done.")]):
        with SqliteSaver.from_conn_string(path) as saver:
            agent = agent_of(*script, tools=tools, by=asking, checkpointer=saver, interrupt_before=["tools"])
            state = agent.graph.invoke(GO if not agent.graph.get_state(THREAD).values else None, THREAD)
    assert ran == []
    assert state["messages"][2].content == asking.policy.call_message("Violent")


# long: most of it is the program of the other process
@pytest.mark.slow
def test_another_process_takes_the_answer(tmp_path: Path) -> None:
    """The question is asked in one process and answered in the next, on one SQLite file."""
    program = tmp_path / "program.py"
    program.write_text(
        dedent("""
        import sys
        from langchain.agents import create_agent
        from langchain_core.language_models import FakeMessagesListChatModel
        from langchain_core.messages import AIMessage
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.types import Command
        from guardrail import Guard, Policy
        from guardrail.adapters.langchain import GuardMiddleware
        from guardrail.policy import Rules
        from guardrail.testing import MarkerEngine, default_tokenizer
        from guardrail.tool_rules import ToolRule, ToolRules, Trust

        class Model(FakeMessagesListChatModel):
            def bind_tools(self, tools, **kwargs):
                return self

        def pay(amount: int) -> str:
            "Pay."
            print("paid", amount)
            return "paid"

        call = AIMessage("", tool_calls=[{"name": "pay", "args": {"amount": 7}, "id": "c1"}])
        asks = sys.argv[2] == "ask"
        tokenizer = default_tokenizer()
        policy = Policy(tools=ToolRules(names={"pay": ToolRule(call=Trust.ASK)}))
        guard = Guard(MarkerEngine(tokenizer, {"x": ("Unsafe", "Violent")}), tokenizer, policy=policy)
        with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
            model = Model(responses=[call] if asks else [AIMessage("Done.")])
            agent = create_agent(model, [pay], middleware=[GuardMiddleware(guard)], checkpointer=saver)
            given = {"messages": [("user", "go")]} if asks else Command(resume={"decisions": [{"type": sys.argv[2]}]})
            state = agent.invoke(given, {"configurable": {"thread_id": "t"}})
            print("waits" if "__interrupt__" in state else state["messages"][-1].text)
        """)
    )
    told = [
        subprocess.run(
            [sys.executable, str(program), str(tmp_path / "agent.sqlite"), kind],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for kind in ("ask", "approve")
    ]
    assert told == [["waits"], ["paid", "7", "Done."]]
