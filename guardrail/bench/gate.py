"""What this package costs without its model: microseconds for each piece of text that an LLM sends.

Once the encoder and the gate alone, and once a whole stream over an engine that answers at once: bookkeeping,
softmax, verdicts, locks.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from guardrail.bench.sizes import Sizes
from guardrail.bench.timing import Spread, Watch
from guardrail.encoding import GuardTokenizer, IncrementalEncoder
from guardrail.engines.base import Engine, Feed, Logits, ModelInfo
from guardrail.gate import Gate
from guardrail.guard import Guard
from guardrail.policy_file import load_policy
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS
from guardrail.testing import FakeSession
from guardrail.verdict import TokenVerdict, Verdict

TEXT = """\
Good bread needs flour, water, salt and time. Mix 500 g of flour with 350 g of water, wait half an hour, then knead in \
10 g of salt and a little yeast. Cover the bowl; after three hours the dough has doubled.\n\nFold it twice, shape a \
loaf and let it rest: overnight in the fridge, if you can. Bake it at 240 °C in a lidded pot - 25 minutes with the \
lid, 20 without - until it sounds hollow when tapped. (Don't cut it while it's hot!)\n\n```python\nwater = 0.7 * flour\
\n```\n\n"""
"""An answer as LLMs write them."""

_ANSWER_DELTAS = 500


@dataclass(frozen=True, slots=True)
class GateCost:
    """Microseconds for each delta.

    Attributes:
        us_per_delta_p50: encoder and gate alone, median.
        us_per_delta_p99: their 99th percentile.
        stream_us_per_delta_p50: a whole stream but for the model, median.
        stream_us_per_delta_p99: its 99th percentile.
        n_deltas: pieces of text, each one token of the model's vocabulary.
    """

    us_per_delta_p50: float
    us_per_delta_p99: float
    stream_us_per_delta_p50: float
    stream_us_per_delta_p99: float
    n_deltas: int


def measure_gate(tokenizer: GuardTokenizer, sizes: Sizes, watch: Watch) -> GateCost:
    """Feed answers of some hundred deltas, each to a new gate and a new stream."""
    deltas = _deltas(tokenizer, min(_ANSWER_DELTAS, sizes.deltas))
    guard = Guard(_InstantEngine(), tokenizer)
    alone, whole = [], []
    for i in watch(range(1 + -(-sizes.deltas // len(deltas))), "gate and encoder"):
        gate_us, stream_us = _gate_us(tokenizer, deltas), _stream_us(guard, deltas)
        if i:  # the first answer warms up
            alone += gate_us
            whole += stream_us
    gate, stream = Spread.of(alone), Spread.of(whole)
    return GateCost(gate.median, gate.p99, stream.median, stream.p99, len(alone))


def _deltas(tokenizer: GuardTokenizer, n: int) -> list[str]:
    """Return the text cut where its tokens begin."""
    text = TEXT * (1 + 8 * n // len(TEXT))
    starts = sorted({start for start, _ in tokenizer.encode_plain(text).offsets})
    return [text[start:end] for start, end in pairwise(starts[: n + 1])]


def _gate_us(tokenizer: GuardTokenizer, deltas: Sequence[str]) -> list[float]:
    encoder, gate = IncrementalEncoder(tokenizer), Gate(load_policy("balanced"))
    verdict = Verdict(RESPONSE_LABELS, (0.9, 0.05, 0.05), (0.3, *[0.1] * 7))

    def feed(delta: str) -> None:
        gate.feed(delta)
        for token in encoder.feed(delta):
            gate.judge(TokenVerdict(verdict, 0, token.start, token.end, token.complete))

    return _each_us(feed, deltas)


def _stream_us(guard: Guard, deltas: Sequence[str]) -> list[float]:
    with guard.open_stream("How do I bake bread?") as stream:
        return _each_us(stream.feed, deltas)


def _each_us(feed: Callable[[str], object], deltas: Sequence[str]) -> list[float]:
    found = []
    for delta in deltas:
        started = time.perf_counter()
        feed(delta)
        found.append(1e6 * (time.perf_counter() - started))
    return found


class _InstantEngine(Engine):
    """An engine that finds everything safe, in no time."""

    def __init__(self) -> None:
        self._info = ModelInfo(
            "instant", "0" * 64, "instant", "fp32", 8192, prompt_labels=PROMPT_LABELS, response_labels=RESPONSE_LABELS
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def open(self) -> FakeSession:
        return FakeSession()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        for feed in feeds:
            if isinstance(feed.session, FakeSession):
                feed.session.ids += feed.ids
        return [_safe(len(feed.ids)) for feed in feeds]

    def close(self) -> None:
        pass


def _safe(n_tokens: int) -> Logits:
    """Return logits with which the first level, Safe, is the most probable."""
    labels = (PROMPT_LABELS.risks, PROMPT_LABELS.categories, RESPONSE_LABELS.risks, RESPONSE_LABELS.categories)
    return Logits(*(np.tile(5 * np.eye(1, len(names), dtype=np.float32), (n_tokens, 1)) for names in labels))
