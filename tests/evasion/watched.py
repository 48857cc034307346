"""What the evasion tests watch: the ids that an engine is fed, the characters that a tokenizer encodes, and all ways
to cut a text.
"""

from collections.abc import Iterator, Sequence

from tokenizers import Encoding

from guardrail import Guard
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, Logits
from guardrail.testing import EngineAround
from tests.test_laws import Played, play


class Watched(EngineAround):
    """An engine that remembers the ids it was fed, in their order."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.ids: list[int] = []

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.ids += [token for feed in feeds for token in feed.ids]
        return self.inner.step(feeds)


class CountingTokenizer(GuardTokenizer):
    """A tokenizer that counts the characters it encodes, and remembers the longest text."""

    n_chars = 0
    longest = 0

    def encode_plain(self, text: str) -> Encoding:
        self.n_chars += len(text)
        self.longest = max(self.longest, len(text))
        return super().encode_plain(text)


def every_cutting(text: str) -> Iterator[list[str]]:
    """All ways to cut a text: 2 ** (its length - 1)."""
    for mask in range(2 ** (len(text) - 1)):
        ends = [i for i in range(1, len(text)) if mask >> (i - 1) & 1]
        yield [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def every_single_cut(text: str) -> Iterator[list[str]]:
    """The text whole, and cut in two at every place."""
    yield [text]
    for i in range(1, len(text)):
        yield [text[:i], text[i:]]


def assert_like_whole(guard: Guard, pieces: list[str], whole: Played) -> None:
    """Played in pieces, a stream gives the released text, the stop and the verdicts of the whole, and leaks nothing."""
    cut = play(guard, pieces)
    assert cut.released == whole.released
    assert cut.stream.decision.stop_offset == whole.stream.decision.stop_offset
    assert cut.stream.decision.leaked_chars == 0
    n_common = min(len(cut.spans), len(whole.spans))
    assert cut.spans[:n_common] == whole.spans[:n_common]
