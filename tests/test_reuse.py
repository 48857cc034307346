"""Nothing is read twice for a tenant, nothing is shared between two, and reuse changes no verdict."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import Guard, Message, Role, ToolCall
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.errors import EngineError
from guardrail.testing import FailingEngine, MarkerEngine, default_tokenizer, raising
from guardrail.verdict import Verdict
from tests.counting import CountingEngine
from tests.strategies import chunk_sizes, cuts, texts

SYSTEM = Message(Role.SYSTEM, "You are a weather bot. " * 20)
ASKED = Message(Role.USER, "How will it be?")


@pytest.fixture
def counting(tokenizer: GuardTokenizer) -> CountingEngine:
    """An engine that counts."""
    return CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))


def agent_step(guard: Guard, history: list[Message], number: int, conversation_id: str | None = "c") -> None:
    """One step of an agent: tool result in, answer with a call out; every part of it judged."""
    owner: Any = {"conversation_id": conversation_id}
    result = Message(Role.TOOL, f"result number {number}: the weather is fine today, and will be tomorrow")
    guard.check_tool_result(history, result.content, tool="weather", **owner)
    history.append(result)
    text = f"Let me look once more, for the time of number {number}."
    guard.check_response(history, text, **owner)
    call = ToolCall("weather", f'{{"day": {number}}}')
    guard.check_tool_call([*history, Message(Role.ASSISTANT, text)], call, **owner)
    history.append(Message(Role.ASSISTANT, text, tool_calls=(call,)))


@pytest.mark.parametrize("conversation_id", ["c", None])
def test_a_step_of_an_agent_reads_its_new_text_however_long_the_history(
    counting: CountingEngine, tokenizer: GuardTokenizer, conversation_id: str | None
) -> None:
    """The tenth step reads as much as the third, with an id or without; with nothing kept, eight times as much."""
    guard, history = Guard(counting, tokenizer), [SYSTEM, ASKED]
    costs = [counting.count(lambda n=n: agent_step(guard, history, n, conversation_id)) for n in range(10)]  # type: ignore[misc]  # loop
    assert max(costs[2:]) <= 1.1 * min(costs[2:])
    forgetful = Guard(counting, tokenizer, kept_bytes=0)
    assert counting.count(lambda: agent_step(forgetful, history, 10)) > 8 * max(costs[2:])


def test_a_conversation_goes_on_in_its_own_session(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """With an id nothing is copied, and one session does for all."""
    guard, history = Guard(counting, tokenizer), [SYSTEM, ASKED]
    for number in range(5):
        agent_step(guard, history, number)
    assert len(counting.opened) == 1


def test_a_prompt_check_leaves_the_answer_little_to_read(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """What was read to judge the prompt is the beginning of what stands before the answer."""
    guard = Guard(counting, tokenizer)
    prompt = "Tell me about bread. " * 30
    first = counting.count(lambda: guard.check_prompt(prompt, conversation_id="c"))
    assert counting.count(lambda: guard.open_stream(prompt, conversation_id="c").close()) < 10 < first


def test_a_call_does_not_read_its_own_turn_again(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """The text before a call, and the calls before it, are what the answer's reading and their own have left."""
    guard = Guard(counting, tokenizer)
    text = "First I look it up, then I tell you what I found. " * 20
    guard.check_response("hi", text, conversation_id="c")
    calls: tuple[ToolCall, ...] = ()
    for number in range(4):
        turn = [Message(Role.USER, "hi"), Message(Role.ASSISTANT, text, tool_calls=calls)]
        call = ToolCall("look_up", f'{{"number": {number}}}')
        cost = counting.count(lambda t=turn, c=call: guard.check_tool_call(t, c, conversation_id="c"))  # type: ignore[misc]  # loop
        assert cost < 40
        calls = (*calls, call)


def test_a_call_behind_a_turn_that_is_too_long_is_read_all_the_same(tokenizer: GuardTokenizer) -> None:
    """The end of the turn stands before it; the marker in the call is found, and none is made up."""
    engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}, max_context=256)
    turn = [Message(Role.USER, "hi " * 300), Message(Role.ASSISTANT, "a word or two " * 300)]
    guard = Guard(engine, tokenizer)
    assert guard.check_tool_call(turn, ToolCall("t", '{"a": "☠ b c"}')).stopped
    assert not guard.check_tool_call(turn, ToolCall("t", '{"a": "' + "b c " * 300 + '"}')).action.rank


def test_conversations_share_their_system_prompt(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """It is read once; what follows it is read by each, and the other's words are in nobody's reading."""
    guard = Guard(counting, tokenizer)
    first, *others = [
        counting.count(lambda n=n: guard.check_prompt([SYSTEM, Message(Role.USER, f"number {n}")], conversation_id=n))  # type: ignore[misc]  # loop
        for n in ("a", "b", None, None)
    ]
    assert max(others) < 15 < first
    assert guard.check_prompt([SYSTEM, Message(Role.USER, "☠ it")], conversation_id="d").stopped
    assert not guard.check_prompt([SYSTEM, Message(Role.USER, "do it")], conversation_id="e").stopped


Check = Callable[[Guard, str | None], object]
HISTORY = [SYSTEM, ASKED]
CHECKS: dict[str, Check] = {
    "check_prompt": lambda guard, tenant: guard.check_prompt(HISTORY, tenant=tenant),
    "check_response": lambda guard, tenant: guard.check_response(HISTORY, "fine", tenant=tenant),
    "open_stream": lambda guard, tenant: guard.open_stream(HISTORY, tenant=tenant).finish(),
    "judge_prompt": lambda guard, tenant: guard.judge_prompt(HISTORY, tenant=tenant),
    "judge_response": lambda guard, tenant: guard.judge_response(HISTORY, "fine", tenant=tenant),
    "check_tool_call": lambda guard, tenant: guard.check_tool_call(HISTORY, ToolCall("t", "{}"), tenant=tenant),
    "open_tool_call": lambda guard, tenant: guard.open_tool_call(HISTORY, "t", tenant=tenant).finish(),
    "check_tool_result": lambda guard, tenant: guard.check_tool_result(HISTORY, "fine", tool="t", tenant=tenant),
    "screen_tool_result": lambda guard, tenant: guard.screen_tool_result(HISTORY, "fine", tool="t", tenant=tenant),
    "check_documents": lambda guard, tenant: guard.check_documents(["fine"], HISTORY, tenant=tenant),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_one_tenant_had_read_another_reads_itself(
    counting: CountingEngine, tokenizer: GuardTokenizer, name: str
) -> None:
    """In every kind of check, with the same words; a tenant reads its own words once."""
    guard = Guard(counting, tokenizer)
    costs = [counting.count(lambda t=t: CHECKS[name](guard, t)) for t in ("x", "y", None, "x", "y", None)]  # type: ignore[misc]  # loop
    assert costs[0] == costs[1] == costs[2] > 8 * max(costs[3:])


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_takes_a_tenant(name: str) -> None:
    """And its asynchronous twin too."""
    twin = {"check": "acheck", "open": "aopen", "judge": "ajudge", "screen": "ascreen"}
    kind, rest = name.split("_", 1)
    for method in (getattr(Guard, name), getattr(Guard, f"{twin[kind]}_{rest}")):
        assert inspect.signature(method).parameters["tenant"].default is None


async def test_asynchronous_checks_keep_tenants_apart(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """As the others do."""
    guard = Guard(counting, tokenizer)
    costs = []
    for tenant in ("x", "y", "x"):
        before = counting.n_read
        await guard.acheck_prompt(HISTORY, tenant=tenant)
        await guard.ajudge_response(HISTORY, "fine", tenant=tenant)
        await guard.acheck_response(HISTORY, "fine", tenant=tenant)
        await guard.acheck_tool_call(HISTORY, ToolCall("t", "{}"), tenant=tenant)
        await guard.ascreen_tool_result(HISTORY, "fine", tool="t", tenant=tenant)
        await guard.acheck_documents(["fine"], HISTORY, tenant=tenant)
        costs.append(counting.n_read - before)
    assert costs[0] == costs[1] > costs[2]


def test_a_marker_in_one_attempt_at_a_turn_is_gone_in_the_next(
    counting: CountingEngine, tokenizer: GuardTokenizer
) -> None:
    """What a turn's text left behind is rolled back before another text takes its place."""
    guard = Guard(counting, tokenizer)
    assert guard.check_prompt("do ☠ it", conversation_id="c").stopped
    assert not guard.check_prompt("do not", conversation_id="c").stopped
    assert guard.check_response("hi", "ab ☠ cd ef", conversation_id="c").stopped
    assert not guard.check_response("hi", "ab cd ef", conversation_id="c").stopped


def test_a_failed_step_leaves_nothing_to_reuse(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """After a failure the conversation is read from its beginning, in a fresh session."""
    guard = Guard(counting, tokenizer)
    guard.check_prompt("some words", conversation_id="c")
    working = counting.inner
    counting.inner = FailingEngine(working, at_step=0, breakage=raising(RuntimeError()))
    assert guard.check_prompt("some words and more", conversation_id="c").failure
    counting.inner = FailingEngine(working, at_step=1, breakage=raising(RuntimeError()))
    with pytest.raises(EngineError, match="RuntimeError"):
        guard.judge_response("some words", "and an answer")
    assert not counting.live
    counting.inner = working
    assert not guard.check_prompt("some words and more", conversation_id="c").failure
    assert len(counting.live) == 1


def test_tapes_are_few_and_the_longest_unused_go_first(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """Beyond the bound they are closed; the conversation that spoke last is still known."""
    guard = Guard(counting, tokenizer)

    def ask(number: int) -> int:
        return counting.count(lambda: guard.check_prompt(f"{number} is my number", conversation_id=str(number)))

    for number in range(300):
        ask(number)
    assert len(counting.live) <= 256
    assert ask(299) == 1
    assert ask(0) > 1
    guard.close()
    assert not counting.live


def test_bytes_bound_what_is_kept(engines: dict[str, Engine], tokenizer: GuardTokenizer) -> None:
    """An engine that counts its KV cache keeps no more than the bound allows."""
    engine = CountingEngine(engines["onnx-fp32"])
    per_token = engine.info.kv_bytes_per_token
    assert per_token == 2 * 2 * 2 * 16 * 4  # key and value, layers, heads, size, float32
    guard = Guard(engine, tokenizer, kept_bytes=100 * per_token)
    for name in "abc":
        guard.check_prompt(f"{name} counts: " + "one, two, three, " * 12, conversation_id=name)
        assert sum(session.length for session in engine.live) <= 100
    assert engine.live


def test_guards_of_other_policies_share_what_was_read(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """A policy decides about verdicts; what the model has read does not depend on it."""
    guard = Guard(counting, tokenizer)
    guard.check_prompt(HISTORY)
    assert counting.count(lambda: guard.with_policy("loose").check_prompt(HISTORY)) == 1


@dataclass
class Chat:
    """A conversation of one tenant, and how to go on with it."""

    tenant: str | None
    conversation_id: str | None
    history: list[Message] = field(default_factory=list)

    def judged(self, guard: Guard, move: str, text: str, sizes: list[int]) -> list[tuple[object, Verdict]]:
        """Judge a next turn; return places and verdicts."""
        owner: Any = {"tenant": self.tenant, "conversation_id": self.conversation_id}
        if move == "ask":
            verdict = guard.check_prompt([*self.history, Message(Role.USER, text)], **owner).verdict
            assert verdict
            return [("prompt", verdict)]
        if move == "call":
            call = ToolCall("look_up", '{"word": "bread"}')
            decision = guard.check_tool_call([*self.history, Message(Role.ASSISTANT, text)], call, **owner)
            return [((token.start, token.end), token.verdict) for token in decision.tokens]
        with guard.open_stream(self.history, **owner) as stream:
            for piece in cuts(text, sizes):
                stream.feed(piece)
            stream.finish()
        return [((token.start, token.end), token.verdict) for token in stream.verdicts]

    def go_on(self, move: str, text: str) -> None:
        """Add a turn; an answer takes the place of the last one at times, and a branch forgets two turns."""
        if move == "branch" and len(self.history) > 2:
            del self.history[-2:]
        elif move == "ask":
            self.history.append(Message(Role.USER, text))
        elif move == "answer":
            self.history.append(Message(Role.ASSISTANT, text))


moves = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["ask", "answer", "regenerate", "call", "branch"]),
    texts(4).filter(str.strip),
)


@settings(max_examples=25)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32", "onnx-int8", "scheduled-onnx-fp32"])
@given(moves=st.lists(moves, min_size=2, max_size=12), sizes=chunk_sizes, n_kept=st.sampled_from([150, 10**6]))
def test_reuse_changes_no_verdict(
    engines: dict[str, Engine], name: str, moves: list[tuple[int, str, str]], sizes: list[int], n_kept: int
) -> None:
    """Chats of two tenants with the same system prompt, regenerated and branching, interleaved as they come: each
    verdict is that of a guard that keeps nothing; int8 where the model is sure.
    """
    engine, tokenizer = CountingEngine(engines[name], kv_bytes_per_token=1), default_tokenizer()
    guard, alone = Guard(engine, tokenizer, kept_bytes=n_kept), Guard(engines[name], tokenizer, kept_bytes=0)
    slack = 0.1 if "int8" in name else 1e-3
    owners = (None, "a"), (None, "b"), ("x", "a"), ("x", None)
    chats = [Chat(tenant, talk, [SYSTEM, ASKED]) for tenant, talk in owners]
    for number, move, text in moves:
        chat = chats[number]
        found, expected = (chat.judged(one, move, text, sizes) for one in (guard, alone))
        assert [place for place, _ in found] == [place for place, _ in expected]
        for (_, left), (_, right) in zip(found, expected, strict=True):
            assert left.risk == right.risk or margin(right) < slack
            assert "int8" in name or max(map(distance, left.risk_vector, right.risk_vector)) < slack
        chat.go_on(move, text)
    guard._kept.close()  # type: ignore[union-attr]  # it keeps something
    assert not engine.live
    assert not engine.clashes


def margin(verdict: Verdict) -> float:
    """Distance between the two best risk levels."""
    *_, second, best = sorted(verdict.risk_vector)
    return best - second


def distance(left: float, right: float) -> float:
    return abs(left - right)
