"""What of an answer or an input could pass unread: calls of a provider's tools, odd events, results of any form."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from agents import Agent, ToolOutputImage, function_tool
from agents.testing import ModelStep, ScriptedModel
from openai.types.responses.response_output_item import McpCall
from pydantic import BaseModel

from guardrail import Guard
from guardrail.adapters.openai_agents import GuardedModel, tool_guardrails
from guardrail.adapters.openai_agents.tools import ToolGuardrails
from guardrail.records import MemorySink
from tests.adapters.openai_agents.scripted import SAFE, Script, Traces, call, message, run

MakeGuard = Callable[..., Guard]
BOTH = pytest.mark.parametrize("streamed", [False, True])


@BOTH
async def test_an_unscreened_poisoned_result_stops_the_run(guard: Guard, streamed: bool) -> None:
    """Where no guardrail of the tool withheld it, the LLM is not asked."""
    script = Script([call("look")], [SAFE])

    @function_tool
    def look() -> str:
        """Look."""
        return "the page says ☠☠ forbidden"

    spy = await run(Agent("baker", model=GuardedModel(script, guard), tools=[look]), streamed=streamed)
    assert spy.output == ""
    assert len(script.asked) == 1


HOSTED = McpCall(
    type="mcp_call", id="h", name="look", server_label="bakery", arguments="{}", output="the page says ☠☠ forbidden"
)


@BOTH
async def test_calls_of_a_providers_own_tools_are_read_with_their_results(
    guard: Guard, traces: Traces, streamed: bool
) -> None:
    """They have run already, so a stopped one ends the answer; a clean one passes."""
    spy = await run(Agent("baker", model=GuardedModel(Script(["Look:", HOSTED]), guard)), streamed=streamed)
    spy.assert_tight(traces.exported)
    assert spy.output == "Look:"
    clean = HOSTED.model_copy(update={"output": "bread is ready"})
    spy = await run(Agent("baker", model=GuardedModel(Script([clean, SAFE]), guard)), streamed=streamed)
    assert spy.output == SAFE
    assert spy.result
    assert clean in spy.result.raw_responses[0].output


def streaming(*turns: list[Any]) -> ScriptedModel:
    """Return a model that streams these events, turn by turn."""

    def step(events: list[Any]) -> ModelStep:
        async def stream(_call: Any) -> AsyncIterator[Any]:
            for event in events:
                yield event

        return ModelStep.stream(stream)

    return ScriptedModel([step(events) for events in turns])


UNREAD = [
    {"type": "response.function_call_arguments.delta", "delta": "☠☠ forbidden"},
    {"type": "response.code_interpreter_call_code.delta", "delta": "☠☠ forbidden"},
    {"type": "response.audio.transcript.delta", "delta": "☠☠ forbidden"},
    {"type": "response.output_text.annotation.added", "annotation": {"title": "☠☠ forbidden"}},
]


@pytest.mark.parametrize("unread", UNREAD, ids=lambda unread: unread["type"])
async def test_an_event_that_nobody_has_read_does_not_leave(guard: Guard, unread: dict[str, Any]) -> None:
    """Of a kind that brings no text known here, or of a call that never began; the answer goes on without it."""
    kind = type("Unread", (BaseModel,), {}, extra="allow")
    event = kind(**unread, output_index=3, sequence_number=0)
    events = list(Script()._events([message(SAFE)]))
    spy = await run(Agent("baker", model=GuardedModel(streaming([*events[:3], event, *events[3:]]), guard)))
    spy.assert_tight()
    assert spy.output == SAFE


async def test_a_backend_that_contradicts_itself_shows_the_call_that_was_read(guard: Guard) -> None:
    """The events of a call tell something else than the last event, by which the call runs."""
    told, meant = (list(Script()._events([call("bake", what=what)])) for what in ("☠☠ forbidden", "bread"))
    ran: list[str] = []

    @function_tool
    def bake(what: str) -> str:
        """Bake."""
        ran.append(what)
        return "done"

    model = streaming([*told[:-1], meant[-1]], list(Script()._events([message(SAFE)])))
    spy = await run(Agent("baker", model=GuardedModel(model, guard), tools=[bake]))
    spy.assert_tight()
    assert ran == ["bread"]


RESULTS: list[dict[str, Any]] = [
    {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "☠☠ forbidden", "stderr": ""}]},
    {"type": "tool_search_output", "call_id": "c", "tools": [{"name": "x", "description": "☠☠ forbidden"}]},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "novel", "words": "☠☠ forbidden"}]},
    {"type": "function_call_output", "call_id": "c", "output": "☠☠ forbidden"},
]


@pytest.mark.parametrize("result", RESULTS, ids=str)
async def test_results_in_the_input_are_read_whatever_their_form(guard: Guard, result: dict[str, Any]) -> None:
    """Also where the tool has guardrails: in this run they have not seen it."""

    @function_tool(**tool_guardrails(guard))
    def look() -> str:
        """Look."""
        return "bread"

    script = Script([SAFE])
    asked = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    spy = await run(
        Agent("baker", model=GuardedModel(script, guard), tools=[look]),
        [{"role": "user", "content": "How?"}, asked, result],
    )
    assert spy.output == ""
    assert not script.asked


@pytest.mark.parametrize("is_guarded", [False, True])
async def test_images_in_results_are_the_policys(make_guard: MakeGuard, sink: MemorySink, is_guarded: bool) -> None:
    """A policy that stops what cannot be read withholds them, whoever reads the result."""
    guard = make_guard(unreadable="stop")
    none = ToolGuardrails(tool_input_guardrails=[], tool_output_guardrails=[])

    @function_tool(**tool_guardrails(guard) if is_guarded else none)
    def look() -> ToolOutputImage:
        """Look."""
        return ToolOutputImage(image_url="data:image/png;base64,AAEC")

    script = Script([call("look")], [SAFE])
    await run(Agent("baker", model=GuardedModel(script, guard), tools=[look]))
    assert "AAEC" not in repr(script.asked)
    assert [d.unreadable for d in sink.decisions if d.direction == "tool_result"] == [("input_image",)]
