"""A guarded chain: the prompt is checked before the LLM is asked, the answer token by token while it streams."""

from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from guardrail import Guard
from guardrail.adapters.langchain import GuardRunnable
from guardrail.records import MemorySink

ANSWERS = [
    "Mix flour, water, salt and a little yeast. Let the dough rise for a day, then bake it in a hot oven.",
    "Most say it was fair. One says the referee is a fucking idiot and a stupid bitch, and that everybody hates him.",
]


def main() -> None:
    """Ask one harmless question, then one whose answer turns abusive."""
    sink = MemorySink()
    guard = GuardRunnable(Guard.default(sinks=[sink]))
    llm = FakeListChatModel(responses=ANSWERS)  # any LangChain chat model, such as ChatOpenAI()

    chain = guard | llm | guard
    for question in ("How do I bake bread?", "What do the fans say about the game?"):
        print(f"\n> {question}")
        for chunk in chain.stream(question):
            print(chunk.text, end="", flush=True)
            if chunk.response_metadata.get("finish_reason") == "content_filter":
                print(f" [stopped: {chunk.response_metadata['guardrail']['category']}]", end="")
        print()

    # In a longer chain, wrap the LLM itself.
    prompt = ChatPromptTemplate.from_template("Answer in one sentence: {question}")
    longer = prompt | guard.wrap(llm) | StrOutputParser()
    print("\n>", longer.invoke({"question": "How do I bake bread?"}))

    print("\nDecisions:")
    for decision in sink.decisions:
        print(f"  {decision.direction:8}  {decision.action:5}  {decision.risk or '-':13}  {decision.category or '-'}")


if __name__ == "__main__":
    main()
