"""Three guarded answers at once: one guard, one model in memory, a stream of its own for each task."""

import asyncio

from langchain_core.language_models import FakeListChatModel

from guardrail import Guard
from guardrail.adapters.langchain import GuardedChatModel

CONVERSATIONS = {
    "How do I bake bread?": "Mix flour, water, salt and yeast, let the dough rise for a day, then bake it hot.",
    "What is the capital of France?": "The capital of France is Paris, a city on the river Seine.",
    "What do the fans say about the game?": "Most say it was fair. One says the referee is a fucking idiot and a "
    "stupid bitch, and that everybody hates him.",
}


async def ask(guard: Guard, question: str, answer: str) -> str:
    """Return what the guard lets a reader see, and the decision."""
    llm = FakeListChatModel(responses=[answer], sleep=0.001)  # any LangChain chat model with a stream
    model = GuardedChatModel(llm, guard)
    shown = ""
    async for chunk in model.astream(question):
        shown += chunk.text
        last = chunk.response_metadata
    decision = last["guardrail"]
    return f"> {question}\n  {shown}\n  {decision['action']}, {decision['withheld_chars']} characters withheld"


async def main() -> None:
    """Ask all questions in parallel."""
    with Guard.default() as guard:
        for text in await asyncio.gather(*(ask(guard, question, answer) for question, answer in CONVERSATIONS.items())):
            print(text)


if __name__ == "__main__":
    asyncio.run(main())
