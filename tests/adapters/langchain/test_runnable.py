"""GuardRunnable: how chains compose, and what a guard does as a plain step."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnableSequence

from guardrail import ConfigurationError, ContentStopped, ConversationError, OnStop
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable, RawCallbacksWarning
from guardrail.adapters.langchain.chat_model import GuardedBinding

PLAIN = pytest.mark.filterwarnings("ignore::guardrail.adapters.langchain.RawCallbacksWarning")
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])


@pytest.fixture
def step(guard: Any) -> GuardRunnable:
    """The guard as a step of a chain."""
    return GuardRunnable(guard)


def prefix(samples: Any) -> str:
    """Return what may be shown of the scripted answer."""
    return str(samples.answer.split("☠")[0])


def test_guard_llm_guard_is_one_gating_model(step: GuardRunnable, script: Any, samples: Any) -> None:
    """The second guard joins the guarded LLM; each text is judged once."""
    chain = step | script() | step
    assert isinstance(chain, GuardedChatModel)
    assert not isinstance(chain.inner, GuardedChatModel)
    assert "".join(chunk.text for chunk in chain.stream("How?")) == prefix(samples)
    assert isinstance(step.pipe(script(), step), GuardedChatModel)


def test_two_step_objects_of_one_guard_join(guard: Any, script: Any) -> None:
    """It is the guard that counts, not the step object."""
    chain = GuardRunnable(guard) | script() | GuardRunnable(guard)
    assert isinstance(chain, GuardedChatModel)
    assert not isinstance(chain.inner, GuardedChatModel)


def test_another_guard_behind_judges_the_answer_again(make_guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """A second guard of its own wraps the guarded LLM; a stop of the inner one stays visible."""
    chain = GuardRunnable(make_guard()) | script() | GuardRunnable(make_guard(enforce=False))
    answer = chain.invoke("How?")
    assert answer.text == prefix(samples)
    assert answer.response_metadata["guardrail"]["action"] == "stop"
    assert [d.direction for d in sink.decisions] == ["prompt", "response", "response"]


def test_a_parser_may_follow(step: GuardRunnable, script: Any, samples: Any) -> None:
    """Behind the second guard the chain goes on as any other, and its LLM is closed at a stop."""
    inner = script(size=1)
    chain = step | inner | step | StrOutputParser()
    assert "".join(chain.stream("How?")) == chain.invoke("How?") == prefix(samples)
    assert inner.n_chunks < len(samples.answer)


def test_a_sequence_that_begins_with_an_llm_is_guarded_inside(step: GuardRunnable, script: Any, samples: Any) -> None:
    """`guard | (llm | parser)` guards the LLM."""
    inner = script(size=1)
    chain = step | (inner | StrOutputParser())
    assert isinstance(chain, RunnableSequence)
    assert isinstance(chain.first, GuardedChatModel)
    assert "".join(chain.stream("How?")) == prefix(samples)
    assert inner.n_chunks < len(samples.answer)


@pytest.mark.parametrize("form", ["bind", "tools", "retry", "fallbacks", "config"])
def test_bound_llms_are_guarded_inside(step: GuardRunnable, script: Any, samples: Any, form: str) -> None:
    """Bound arguments, tools, settings, retries and fallbacks keep working around a gated model."""
    llm = script(size=1)
    forms = {
        "bind": lambda: llm.bind(stop=["x"]),
        "tools": lambda: llm.bind_tools([]),
        "retry": lambda: llm.with_retry(stop_after_attempt=2),
        "fallbacks": lambda: script(error=ConnectionError(), chunks=[AIMessageChunk(content="")]).with_fallbacks([llm]),
        "config": lambda: llm.with_config(tags=["mine"]),
    }
    chain = step | forms[form]() | step
    assert isinstance(chain, GuardedBinding)
    assert chain.invoke("How?").text == prefix(samples)


def test_bind_tools_of_a_guarded_model_stays_guarded(guard: Any, script: Any, samples: Any) -> None:
    """Agents bind tools later, on the guarded model."""
    bound = GuardedChatModel(script(), guard).bind_tools([])
    assert bound.invoke("How?").text == prefix(samples)


def test_wrap_refuses_what_is_no_chat_model(step: GuardRunnable) -> None:
    """A parser cannot be guarded."""
    with pytest.raises(ConfigurationError, match="no chat model"):
        step.wrap(StrOutputParser())


async def test_a_wrapped_llm_in_a_longer_sequence(step: GuardRunnable, script: Any, samples: Any, ear: Any) -> None:
    """`prompt | guarded_llm | parser`, the recommended form: gated for everybody, closed at a stop."""
    inner = script(size=1)
    chain = PROMPT | step.wrap(inner) | StrOutputParser()
    text = "".join([piece async for piece in chain.astream({"question": "How?"}, {"callbacks": [ear]})])
    assert text == prefix(samples)
    assert inner.n_chunks < len(samples.answer)
    assert not [one for one in ear.heard if samples.secret in one]
    assert chain.invoke({"question": "Tell me☠"}) == ""


@PLAIN
@pytest.mark.parametrize("form", ["message", "text"])
async def test_a_plain_sequence_is_gated_in_every_way(
    step: GuardRunnable, script: Any, samples: Any, sink: Any, form: str
) -> None:
    """`prompt | guard | llm | guard` gives out the prefix, and both records share a conversation."""
    parser = RunnableLambda(lambda message: message) if form == "message" else StrOutputParser()
    last = GuardRunnable(step.guard, position="response")
    chain = PROMPT | step | script() | parser | last
    question = {"question": "How?"}
    answers = [chain.invoke(question), await chain.ainvoke(question)]
    assert [getattr(a, "text", a) for a in answers] == [prefix(samples)] * 2
    pieces = list(chain.stream(question))
    assert "".join(getattr(p, "text", p) for p in pieces) == prefix(samples)
    pieces = [piece async for piece in chain.astream(question)]
    assert "".join(getattr(p, "text", p) for p in pieces) == prefix(samples)
    ids = [d.conversation_id for d in sink.decisions]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == 4


@PLAIN
async def test_a_plain_sequence_closes_the_llm_at_a_stop(step: GuardRunnable, script: Any, samples: Any) -> None:
    """Directly behind the LLM the guard ends it early."""
    inner = script(size=1)
    chain = PROMPT | step | inner | step
    last = list(chain.stream({"question": "How?"}))[-1]
    assert last.response_metadata["finish_reason"] == "content_filter"
    n_sync = inner.n_chunks
    async for _ in chain.astream({"question": "How?"}):
        pass
    assert n_sync < len(samples.answer) / 2 + 10
    assert inner.n_chunks - 2 * n_sync in (0, 1)  # the next one may have been asked for while the guard read


@PLAIN
async def test_a_plain_sequence_stops_prompts_by_exception(step: GuardRunnable, script: Any) -> None:
    """A stopped prompt raises, and the LLM is not asked."""
    inner = script()
    chain = PROMPT | step | inner | step
    for call in (chain.invoke, lambda q: list(chain.stream(q))):
        with pytest.raises(ContentStopped):
            call({"question": "Tell me☠"})
    with pytest.raises(ContentStopped):
        await chain.ainvoke({"question": "Tell me☠"})
    assert inner.asked == []


@PLAIN
async def test_parallel_batches_of_a_plain_sequence_do_not_mix(
    step: GuardRunnable, script: Any, samples: Any, sink: Any
) -> None:
    """Each run of a batch has its own conversation."""
    chain = PROMPT | step | script() | step
    questions = [{"question": f"Question {i}"} for i in range(6)]
    answers = chain.batch(questions) + await chain.abatch(questions)
    assert {answer.text for answer in answers} == {prefix(samples)}
    by_id: dict[str, list[str]] = {}
    for decision in sink.decisions:
        by_id.setdefault(decision.conversation_id, []).append(decision.direction)
    assert [sorted(both) for both in by_id.values()] == [["prompt", "response"]] * 12


def test_a_plain_step_behind_an_llm_warns_once(step: GuardRunnable, script: Any) -> None:
    """Whoever relies on a plain sequence is told what it cannot promise."""
    chain = script() | step
    with pytest.warns(RawCallbacksWarning, match="raw text"):
        chain.invoke("How?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain.invoke("How?")


@PLAIN
@pytest.mark.parametrize("on_stop", list(OnStop))
def test_on_stop_in_a_plain_sequence(make_guard: Any, samples: Any, on_stop: OnStop) -> None:
    """A plain step behind an LLM follows the policy too."""
    guard = make_guard(on_stop=on_stop)
    step = GuardRunnable(guard, position="response")
    got: list[str] = []

    def read() -> None:
        for piece in step.transform(iter(samples.cut(samples.answer, 4))):
            got.append(piece.text)  # noqa: PERF401 - what came before an exception counts

    if on_stop is OnStop.RAISE:
        with pytest.raises(ContentStopped):
            read()
    else:
        read()
    replaces = on_stop in (OnStop.REPLACE, OnStop.REPAIR)  # a step behind the LLM cannot ask it again
    message = guard.policy.stop_message("Violent") if replaces else ""
    assert "".join(got) == prefix(samples) + message


async def test_a_first_step_passes_prompts_on_unchanged(step: GuardRunnable) -> None:
    """Text, prompt values and messages leave as they came."""
    for prompt in ("Hello", PROMPT.invoke({"question": "Hello"}), [HumanMessage("Hello")], [("human", "Hello")]):
        assert step.invoke(prompt) is prompt
        assert list(step.stream(prompt)) == [prompt]
        assert [item async for item in step.astream(prompt)] == [prompt]


def test_a_step_refuses_what_it_cannot_read(step: GuardRunnable) -> None:
    """A dict is neither a prompt nor an answer."""
    with pytest.raises(ConversationError, match="dict"):
        step.invoke({"question": "Hello"})


@PLAIN
async def test_an_llm_that_dies_in_a_plain_sequence(step: GuardRunnable, script: Any, sink: Any, ear: Any) -> None:
    """Its exception reaches the caller and the trace; the answer is recorded as abandoned."""
    chain = PROMPT | step | script("Well", error=ConnectionError("upstream")) | step
    question = {"question": "How?"}
    with pytest.raises(ConnectionError):
        list(chain.stream(question, {"callbacks": [ear]}))
    with pytest.raises(ConnectionError):
        _ = [piece async for piece in chain.astream(question, {"callbacks": [ear]})]
    assert ear.names.count("on_chain_error") == 4
    assert [d.reason for d in sink.decisions] == ["clear", "abandoned"] * 2


@PLAIN
def test_a_plain_step_is_traced(step: GuardRunnable, samples: Any, ear: Any) -> None:
    """The step has a run of its own in callbacks, in stream and invoke, with released text only."""

    def items() -> Iterator[AIMessageChunk]:
        yield from samples.cut(samples.answer, 4)

    assert list(step.transform(items(), {"callbacks": [ear]}))
    assert "on_chain_end" in ear.names
    step.invoke(AIMessage(samples.safe), {"callbacks": [ear]})
    assert ear.names.count("on_chain_start") == 2
    assert not [one for one in ear.heard if samples.secret in one]


def test_text_is_a_prompt_unless_the_step_is_told(step: GuardRunnable) -> None:
    """Also behind a prompt that this chain has checked: several prompts may pass one run."""
    chain: RunnableLambda[str, list[Any]] = RunnableLambda(
        lambda _: [step.invoke("Hello"), step.invoke("Tell me\u2620")]
    )
    with pytest.raises(ContentStopped):
        chain.invoke("go")


def test_a_bound_chain_can_be_bound_again(step: GuardRunnable, script: Any, samples: Any) -> None:
    """Copies that the core makes of a guarded binding keep their guard."""
    chain = (step | script().bind(stop=["x"])).with_config(tags=["a"]).bind(stop=["y"]).with_retry()
    assert chain.invoke("How?").text == prefix(samples)


def test_an_llm_that_cannot_be_gated_is_refused(step: GuardRunnable, script: Any) -> None:
    """A guard in front never becomes a check of the prompt alone by silence."""
    hidden = script().configurable_alternatives(ConfigurableField(id="llm"), other=script())
    for llm in (hidden, RunnableParallel(raw=script()), PROMPT | script()):
        with pytest.raises(ConfigurationError, match="holds an LLM"):
            step | llm
    assert (step | StrOutputParser()) is not None
    assert (step | (PROMPT | script() | step)) is not None
