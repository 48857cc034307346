"""A pydantic-ai agent behind a guard: answers are gated token by token, and a person is asked before a tool runs."""

import asyncio
from collections.abc import AsyncIterator

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from guardrail import Guard, Policy, ToolRule, ToolRules, Trust
from guardrail.adapters.pydantic_ai import GuardCapability
from guardrail.records import MemorySink

ABUSE = (
    "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch, and that everybody hates him."
)


async def script(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
    """Play the LLM: call a tool when asked for the oven, else answer."""
    part = messages[-1].parts[-1]
    if isinstance(part, ToolReturnPart):
        yield f"{part.content} Put the bread in."
    elif "oven" in str(part):
        yield {0: DeltaToolCall("oven", '{"celsius": 250}', tool_call_id="call-1")}
    else:
        for word in ABUSE.split():
            yield f"{word} "


async def main() -> None:
    """Ask for something that a person must approve, then for something whose answer turns abusive."""
    sink = MemorySink()
    policy = Policy(tools=ToolRules(names={"oven": ToolRule(call=Trust.ASK)}))
    guarded = GuardCapability[None](Guard.default(policy=policy, sinks=[sink]))
    model = FunctionModel(stream_function=script)  # any model, such as "openai:gpt-5"
    agent = Agent(model, capabilities=[guarded], output_type=[str, DeferredToolRequests])

    @agent.tool_plain
    def oven(celsius: int) -> str:
        """Heat the oven."""
        return f"The oven has {celsius} degrees."

    async with agent.run_stream("Heat the oven, please.") as result:
        asked = await result.get_output()
    if isinstance(asked, DeferredToolRequests):
        print("May this run?", [(call.tool_name, call.args) for call in asked.approvals])
    approved = DeferredToolResults(approvals={"call-1": True})
    async with agent.run_stream(message_history=result.all_messages(), deferred_tool_results=approved) as result:
        print(await result.get_output())
    async with agent.run_stream("What do the fans say about the game?") as result:
        print(await result.get_output(), f"[{result.response.finish_reason}]")
    print("Decisions:", [f"{one.direction}: {one.action}" for one in sink.decisions])


if __name__ == "__main__":
    asyncio.run(main())
