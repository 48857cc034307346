"""on_stop = "repair": the LLM is asked again behind what was released; nothing withheld ever leaves."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from guardrail import Guard, OnStop, Policy
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.policy import ReleaseMode
from guardrail.testing import FailingEngine, MarkerEngine, raising
from tests.adapters.langchain.call_forms import joined, piece_of

SECRET = "forbidden"
BAD = f"Take flour.☠☠ Then the {SECRET} part, and more of the {SECRET} part."
WORSE = f" And water.☠☠ Then {SECRET} again, and {SECRET} once more."
GOOD = " And knead it well."
WAYS = ["stream", "astream", "invoke", "ainvoke"]


@pytest.fixture
def guard(make_guard: Any) -> Any:
    return make_guard(on_stop=OnStop.REPAIR)


async def answer(model: Any, way: str, config: Any = None) -> Any:
    """Ask in one of the ways; return the whole answer."""
    if way == "stream":
        return joined(model.stream("How?", config))
    if way == "astream":
        return joined([chunk async for chunk in model.astream("How?", config)])
    return model.invoke("How?", config) if way == "invoke" else await model.ainvoke("How?", config)


@pytest.mark.parametrize("kind", ["both", "sync", "whole"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 3, 40])
async def test_the_answer_goes_on_behind_what_was_released(
    guard: Any, script: Any, samples: Any, sink: Any, ear: Any, way: str, kind: str, size: int
) -> None:
    """Two attempts fail, the third passes: one answer of the released parts, in every outlet; the record counts."""
    inner = script(BAD, size, samples.kinds[kind], later=[samples.cut(WORSE, size), samples.cut(GOOD, size)])
    tracer = RunCollectorCallbackHandler()
    whole = await answer(GuardedChatModel(inner, guard), way, {"callbacks": [ear, tracer]})
    assert whole.text == "Take flour. And water. And knead it well."
    record = whole.response_metadata["guardrail"]
    assert (record["action"], record["n_repairs"]) == ("allow", 2)
    assert record["n_repair_tokens"] > 0
    assert "finish_reason" not in whole.response_metadata
    stopped = [d for d in sink.decisions if d.stopped]
    assert [d.n_repairs for d in stopped] == [0, 1]
    assert "☠" not in repr(whole) + "".join([*ear.heard, *(run.model_dump_json() for run in tracer.traced_runs)])
    if kind != "whole" and "stream" in way:
        assert inner.n_closed == 3
        assert inner.n_chunks < sum(len(text) for text in (BAD, WORSE, GOOD)) or size > 3


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_llm_is_asked(guard: Any, script: Any, samples: Any, way: str) -> None:
    """The conversation, what was released as its own turn, and the policy's instruction; withheld text never."""
    inner = script("☠☠ " + BAD, later=[samples.cut(BAD, 3), samples.cut(GOOD, 3)])
    await answer(GuardedChatModel(inner, guard), way)
    instruction = HumanMessage(guard.policy.repair_message("Violent"))
    question = HumanMessage("How?")
    assert inner.asked == [
        [question],
        [question, instruction],  # nothing had been released
        [question, AIMessage("Take flour."), instruction],
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_a_stubborn_llm_is_refused_in_the_end(make_guard: Any, script: Any, way: str) -> None:
    """After max_repairs attempts comes the stop message: behind the text in a stream, in its place otherwise."""
    guard = make_guard(on_stop=OnStop.REPAIR, max_repairs=1)
    inner = script(BAD)
    whole = await answer(GuardedChatModel(inner, guard), way)
    message = guard.policy.stop_message("Violent")
    assert whole.text == ("Take flour.Take flour." + message if "stream" in way else message)
    assert whole.response_metadata["finish_reason"] == "content_filter"
    assert whole.response_metadata["guardrail"]["n_repairs"] == 1
    assert len(inner.asked) == 2


async def test_usage_of_all_attempts_is_counted(guard: Any, script: Any, samples: Any) -> None:
    """What the withheld attempts cost stands in the usage, for the attempts that told it."""
    usage: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    told = AIMessageChunk(content="", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
    first = AIMessageChunk(content=BAD, usage_metadata=usage, response_metadata={"finish_reason": "stop"})
    inner = script(chunks=[first], later=[[*samples.cut(GOOD, 3), told]])
    for way in WAYS:
        inner.asked.clear()
        whole = await answer(GuardedChatModel(inner, guard), way)
        assert whole.usage_metadata["total_tokens"] == 24
        assert whole.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("way", WAYS)
async def test_reasoning_and_calls_of_a_repaired_answer(guard: Any, script: Any, way: str) -> None:
    """Reasoning is repaired as text is; calls of a withheld attempt are forgotten, those of the last one leave."""

    def thought(text: str) -> AIMessageChunk:
        return AIMessageChunk(content=[{"type": "thinking", "thinking": text, "index": 0}])

    def call(word: str) -> AIMessageChunk:
        return AIMessageChunk(content=[], tool_call_chunks=[piece_of("look_up", f'{{"word": "{word}"}}', word, 1)])

    good = AIMessageChunk(content=[{"type": "text", "text": "Well.", "index": 1}])
    inner = script(
        chunks=[thought("Flour."), thought(f"☠☠ {SECRET}"), good, call(SECRET)],
        later=[[thought(" Water."), good, call("bread")]],
    )
    whole = await answer(GuardedChatModel(inner, guard), way)
    assert whole.content == [
        {"type": "thinking", "thinking": "Flour. Water.", "index": 0},
        {"type": "text", "text": "Well.", "index": 1},
    ]
    assert [(one["name"], one["args"]) for one in whole.tool_calls] == [("look_up", {"word": "bread"})]
    assert SECRET not in repr(whole)


class Counter(BaseRateLimiter):
    """Counts who asks."""

    n_asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.n_asked += 1
        return blocking

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


@pytest.mark.parametrize("way", WAYS)
async def test_attempts_keep_the_pace(guard: Any, script: Any, samples: Any, way: str) -> None:
    """The LLM's rate limiter is asked before each attempt."""
    limiter = Counter()
    inner = script(BAD, later=[samples.cut(WORSE, 3), samples.cut(GOOD, 3)], rate_limiter=limiter)
    await answer(GuardedChatModel(inner, guard), way)
    assert limiter.n_asked == 3


async def test_answer_mode_repairs_the_answer_whole(make_guard: Any, script: Any, samples: Any) -> None:
    """release = "answer": nothing of a withheld attempt leaves, so the next one starts afresh."""
    guard = make_guard(on_stop=OnStop.REPAIR, release=ReleaseMode.ANSWER)
    inner = script(BAD, later=[samples.cut(GOOD, 3)])
    for way in WAYS:
        inner.asked.clear()
        assert (await answer(GuardedChatModel(inner, guard), way)).text == GOOD
        assert [len(messages) for messages in inner.asked] == [1, 2]


async def test_a_failure_is_not_repaired(script: Any, samples: Any, tokenizer: Any) -> None:
    """Where the guard itself fails the gate closes at once: it would fail again."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
    broken = FailingEngine(engine, at_step=2, breakage=raising(RuntimeError("no")))
    guard = Guard(broken, tokenizer, policy=Policy(on_stop=OnStop.REPAIR))
    inner = script(samples.safe)
    whole = GuardedChatModel(inner, guard).invoke("How?")
    assert whole.response_metadata["guardrail"]["reason"] == "failure"
    assert len(inner.asked) == 1


async def test_a_caller_that_leaves_during_a_repair(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """The second attempt's stream is closed too, and its record says abandoned."""
    inner = script(BAD, 1, later=[samples.cut(GOOD, 1)])
    stream: Any = GuardedChatModel(inner, guard).stream("How?")
    for chunk in stream:
        if "knead" in chunk.text:
            break
    stream.close()
    assert inner.n_closed == 2
    assert [d.reason for d in sink.decisions] == ["clear", "verdict", "abandoned"]


@pytest.mark.parametrize("way", ["stream", "invoke"])
async def test_a_chain_that_owns_its_llm_repairs(guard: Any, script: Any, samples: Any, way: str) -> None:
    """`guard | llm | guard | parser` and bindings with retries ask again too."""
    step = GuardRunnable(guard)
    chain = step | script(BAD, later=[samples.cut(GOOD, 3)]).with_retry() | step | StrOutputParser()
    text = "".join(chain.stream("How?")) if way == "stream" else chain.invoke("How?")
    assert text == "Take flour." + GOOD


def test_what_has_left_is_not_repaired(make_guard: Any, script: Any, samples: Any) -> None:
    """Risky text that was released optimistically would stop every further attempt: the LLM is not asked in vain."""
    inner = script(BAD, 3, later=[samples.cut(GOOD, 3)])
    guard = make_guard(on_stop=OnStop.REPAIR, release=ReleaseMode.OPTIMISTIC)
    whole = joined(GuardedChatModel(inner, guard).stream("How?"))
    assert len(inner.asked) == 1
    assert whole.text.endswith(guard.policy.stop_message("Violent"))
