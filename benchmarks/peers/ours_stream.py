"""Our gate, as anyone would call it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from rule import WORD

from guardrail import Guard
from guardrail.engines.base import Feed, Logits
from guardrail.errors import EngineError
from guardrail.testing import EngineAround, MarkerEngine, default_tokenizer


class Counting(EngineAround):
    """Counts what the engine is given, and fails when told to."""

    def __init__(self, inner: MarkerEngine) -> None:
        """Take an engine."""
        super().__init__(inner)
        self.n_calls = 0
        self.n_tokens = 0
        self.fails = False

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step, or fail."""
        if self.fails:
            raise EngineError("the judge is gone")
        self.n_calls += 1
        self.n_tokens += sum(len(feed.ids) for feed in feeds)
        return super().step(feeds)


async def word_by_word(llm: Any, rule: Any) -> AsyncIterator[str]:
    """Feed each word as it comes; the guard's own tokens are counted from the first word on."""
    tokenizer = default_tokenizer()
    found = ("Unsafe", "Violent")
    engine = Counting(MarkerEngine(tokenizer, {WORD: found, WORD.capitalize(): found}))
    guard = Guard(engine, tokenizer)
    with await guard.aopen_stream("How do I bake bread?") as stream:
        engine.fails = rule.fails
        n_before, n_calls = engine.n_tokens, engine.n_calls
        async for piece in llm.stream():
            yield await stream.afeed(piece)
            if stream.is_stopped:
                break
        yield await stream.afinish()
    rule.n_calls, rule.n_read = engine.n_calls - n_calls, engine.n_tokens - n_before
    rule.n_all = len(tokenizer.encode_plain("".join(llm.pieces)).ids)
