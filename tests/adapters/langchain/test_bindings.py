"""What is made of a guarded model: tools, structured output, retries, fallbacks, batches, token counts."""

import json
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.runnables import RunnableLambda, RunnableMap, RunnablePassthrough
from pydantic import BaseModel

from guardrail import ConfigurationError, ContentStopped, OnStop
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable


class Word(BaseModel):
    """A word."""

    word: str


SCHEMA = {"title": "Word", "description": "A word.", "type": "object", "properties": {"word": {"type": "string"}}}
SCHEMAS = pytest.mark.parametrize("schema", [SCHEMA, Word], ids=["dict", "pydantic"])


def calling(args: dict[str, str]) -> list[AIMessageChunk]:
    """Return an answer that is one call."""
    call: Any = {"name": "Word", "args": json.dumps(args), "id": "c", "index": 0, "type": "tool_call_chunk"}
    return [AIMessageChunk(content="", tool_call_chunks=[call])]


def native(samples: Any) -> type:
    """Return a model with a JSON mode of its own: it binds a response format, and parses its text."""

    def with_structured_output(self: Any, schema: Any, *, include_raw: bool = False, **_: Any) -> Any:
        llm = self.bind(response_format=schema)
        if include_raw:
            return RunnableMap(raw=llm) | RunnablePassthrough.assign(parsed=lambda given: given["raw"].text)
        return llm | JsonOutputParser()

    return type("Native", (samples.kinds["both"],), {"with_structured_output": with_structured_output})


async def both(chain: Any) -> list[Any]:
    """Ask sync and async."""
    return [chain.invoke("Q"), await chain.ainvoke("Q")]


@SCHEMAS
async def test_structured_output_by_tools(guard: Any, script: Any, schema: Any) -> None:
    """A safe call reaches the parser; a stopped answer has no call, so there is nothing to parse."""
    model = GuardedChatModel(script(chunks=calling({"word": "bread"})), guard)
    expected = {"word": "bread"} if schema is SCHEMA else Word(word="bread")
    assert await both(model.with_structured_output(schema)) == [expected] * 2
    bad = GuardedChatModel(script(chunks=calling({"word": "☠☠ bad"})), guard)
    assert await both(bad.with_structured_output(schema)) == [None, None]


@SCHEMAS
async def test_structured_output_with_the_message(guard: Any, script: Any, samples: Any, schema: Any) -> None:
    """include_raw: the guarded message stands beside what was parsed, with the decision."""
    for word, action in (("bread", "allow"), (f"☠☠ {samples.secret}", "stop")):
        model = GuardedChatModel(script(chunks=calling({"word": word})), guard)
        for found in await both(model.with_structured_output(schema, include_raw=True)):
            assert found["raw"].response_metadata["guardrail"]["action"] == action
            assert bool(found["parsed"]) == (action == "allow")
            assert samples.secret not in repr(found)


@pytest.mark.parametrize("include_raw", [False, True])
async def test_a_providers_own_mode_survives(guard: Any, script: Any, samples: Any, include_raw: bool) -> None:
    """The inner model's own with_structured_output is used, with the LLM in it guarded; half a form never parses."""
    inner = script('{"word": "bread"}', kind=native(samples))
    chain = GuardedChatModel(inner, guard).with_structured_output(SCHEMA, include_raw=include_raw)
    for found in await both(chain):
        assert (found["parsed"] == '{"word": "bread"}') if include_raw else (found == {"word": "bread"})
    bad = script('{"word": "☠☠ the ' + samples.secret + ' part"}', kind=native(samples))
    chain = GuardedChatModel(bad, guard).with_structured_output(SCHEMA, include_raw=include_raw)
    if include_raw:
        assert [found["parsed"] for found in await both(chain)] == ["", ""]
        return
    with pytest.raises(OutputParserException):
        chain.invoke("Q")
    with pytest.raises(OutputParserException):
        await chain.ainvoke("Q")
    assert list(chain.stream("Q")) == []


def test_structured_output_keeps_the_settings(guard: Any, script: Any, samples: Any) -> None:
    """What is set on the guarded model holds inside; a chain that cannot be guarded is refused."""
    model = GuardedChatModel(script(chunks=calling({"word": "☠☠"})), guard, on_call="mark", checks_prompt=False)
    inner: Any = model.with_structured_output(SCHEMA)
    assert (inner.first.bound.bound.on_call, inner.first.bound.bound.checks_prompt) == ("mark", False)
    for chain in (RunnableLambda(len), RunnableMap(raw=script(), other=RunnableLambda(len) | script())):
        kept = {"with_structured_output": lambda *_, chain=chain, **__: chain}
        odd = type("Odd", (samples.kinds["both"],), kept)
        with pytest.raises(ConfigurationError, match="with_structured_output"):
            GuardedChatModel(script(kind=odd), guard).with_structured_output(SCHEMA)


def test_structured_output_can_raise(make_guard: Any, script: Any) -> None:
    """on_stop = "raise" says that it was stopped, where None would not."""
    model = GuardedChatModel(script(chunks=calling({"word": "☠☠ bad"})), make_guard(on_stop=OnStop.RAISE))
    with pytest.raises(ContentStopped):
        model.with_structured_output(SCHEMA).invoke("Q")


def test_tokens_are_counted_by_the_inner_model(guard: Any, script: Any) -> None:
    """It knows its tokenizer."""
    model = GuardedChatModel(script(custom_get_token_ids=lambda text: list(range(len(text)))), guard)
    assert model.get_token_ids("abc") == [0, 1, 2]
    assert model.get_num_tokens("abcd") == 4
    assert model.get_num_tokens_from_messages([HumanMessage("ab")]) == len("Human: ab")


@pytest.mark.parametrize("way", ["bound", "inner"])
async def test_what_a_stop_saved_is_recorded(guard: Any, script: Any, samples: Any, sink: Any, way: str) -> None:
    """The most tokens asked of the LLM, bound or set on it, less what came."""
    limited = type("Limited", (samples.kinds["both"],), {"__annotations__": {"max_tokens": int}, "max_tokens": 500})
    llm = script(size=1, kind=limited) if way == "inner" else script(size=1).bind(max_tokens=500)
    model: Any = GuardRunnable(guard) | llm
    last = list(model.stream("Q"))[-1]
    decision = sink.decisions[-1]
    assert decision.saved_tokens == 500 - decision.n_deltas
    assert last.response_metadata["guardrail"]["saved_tokens"] == decision.saved_tokens


def test_a_stop_of_a_written_answer_saves_nothing(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """An LLM that answers as a whole has made all its tokens when the guard reads them."""
    model: Any = GuardRunnable(guard) | script(kind=samples.kinds["whole"]).bind(max_tokens=500)
    model.invoke("Q")
    assert (sink.decisions[-1].stopped, sink.decisions[-1].saved_tokens) == (True, None)


async def test_fallbacks_and_retries_of_a_failing_llm(guard: Any, script: Any, samples: Any) -> None:
    """An LLM that fails is retried and replaced; each answer is gated once."""
    broken = script(error=ConnectionError("upstream"))
    model: Any = GuardedChatModel(broken, guard).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    model = model.with_fallbacks([GuardedChatModel(script(), guard)])
    for answer in [*await both(model), *model.batch(["Q", "Q"]), *await model.abatch(["Q", "Q"])]:
        assert answer.text == samples.answer.split("☠")[0]
    assert len(broken.asked) == 12
    assert "".join(chunk.text for chunk in model.stream("Q")) == samples.answer.split("☠")[0]


async def test_a_stop_is_an_answer_and_no_failure(guard: Any, script: Any, samples: Any) -> None:
    """Unless the policy raises, a stopped answer is neither retried nor answered by a fallback."""
    inner, spare = script(), script(samples.safe)
    chain: Any = GuardRunnable(guard) | inner.with_retry().with_fallbacks([spare])
    for answer in await both(chain):
        assert answer.response_metadata["finish_reason"] == "content_filter"
    assert (len(inner.asked), len(spare.asked)) == (2, 0)


def test_bound_tools_keep_the_settings(guard: Any, script: Any) -> None:
    """Agents bind tools late; what a refused call does stays as it was set."""
    bound: Any = GuardedChatModel(script(), guard, on_call="mark", trace_inner=True).bind_tools([])
    assert (bound.bound.bound.on_call, bound.bound.bound.trace_inner) == ("mark", True)
