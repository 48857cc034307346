"""Nothing is read twice inside a conversation, nothing is shared between two, and reuse changes no verdict."""

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Guard, Message, Role, ToolCall
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.tape import KeptTapes, Tapes
from guardrail.testing import FailingEngine, HashEngine, MarkerEngine, default_tokenizer, raising
from tests.counting import CountingEngine
from tests.strategies import chunk_sizes, cuts, texts


@pytest.fixture
def counting(tokenizer: GuardTokenizer) -> CountingEngine:
    """An engine that counts."""
    return CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))


def agent_step(guard: Guard, history: list[Message], number: int) -> None:
    """One step of an agent: tool result in, answer with a call out; every part of it judged."""
    identity = {"conversation_id": "c"}
    result = Message(Role.TOOL, f"result number {number}: the weather is fine today, and will be tomorrow")
    guard.check_tool_result(history, result.content, tool="weather", **identity)
    history.append(result)
    text = f"Let me look once more, for the time of number {number}."
    guard.check_response(history, text, conversation_id="c")
    call = ToolCall("weather", f'{{"day": {number}}}')
    guard.check_tool_call([*history, Message(Role.ASSISTANT, text)], call, conversation_id="c")
    history.append(Message(Role.ASSISTANT, text, tool_calls=(call,)))


def test_a_step_of_an_agent_reads_its_new_text_however_long_the_history(
    counting: CountingEngine, tokenizer: GuardTokenizer
) -> None:
    """The tenth step reads as much as the third; without an id it reads the whole history again, several times."""
    guard = Guard(counting, tokenizer)
    history = [Message(Role.SYSTEM, "You are a weather bot. " * 20), Message(Role.USER, "How will it be?")]
    costs = [counting.count(lambda n=n: agent_step(guard, history, n)) for n in range(10)]  # type: ignore[misc]  # loop
    assert max(costs[2:]) <= 1.1 * min(costs[2:])
    forgetful = Guard(counting, tokenizer, kept_bytes=0)
    assert counting.count(lambda: agent_step(forgetful, history, 10)) > 5 * max(costs[2:])


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


def test_another_conversation_reads_everything_itself(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """The same words under another id, or under none, share nothing."""
    guard = Guard(counting, tokenizer)
    costs = [
        counting.count(lambda i=i: guard.check_prompt("the same words", conversation_id=i))  # type: ignore[misc]  # loop
        for i in ("a", "b", None, None)
    ]
    assert len(set(costs)) == 1
    assert counting.count(lambda: guard.check_prompt("the same words", conversation_id="a")) == 1


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
    counting.inner = working
    n_open = len(counting.opened)
    assert not guard.check_prompt("some words and more", conversation_id="c").failure
    assert len(counting.opened) == n_open + 1


def test_memory_is_bounded_and_the_longest_unused_go_first(counting: CountingEngine, tokenizer: GuardTokenizer) -> None:
    """Tapes beyond the bound are closed; the conversation that spoke last is still known."""
    guard = Guard(counting, tokenizer)
    for number in range(400):
        guard.check_prompt("some words", conversation_id=str(number))
    still_open = [s for s in counting.opened if not s.is_closed]  # type: ignore[attr-defined]  # fake sessions say so
    assert len(still_open) <= 256
    assert counting.count(lambda: guard.check_prompt("some words", conversation_id="399")) == 1
    assert counting.count(lambda: guard.check_prompt("some words", conversation_id="0")) > 1
    guard.close()
    assert all(s.is_closed for s in counting.opened)  # type: ignore[attr-defined]  # fake sessions say so


def test_bytes_bound_what_is_kept(engines: dict[str, Engine], tokenizer: GuardTokenizer) -> None:
    """An engine that counts its KV cache keeps no more than the bound allows."""
    engine = CountingEngine(engines["onnx-fp32"])
    per_token = engine.info.kv_bytes_per_token
    assert per_token == 2 * 2 * 2 * 16 * 4  # key and value, layers, heads, size, float32
    kept = KeptTapes(engine, 100 * per_token)
    for name in "abc":
        tape = Tapes(engine, kept, name).open([1] * 60)
        tape.ids += [1] * 60
        kept.keep(name, tape)
    assert [kept.take(name, [1]) is not None for name in "abc"] == [False, False, True]


def test_a_tape_is_never_given_to_two(tokenizer: GuardTokenizer) -> None:
    """Twenty threads in one conversation: each decision is what it is alone."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.3)
    guard, alone = Guard(engine, tokenizer), Guard(engine, tokenizer, kept_bytes=0)
    asked = [f"question {n} " * (n % 5 + 1) for n in range(40)]
    found: dict[str, object] = {}

    def ask(text: str) -> None:
        found[text] = guard.check_prompt(text, conversation_id="c").verdict

    def ask_all(texts: list[str]) -> None:
        for text in texts:
            ask(text)

    threads = [Thread(target=ask_all, args=(asked[n::20],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {text: alone.check_prompt(text).verdict for text in asked}


@given(turns=st.lists(texts(4).filter(str.strip), min_size=2, max_size=4), sizes=chunk_sizes)
def test_reuse_changes_no_verdict(engines: dict[str, Engine], turns: list[str], sizes: list[int]) -> None:
    """A conversation of prompts and streamed answers: every level is that of a guard that keeps nothing."""
    tokenizer, engine = default_tokenizer(), engines["torch"]
    guards = Guard(engine, tokenizer), Guard(engine, tokenizer, kept_bytes=0)
    found: list[list[object]] = [[], []]
    for guard, seen in zip(guards, found, strict=True):
        history: list[Message] = []
        for text in turns:
            history.append(Message(Role.USER, text))
            verdict = guard.check_prompt(history, conversation_id="c").verdict
            assert verdict is not None
            seen.append([round(p, 3) for p in verdict.risk_vector])
            with guard.open_stream(history, conversation_id="c") as stream:
                for piece in cuts(text, sizes):
                    stream.feed(piece)
                stream.finish()
            seen.append([(t.start, t.end, [round(p, 3) for p in t.verdict.risk_vector]) for t in stream.verdicts])
            history.append(Message(Role.ASSISTANT, text))
    assert repr_close(found[0], found[1])


def repr_close(left: object, right: object) -> bool:
    """Compare nested lists of numbers up to the last digit that was kept."""
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(repr_close, left, right))
    return bool(abs(left - right) <= 0.0011)  # type: ignore[operator]  # leaves are numbers
