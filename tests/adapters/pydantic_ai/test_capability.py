"""`GuardCapability`: calls are refused or wait for a person, results are screened, and each is read once."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic_ai import (
    Agent,
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    ToolApproved,
    ToolDenied,
)
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.exceptions import ContentFilterError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart, ToolReturn, ToolReturnPart
from pydantic_ai.models.instrumented import InstrumentationSettings

from guardrail import Action, Direction, Guard, GuardTokenizer, OnResult, Policy, ToolRule, ToolRules, Trust
from guardrail.adapters.pydantic_ai import GuardCapability
from guardrail.records import MemorySink
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.pydantic_ai.scripted import ANSWER, SAFE, SHOWN, Script, Spy, SpyTracerProvider, run
from tests.counting import CountingEngine

MakeGuard = Callable[..., Guard]
RISKY = {"command": "rm ☠☠ forbidden"}
DOUBTFUL = {"command": "mv ☢☢ forbidden"}
CLEAN = {"command": "ls"}


@dataclass
class Shell:
    """A tool that remembers what it ran.

    Attributes:
        results: what it returns, by command; a command that is missing returns itself.
        ran: commands it ran.
    """

    results: dict[str, Any] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def shell(self, command: str) -> Any:
        """Run a command."""
        self.ran.append(command)
        result = self.results.get(command, "done")
        if isinstance(result, Exception):
            raise result
        return result


def agent_with(guard: Guard, script: Script, shell: Shell, **options: Any) -> Agent[None, Any]:
    return Agent(script.model, capabilities=[GuardCapability(guard)], tools=[shell.shell], **options)


def returns(messages: list[ModelMessage]) -> list[ToolReturnPart]:
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    return [part for part in parts if isinstance(part, ToolReturnPart)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_text_is_gated_as_by_the_model_alone(guard: Guard, streamed: bool) -> None:
    """The capability brings the gating model with it."""
    spy = await run(agent_with(guard, Script([[ANSWER]]), Shell()), streamed=streamed)
    spy.assert_tight()
    assert spy.output == SHOWN


@pytest.mark.parametrize("size", [1, 3, 7, 40])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stopped_call_is_refused_and_the_agent_goes_on(
    guard: Guard, sink: MemorySink, size: int, streamed: bool
) -> None:
    """It does not run, its arguments show nowhere, the LLM reads why; the clean call beside it runs."""
    calls = [ToolCallPart("shell", RISKY, "bad"), ToolCallPart("shell", CLEAN, "good")]
    script, shell = Script([["Well.", *calls], [SAFE]], size), Shell()
    spy = await run(agent_with(guard, script, shell), streamed=streamed)
    spy.assert_tight()
    assert spy.output == SAFE
    assert shell.ran == ["ls"]
    bad, good = returns(script.asked[1])
    assert (bad.tool_call_id, bad.outcome, bad.content) == ("bad", "failed", guard.policy.call_message("Violent"))
    assert (good.tool_call_id, good.outcome, good.content) == ("good", "success", "done")
    counts = Counter(decision.direction for decision in sink.decisions)
    assert counts == {Direction.PROMPT: 1, Direction.RESPONSE: 2, Direction.TOOL_CALL: 2, Direction.TOOL_RESULT: 1}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answer", "ran"),
    [
        (True, ["mv ☢☢ forbidden"]),
        (ToolApproved(override_args={"command": "ls"}), ["ls"]),
        (ToolDenied("no"), []),
    ],
)
async def test_a_doubtful_call_waits_for_a_person(
    guard: Guard, sink: MemorySink, streamed: bool, answer: Any, ran: list[str]
) -> None:
    """It becomes the framework's approval request with the record, and goes on in a later run as the person says."""
    script, shell = Script([[ToolCallPart("shell", DOUBTFUL, "c")], [SAFE]]), Shell()
    agent = agent_with(guard, script, shell, output_type=[str, DeferredToolRequests])
    first = await run(agent, streamed=streamed)
    assert isinstance(first.output, DeferredToolRequests)
    assert [call.tool_call_id for call in first.output.approvals] == ["c"]
    assert first.output.metadata["c"]["guardrail"]["action"] == "ask"
    assert not shell.ran
    results = DeferredToolResults(approvals={"c": answer})
    await run(agent, None, streamed=streamed, message_history=first.messages, deferred_tool_results=results)
    assert shell.ran == ran
    assert next(decision.action for decision in sink.decisions if decision.tool == "shell") is Action.ASK


async def test_rules_for_tools_count(make_guard: MakeGuard, sink: MemorySink) -> None:
    """A trusted tool is not read, and one that always asks asks for a harmless call too."""
    trusting = make_guard(tools=ToolRules(names={"sh*": ToolRule(Trust.TRUSTED, Trust.TRUSTED)}))
    shell = Shell({"ls": "a page that says ☢☢ now"})
    script = Script([[ToolCallPart("shell", CLEAN, "c")], [SAFE]])
    await run(agent_with(trusting, script, shell))
    assert returns(script.asked[1])[0].content == "a page that says ☢☢ now"
    assert {decision.reason for decision in sink.decisions if decision.tool} <= {"rule"}
    asking = make_guard(tools=ToolRules(names={"shell": ToolRule(Trust.ASK)}))
    agent = agent_with(
        asking, Script([[ToolCallPart("shell", CLEAN, "c")]]), shell, output_type=[str, DeferredToolRequests]
    )
    assert isinstance((await run(agent)).output, DeferredToolRequests)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "result",
    [
        "a page that says ☠☠ forbidden",
        {"page": ["fine", "☠☠ forbidden"]},
        ToolReturn("fine", content="☠☠ forbidden"),
        ToolReturn("fine", content=["look", "☠☠ forbidden"], metadata={"seen": "by the application"}),
        ModelRetry("try ☠☠ forbidden"),
    ],
    ids=["text", "data", "content", "contents", "retry"],
)
async def test_a_poisoned_result_is_withheld(guard: Guard, streamed: bool, result: Any) -> None:
    """Whatever form it has: neither LLM nor event nor history sees it; the LLM reads the policy's message."""
    script, shell = Script([[ToolCallPart("shell", CLEAN, "c")], [SAFE]]), Shell({"ls": result})
    spy = await run(agent_with(guard, script, shell), streamed=streamed)
    spy.hear(script.asked)
    spy.assert_tight()
    assert spy.output == SAFE
    assert [part.content for part in returns(script.asked[1])] == [guard.policy.result_message("Violent")]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("is_outside", [False, True])
async def test_traces_hold_neither_refused_calls_nor_withheld_results(
    guard: Guard, streamed: bool, is_outside: bool
) -> None:
    """Wherever the framework's instrumentation stands in the list of capabilities."""
    provider = SpyTracerProvider()
    tracing = Instrumentation(InstrumentationSettings(tracer_provider=provider))
    guarding = GuardCapability[None](guard)
    calls = [ToolCallPart("shell", RISKY, "bad"), ToolCallPart("shell", CLEAN, "good")]
    script, shell = Script([["Well.", *calls], [SAFE]]), Shell({"ls": "a page that says ☠☠ forbidden"})
    capabilities = [tracing, guarding] if is_outside else [guarding, tracing]
    agent = Agent(script.model, capabilities=capabilities, tools=[shell.shell])
    assert (await run(agent, streamed=streamed)).output == SAFE
    Spy(provider.tracer.heard).assert_tight()


async def test_an_extract_keeps_the_harmless_passages(make_guard: MakeGuard) -> None:
    """With `on_result = extract` the LLM reads what is clean of a poisoned result."""
    guard = make_guard(tools=ToolRules(on_result=OnResult.EXTRACT))
    page = "The oven is hot.\n\nNow do ☠☠ forbidden things.\n\nThe bread is done."
    script, shell = Script([[ToolCallPart("shell", CLEAN, "c")], [SAFE]]), Shell({"ls": page})
    spy = await run(agent_with(guard, script, shell))
    spy.assert_tight()
    (part,) = returns(script.asked[1])
    assert "The oven is hot." in str(part.content)
    assert "The bread is done." in str(part.content)


async def test_clean_results_and_errors_pass_unchanged(guard: Guard) -> None:
    """Data stays data, and a tool that asks for another try gets it."""
    data = {"loaves": [1, 2]}
    turns: list[Any] = [[ToolCallPart("shell", {"command": name}, name)] for name in ("data", "retry")]
    script, shell = Script([*turns, [SAFE]]), Shell({"data": data, "retry": ModelRetry("another oven, please")})
    assert (await run(agent_with(guard, script, shell))).output == SAFE
    first, second = returns(script.asked[2])
    assert first.content == data
    assert (second.outcome, second.content) == ("retried", "another oven, please")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stopped_output_call_ends_the_answer(guard: Guard, streamed: bool) -> None:
    """Structured output comes as a call that nobody could refuse: it never leaves."""

    @dataclass
    class Recipe:
        text: str

    script = Script([[ToolCallPart("final_result", {"text": "☠☠ forbidden"}, "c")]])
    agent = Agent(script.model, capabilities=[GuardCapability(guard)], output_type=Recipe)
    with pytest.raises(ContentFilterError) as caught:
        await run(agent, streamed=streamed)
    assert "forbidden" not in f"{caught.value!r} {caught.value.body}"
    clean = Script([[ToolCallPart("final_result", {"text": SAFE}, "c")]])
    agent = Agent(clean.model, capabilities=[GuardCapability(guard)], output_type=Recipe)
    assert (await run(agent, streamed=streamed)).output == Recipe(SAFE)


async def test_calls_of_an_earlier_run_are_read_before_they_run(guard: Guard) -> None:
    """A history that ends with a call that this guard never read does not run it unread."""
    calls = [ToolCallPart("shell", CLEAN, "good"), ToolCallPart("shell", RISKY, "bad")]
    history = [ModelRequest.user_text_prompt("How?"), ModelResponse(calls)]
    shell = Shell()
    with suppress(ContentFilterError):  # the risky call stands in the context of the answer
        await run(agent_with(guard, Script([[SAFE]]), shell), None, message_history=history)
    assert shell.ran == ["ls"]


@pytest.mark.parametrize("is_text", [False, True])
async def test_a_refused_call_stays_refused_in_a_later_run(guard: Guard, is_text: bool) -> None:
    """What is left of it in a history is not run as a call with other arguments, in whatever form it was stored."""
    script, shell = Script([[ToolCallPart("shell", RISKY, "bad")], [SAFE]]), Shell()
    request, response = (await run(agent_with(guard, script, shell))).messages[:2]
    (call,) = response.parts
    assert isinstance(call, ToolCallPart)
    stored = ToolCallPart("shell", call.args_as_json_str() if is_text else call.args_as_dict(), "bad")
    again = Script([[SAFE]])
    await run(agent_with(guard, again, shell), None, message_history=[request, ModelResponse([stored])])
    assert not shell.ran
    assert [part.content for part in returns(again.asked[0])] == [guard.policy.call_message("Violent")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_is_read_once(tokenizer: GuardTokenizer, streamed: bool) -> None:
    """Through answers, calls and results of several steps no feed is as long as the first: nothing is read again."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, shell = Guard(engine, tokenizer, policy=Policy()), Shell({"ls": "a page " * 40})
    calls = [ToolCallPart("shell", CLEAN, call_id) for call_id in "ab"]
    script = Script([["Well.", calls[0]], [calls[1]], [SAFE]], 9)
    agent = agent_with(guard, script, shell, instructions="Be brief.")
    await run(agent, "How do I bake? " + "flour and water " * 100, streamed=streamed)
    assert len(shell.ran) == 2
    assert max(engine.fed[1:]) < engine.fed[0] / 3


@pytest.mark.parametrize("at_step", [2, 3, 4])
async def test_a_failing_engine_runs_no_call_and_shows_no_result(
    engine: MarkerEngine, tokenizer: GuardTokenizer, sink: MemorySink, at_step: int
) -> None:
    """What could not be read counts as stopped, and the record says why."""
    failing = FailingEngine(engine, at_step=at_step, breakage=raising(RuntimeError("forbidden")))
    guard = Guard(failing, tokenizer, policy=Policy(), sinks=[sink])
    script, shell = Script([[ToolCallPart("shell", CLEAN, "c")], [SAFE]]), Shell({"ls": "a secret"})
    with pytest.raises(ContentFilterError):
        await run(agent_with(guard, script, shell))
    assert "a secret" not in repr(script.asked)
    assert any(decision.failure and decision.stopped for decision in sink.decisions)


async def test_parallel_runs_share_nothing(guard: Guard) -> None:
    """One agent, many runs at once with calls of the same ids: each keeps its own decisions."""
    shells = [Shell() for _ in range(16)]

    async def once(i: int) -> tuple[Any, list[str]]:
        arguments = RISKY if i % 2 else CLEAN
        script = Script([[ToolCallPart("shell", arguments, "c")], [f"{SAFE} {i}"]])
        spy = await run(agent_with(guard, script, shells[i]), streamed=i % 3 == 0)
        spy.assert_tight()
        return spy.output, shells[i].ran

    for i, (output, ran) in enumerate(await asyncio.gather(*map(once, range(16)))):
        assert output == f"{SAFE} {i}"
        assert ran == ([] if i % 2 else ["ls"])
