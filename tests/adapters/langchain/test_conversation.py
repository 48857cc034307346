"""One conversation, many turns: the guard reads what is new, and nothing twice."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.testing import MarkerEngine
from tests.counting import CountingEngine

QUESTION = "And what comes next, when all of the dough has rested for a night?"
REPLY = "Next you shape it with wet hands, and bake it in a very hot oven."
N_TURNS = 8


@pytest.fixture
def engine(tokenizer: GuardTokenizer) -> CountingEngine:
    return CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))


def n_read(engine: CountingEngine, model: Any, turns: Any, config: Any) -> list[int]:
    """Talk for some turns; return the tokens that the engine read at each."""
    history: list[BaseMessage] = [HumanMessage("Tell me about bread. " * 20)]
    counts = []
    for _ in range(N_TURNS):
        before = engine.n_read
        answer = model.invoke(history, config)
        history += turns(answer)
        counts.append(engine.n_read - before)
    return counts


def talking(answer: AIMessage) -> list[BaseMessage]:
    return [answer, HumanMessage(QUESTION)]


def calling(answer: AIMessage) -> list[BaseMessage]:
    return [answer, ToolMessage("It rests.", tool_call_id="c")]


CALL: Any = {"name": "look_up", "args": '{"word": "dough"}', "id": "c", "index": 0, "type": "tool_call_chunk"}


@pytest.mark.parametrize("way", ["model", "chain"])
@pytest.mark.parametrize("calls", [False, True], ids=["text", "calls"])
def test_each_turn_reads_what_is_new(
    engine: CountingEngine, tokenizer: GuardTokenizer, script: Any, way: str, calls: bool
) -> None:
    """A turn costs the same however long the history is: the last answer and the new text."""
    chunks = [AIMessageChunk(content=REPLY), *([AIMessageChunk(content="", tool_call_chunks=[CALL])] if calls else [])]
    llm = script(chunks=chunks)
    turns = calling if calls else talking

    def read_by(guard: Guard) -> list[int]:
        step = GuardRunnable(guard)
        model = GuardedChatModel(llm, guard) if way == "model" else step | llm | step
        return n_read(engine, model, turns, {"configurable": {"thread_id": "t"}})

    first, *later = read_by(Guard(engine, tokenizer))
    assert max(later) < first
    assert later[1:] == [later[1]] * (N_TURNS - 2)
    assert read_by(Guard(engine, tokenizer, kept_bytes=0))[-1] > 2 * first


async def test_parallel_conversations_keep_apart(
    engine: CountingEngine, tokenizer: GuardTokenizer, script: Any
) -> None:
    """Each thread id has its own readings; many at once cost as much as one after the other."""
    model: Any = GuardedChatModel(script(REPLY), Guard(engine, tokenizer))
    history = [HumanMessage("Tell me about bread. " * 20), AIMessage(REPLY), HumanMessage(QUESTION)]
    configs: Any = [{"configurable": {"thread_id": f"t{i}"}} for i in range(6)]
    await model.abatch([history[:1]] * 6, configs)
    n_first = engine.n_read
    await model.abatch([history] * 6, configs)
    assert engine.n_read - n_first < n_first / 2
    assert (engine.n_read - n_first) % 6 == 0
