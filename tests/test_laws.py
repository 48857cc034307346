"""The five laws of the gate, over every engine, precision, debounce and release mode, through the public facade."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.guard import Guard
from guardrail.policy import Policy, ReleaseMode, TooLong
from guardrail.stream import Stream
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict
from tests.strategies import chunk_sizes, cuts, texts

HOLDING = (ReleaseMode.TOKEN, ReleaseMode.ANSWER)


@dataclass(frozen=True)
class Played:
    """What one stream gave."""

    released: str
    stream: Stream

    @property
    def spans(self) -> list[tuple[int, int, RiskLevel]]:
        """Place and level of every token that was judged."""
        return [(token.start, token.end, token.risk) for token in self.stream.verdicts]


def play(guard: Guard, pieces: list[str]) -> Played:
    """Feed pieces and finish; check the laws that bind every mode on the way."""
    stream = guard.open_stream("Tell me something.")
    fed, released = "", ""
    for piece in pieces:
        stopped = stream.is_stopped
        out = stream.feed(piece)
        assert not (stopped and out), "law 1: text after a stop"
        fed, released = fed + piece, released + out
        assert fed.startswith(released), "law 1: released text is no prefix"
    released += stream.finish()
    assert fed.startswith(released)
    decision = stream.decision
    assert decision.released_chars == len(released)
    assert decision.withheld_chars == len(fed) - len(released), "law 5: released and withheld make up the fed text"
    if not decision.stopped:
        assert released == fed, "law 5: nothing is withheld without a stop"
    return Played(released, stream)


def margin(tokens: tuple[TokenVerdict, ...]) -> float:
    """Smallest distance between the two best risk levels of any token."""
    ranked = (sorted(t.verdict.risk_vector) for t in tokens)
    return min((best - second for *_, second, best in ranked), default=1.0)


def guard_for(engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, **changes: object) -> Guard:
    """A guard over one engine with a changed balanced policy."""
    debounce = changes.pop("debounce", 2)
    policy = replace(Policy(), response=replace(Policy().response, debounce=debounce), **changes)  # type: ignore[arg-type]
    return Guard(engines[name], tokenizer, policy=policy)


NAMES = pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32", "onnx-int8"])


@NAMES
@pytest.mark.parametrize("debounce", [1, 2])
@given(text=texts(), sizes=chunk_sizes, release=st.sampled_from(ReleaseMode))
@example(text="d\u0301\u0323 \U0001fae8\U0001fae8 x", sizes=[1], release=ReleaseMode.TOKEN)
def test_released_text_is_a_prefix_that_ends_before_the_risky_run(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, debounce: int, text: str, sizes: list[int],
    release: ReleaseMode,
) -> None:  # fmt: skip
    """Laws 1, 2 and 5, exactly, for every engine and precision; optimistic mode counts what it leaked."""
    played = play(guard_for(engines, tokenizer, name, debounce=debounce, release=release), cuts(text, sizes))
    decision = played.stream.decision
    if release is ReleaseMode.OPTIMISTIC:
        leaked = len(played.released) - decision.stop_offset if decision.stop_offset is not None else 0
        assert decision.leaked_chars == leaked
        return
    assert decision.leaked_chars == 0
    if decision.stopped:
        assert decision.stop_offset is not None
        assert len(played.released) <= decision.stop_offset
        run = played.stream.verdicts[-debounce:]
        assert len(run) == debounce
        assert all(t.risk is not RiskLevel.SAFE for t in run), "law 2: the run that triggers is risky throughout"
        assert run[0].start == decision.stop_offset
        if release is ReleaseMode.TOKEN:
            assert len(played.released) == decision.stop_offset


@NAMES
@pytest.mark.parametrize("debounce", [1, 2])
@given(text=texts(), sizes=chunk_sizes, release=st.sampled_from(HOLDING))
def test_cutting_and_whole_feeding_change_nothing(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, debounce: int, text: str, sizes: list[int],
    release: ReleaseMode,
) -> None:  # fmt: skip
    """Laws 3 and 4: verdicts, stop offset and released text are those of the answer fed whole."""
    guard = guard_for(engines, tokenizer, name, debounce=debounce, release=release)
    whole = play(guard, [text])
    assume(margin(guard.judge_response("Tell me something.", text)) > (0.1 if name.endswith("int8") else 1e-4))
    cut = play(guard, cuts(text, sizes))
    assert cut.released == whole.released
    assert cut.stream.decision.stop_offset == whole.stream.decision.stop_offset
    assert cut.stream.decision.action is whole.stream.decision.action
    n_common = min(len(cut.spans), len(whole.spans))
    assert cut.spans[:n_common] == whole.spans[:n_common]
    if not whole.stream.is_stopped:
        assert cut.spans == whole.spans


@given(text=texts(max_pieces=40), sizes=chunk_sizes)
def test_laws_hold_when_the_answer_slides_over_a_small_context(
    tokenizer: GuardTokenizer, text: str, sizes: list[int]
) -> None:
    """An answer longer than the context is read on in windows, cut as it may be."""
    from guardrail.testing import HashEngine

    engine = HashEngine(vocab_size=tokenizer.vocab_size, max_context=64, risky_share=0.05)
    guard = Guard(engine, tokenizer, policy=replace(Policy(), too_long=TooLong.SLIDE))
    whole, cut = play(guard, [text]), play(guard, cuts(text, sizes))
    assert cut.released == whole.released
    assert cut.stream.decision.n_windows == whole.stream.decision.n_windows


@given(text=texts(), sizes=chunk_sizes, split=st.integers(0, 30))
def test_reasoning_and_answer_are_one_text_for_the_laws(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, text: str, sizes: list[int], split: int
) -> None:
    """Reasoning passes the gate before the answer; offsets count over both, and cutting changes nothing."""
    guard = guard_for(engines, tokenizer, "fake")
    results = []
    for pieces in ([text[:split]], cuts(text[:split], sizes)):
        stream = guard.open_stream("Think.")
        released = "".join(stream.feed(piece, thinking=True) for piece in pieces)
        released += "".join(stream.feed(piece) for piece in cuts(text[split:], sizes)) + stream.finish()
        assert text.startswith(released)
        assert stream.decision.stopped or released == text
        results.append((released, stream.decision.stop_offset))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["torch", "onnx-fp32"])
@given(text=texts())
def test_async_streams_decide_as_sync_ones(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, text: str
) -> None:
    """The twins share every decision."""
    import asyncio

    guard = guard_for(engines, tokenizer, name)

    async def play_async() -> tuple[str, int | None]:
        stream = await guard.aopen_stream("Tell me something.")
        released = "".join([await stream.afeed(piece) for piece in cuts(text, [5])]) + await stream.afinish()
        return released, stream.decision.stop_offset

    sync = play(guard, cuts(text, [5]))
    assert asyncio.run(play_async()) == (sync.released, sync.stream.decision.stop_offset)
