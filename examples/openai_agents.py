"""An OpenAI Agents SDK agent behind a guard: answers are gated token by token, tool calls and results are read."""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call

from guardrail import Guard
from guardrail.adapters.openai_agents import GuardedModel, tool_guardrails
from guardrail.records import MemorySink

ABUSE = (
    "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch, and that everybody hates him."
)


async def main() -> None:
    """Ask one question that takes a tool, and one whose answer turns abusive."""
    set_tracing_disabled(True)  # this example has no network
    sink = MemorySink()
    guard = Guard.default(sinks=[sink])

    @function_tool(**tool_guardrails(guard))
    def oven(celsius: int) -> str:
        """Heat the oven."""
        return f"The oven has {celsius} degrees."

    model = ScriptedModel(  # any model of the SDK, such as OpenAIResponsesModel
        [
            [function_call("oven", {"celsius": 250}, call_id="call-1")],
            [assistant_message("The oven is hot now. Put the bread in.")],
            [assistant_message(ABUSE)],
        ]
    )
    agent = Agent("Baker", model=GuardedModel(model, guard), tools=[oven])
    for question in ("Heat the oven, please.", "What do the fans say about the game?"):
        print(f"\n> {question}")
        result = Runner.run_streamed(agent, question)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                print(event.data.delta, end="", flush=True)
        print()

    print("\nDecisions:")
    for decision in sink.decisions:
        print(f"  {decision.direction:11}  {decision.action:5}  {decision.risk or '-':13}  {decision.category or '-'}")


if __name__ == "__main__":
    asyncio.run(main())
