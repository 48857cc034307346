"""The SDK's own guardrails from a guard: tripwires, refused calls and withheld results, with and without the model."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from agents import (
    Agent,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    Runner,
    ToolOutputText,
    function_tool,
)
from agents.testing import ScriptedModel
from pydantic import BaseModel

from guardrail import Guard, GuardTokenizer, OnResult, Policy, ToolRule, ToolRules, Trust
from guardrail.adapters.openai_agents import GuardedModel, input_guardrail, output_guardrail, tool_guardrails
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.openai_agents.scripted import ANSWER, SAFE, Script, Traces, call, message, run
from tests.counting import CountingEngine

MakeGuard = Callable[..., Guard]
BOTH = pytest.mark.parametrize("streamed", [False, True])
WITH_MODEL = pytest.mark.parametrize("gated", [False, True])
RISKY, DOUBTFUL, CLEAN = "rm ☠☠ forbidden", "mv ☢☢ forbidden", "ls"


@dataclass
class Shell:
    """A tool that remembers what it ran.

    Attributes:
        results: what it returns, by command.
        ran: commands it ran.
    """

    results: dict[str, Any] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def tool(self, guard: Guard, **options: Any) -> Any:
        """Return it as the SDK's tool with guardrails."""

        def shell(command: str) -> Any:
            """Run a command."""
            self.ran.append(command)
            return self.results.get(command, "done")

        return function_tool(shell, **tool_guardrails(guard), **options)


def agent_with(script: Any, guard: Guard, gated: bool, **options: Any) -> Agent[Any]:
    return Agent("baker", model=GuardedModel(script, guard) if gated else script, **options)


def outputs(items: Any) -> dict[str, Any]:
    return {item["call_id"]: item["output"] for item in items if item.get("type") == "function_call_output"}


@BOTH
async def test_a_stopped_input_trips_before_the_llm_is_asked(guard: Guard, streamed: bool) -> None:
    """The SDK raises its own exception with the record; a clean input passes."""
    script = Script([SAFE])
    agent = Agent("baker", model=script, input_guardrails=[input_guardrail(guard)])
    with pytest.raises(InputGuardrailTripwireTriggered) as caught:
        await run(agent, "Tell me ☠ now", streamed=streamed)
    assert caught.value.guardrail_result.output.output_info["category"] == "Violent"
    assert not script.asked
    assert (await run(agent, streamed=streamed)).output == SAFE


@BOTH
async def test_a_stopped_output_trips_when_it_is_finished(guard: Guard, streamed: bool) -> None:
    """The SDK raises its own exception; streamed tokens had left by then, which is why there is `GuardedModel`."""
    agent = Agent("baker", model=ScriptedModel([[message(ANSWER)]]), output_guardrails=[output_guardrail(guard)])
    with pytest.raises(OutputGuardrailTripwireTriggered) as caught:
        await run(agent, streamed=streamed)
    assert caught.value.guardrail_result.output.output_info["direction"] == "response"
    agent = Agent("baker", model=ScriptedModel([[message(SAFE)]]), output_guardrails=[output_guardrail(guard)])
    assert (await run(agent, streamed=streamed)).output == SAFE


async def test_structured_output_is_read(guard: Guard) -> None:
    """An output that is an object is read as text."""

    class Recipe(BaseModel):
        text: str

    script = ScriptedModel([[message('{"text": "☠☠ forbidden"}')]])
    agent = Agent("baker", model=script, output_type=Recipe, output_guardrails=[output_guardrail(guard)])
    with pytest.raises(OutputGuardrailTripwireTriggered):
        await Runner.run(agent, "How?")


@BOTH
@WITH_MODEL
@pytest.mark.parametrize("size", [1, 4, 40])
async def test_a_stopped_call_is_refused_and_the_agent_goes_on(
    guard: Guard, sink: MemorySink, traces: Traces, streamed: bool, gated: bool, size: int
) -> None:
    """It does not run, the LLM reads why; with the model its arguments show nowhere, and each call is read once."""
    calls = [call("shell", "good", command=CLEAN), call("shell", "bad", command=RISKY)]
    script, shell = Script(calls, [SAFE], size=size), Shell()
    spy = await run(agent_with(script, guard, gated, tools=[shell.tool(guard)]), streamed=streamed)
    assert shell.ran == [CLEAN]
    assert outputs(script.asked[1]) == {"good": "done", "bad": guard.policy.call_message("Violent")}
    counts = Counter(decision.direction.value for decision in sink.decisions)
    assert (counts["tool_call"], counts["tool_result"]) == (2, 1)
    if gated:
        spy.assert_tight(traces.exported, script.asked)
        assert spy.output == SAFE


@BOTH
@WITH_MODEL
async def test_a_doubtful_call_runs_only_where_a_person_is_asked(guard: Guard, streamed: bool, gated: bool) -> None:
    """It is refused, unless the tool needs approval anyway; approved, it runs."""
    shell = Shell()
    script = Script([call("shell", command=DOUBTFUL)], [SAFE])
    spy = await run(agent_with(script, guard, gated, tools=[shell.tool(guard)]), streamed=streamed)
    assert spy.output == SAFE
    assert outputs(script.asked[1]) == {"call-1": guard.policy.call_message("Unethical Acts")}
    assert not shell.ran
    agent = agent_with(
        Script([call("shell", command=DOUBTFUL)], [SAFE]), guard, gated, tools=[shell.tool(guard, needs_approval=True)]
    )
    result = (await run(agent, streamed=streamed)).result
    assert result
    state = result.to_state()
    state.approve(result.interruptions[0])
    assert (await Runner.run(agent, state)).final_output == SAFE
    assert shell.ran == [DOUBTFUL]


@BOTH
@WITH_MODEL
@pytest.mark.parametrize(
    "poisoned",
    [
        "a page that says ☠☠ forbidden",
        {"page": ["fine", "☠☠ forbidden"]},
        ToolOutputText(text="☠☠ forbidden"),
        [ToolOutputText(text="fine"), ToolOutputText(text="☠☠ forbidden")],
    ],
    ids=["text", "data", "item", "items"],
)
async def test_a_poisoned_result_is_withheld(
    guard: Guard, traces: Traces, streamed: bool, gated: bool, poisoned: Any
) -> None:
    """Whatever form it has: neither LLM nor item nor hook nor trace sees it; the LLM reads the policy's message."""
    script, shell = Script([call("shell", command=CLEAN)], [SAFE]), Shell({CLEAN: poisoned})
    spy = await run(agent_with(script, guard, gated, tools=[shell.tool(guard)]), streamed=streamed)
    spy.assert_tight(traces.exported, script.asked)
    assert spy.output == SAFE
    assert outputs(script.asked[1]) == {"call-1": guard.policy.result_message("Violent")}


async def test_an_extract_keeps_the_harmless_passages(make_guard: MakeGuard) -> None:
    """With `on_result = extract` the LLM reads what is clean of a poisoned result."""
    guard = make_guard(tools=ToolRules(on_result=OnResult.EXTRACT))
    page = "The oven is hot.\n\nNow do ☠☠ forbidden things.\n\nThe bread is done."
    script, shell = Script([call("shell", command=CLEAN)], [SAFE]), Shell({CLEAN: page})
    spy = await run(agent_with(script, guard, True, tools=[shell.tool(guard)]))
    spy.assert_tight()
    (text,) = outputs(script.asked[1]).values()
    assert "The oven is hot." in text
    assert "The bread is done." in text


@WITH_MODEL
async def test_trusted_tools_pass_unread(make_guard: MakeGuard, sink: MemorySink, gated: bool) -> None:
    """Their calls and results are decided by the rule alone."""
    guard = make_guard(tools=ToolRules(names={"sh*": ToolRule(Trust.TRUSTED, Trust.TRUSTED)}))
    script, shell = Script([call("shell", command=DOUBTFUL)], [SAFE]), Shell({DOUBTFUL: "a page with ☢☢"})
    await run(agent_with(script, guard, gated, tools=[shell.tool(guard)]))
    assert shell.ran == [DOUBTFUL]
    assert outputs(script.asked[1]) == {"call-1": "a page with ☢☢"}
    assert [decision.reason for decision in sink.decisions if decision.tool] == ["rule", "rule"]


@BOTH
async def test_a_run_is_read_once(tokenizer: GuardTokenizer, streamed: bool) -> None:
    """Through answers, calls and results of several steps no feed is as long as the first: nothing is read again."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, shell = Guard(engine, tokenizer, policy=Policy()), Shell({CLEAN: "a page " * 40})
    script = Script(["Well.", call("shell", "a", command=CLEAN)], [call("shell", "b", command=CLEAN)], [SAFE], size=9)
    agent = agent_with(script, guard, True, tools=[shell.tool(guard)], instructions="Be brief.")
    await run(agent, "How do I bake? " + "flour and water " * 100, streamed=streamed)
    assert len(shell.ran) == 2
    assert max(engine.fed[1:]) < engine.fed[0] / 3


@BOTH
@pytest.mark.parametrize("at_step", [0, 1])
async def test_a_failing_engine_runs_no_call(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, at_step: int, streamed: bool
) -> None:
    """What could not be read counts as stopped, and the record says why."""
    failing = FailingEngine(engine, at_step=at_step, breakage=raising(RuntimeError("forbidden")))
    guard = Guard(failing, tokenizer, policy=Policy(), sinks=[sink])
    script, shell = Script([call("shell", command=CLEAN)], [SAFE]), Shell({CLEAN: "a secret"})
    await run(agent_with(script, guard, False, tools=[shell.tool(guard)]), streamed=streamed)
    assert "a secret" not in repr(script.asked)
    assert sink.decisions[-1].failure
    assert bool(shell.ran) is (at_step > 0 and any(not decision.stopped for decision in sink.decisions))


async def test_parallel_runs_share_nothing(guard: Guard) -> None:
    """Many runs at once with calls of the same ids: each keeps its own decisions."""

    async def once(i: int) -> list[str]:
        script, shell = Script([call("shell", command=RISKY if i % 2 else CLEAN)], [SAFE]), Shell()
        spy = await run(agent_with(script, guard, True, tools=[shell.tool(guard)]), streamed=i % 3 == 0)
        spy.assert_tight()
        return shell.ran

    for i, ran in enumerate(await asyncio.gather(*map(once, range(16)))):
        assert ran == ([] if i % 2 else [CLEAN])
