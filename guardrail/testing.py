# long: one public module, which users import from as it is
"""Engines and sinks for tests of code that uses a guard: scripted, pseudo-random and failing. Public.

tokenizer = GuardTokenizer.from_file(...)          # or default_tokenizer()
engine = MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")})
guard = Guard(engine, tokenizer)
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Protocol
from unicodedata import normalize

import numpy as np

from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, FloatArray, Logits, ModelInfo, Session, check_feeds
from guardrail.errors import ConfigurationError, EngineError
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel, category_name

__all__ = [
    "Breakage", "EngineAround", "FailingEngine", "FakeEngine", "FakeSession", "HashEngine", "Judge", "Judged",
    "MarkerEngine", "default_tokenizer", "default_tokenizer_file", "hanging", "not_a_number", "raising", "wrong_shape",
]  # fmt: skip

Judged = tuple[RiskLevel, str, float]
"""The risk level, the category, and the level's probability in (0.5, 1)."""

Judge = Callable[[Sequence[int], Judged | None], Judged]
"""From all ids up to a position, and what was judged at the one before it (None at the first)."""


def default_tokenizer() -> GuardTokenizer:
    """Return the embedded model's tokenizer."""
    return GuardTokenizer.from_file(default_tokenizer_file())


def default_tokenizer_file() -> Path:
    """Return the embedded model's tokenizer.json, for checkpoints that tests write."""
    return Path(str(files("guardrail.assets").joinpath("default", "tokenizer.json")))


class FakeSession:
    """A session that only remembers its ids and what was judged at each."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.judged: list[Judged] = []
        self.is_closed: bool = False

    @property
    def length(self) -> int:
        """Tokens held."""
        return len(self.ids)

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens."""
        if not 0 <= length <= len(self.ids):
            raise ValueError(f"cannot roll back to {length} of {len(self.ids)} tokens")
        del self.ids[length:]
        del self.judged[length:]

    def fork(self, length: int) -> "FakeSession":
        """Return a copy of the first `length` tokens."""
        if self.is_closed:
            raise EngineError("the session is closed")
        copy = FakeSession()
        copy.ids, copy.judged = [*self.ids], [*self.judged]
        copy.rollback(length)
        return copy

    def close(self) -> None:
        """Mark the session closed."""
        self.is_closed = True


class FakeEngine:
    """An engine whose verdict at a position is a function of the ids up to it: causal, so chunking changes nothing.

    Safe for many threads, as every engine.
    """

    def __init__(self, judge: Judge, *, vocab_size: int, max_context: int = 8192) -> None:
        """Build an engine.

        Args:
            judge: decides each position.
            vocab_size: ids lie in [0, vocab_size).
            max_context: most tokens a session holds.
        """
        self._judge = judge
        self._vocab_size = vocab_size
        sha256 = hashlib.sha256(type(self).__name__.encode()).hexdigest()
        self._info = ModelInfo(
            "fake", sha256, "fake", "fp32", max_context, prompt_labels=PROMPT_LABELS, response_labels=RESPONSE_LABELS
        )

    @property
    def info(self) -> ModelInfo:
        """Identity and limits; the labels are the published ones."""
        return self._info

    def open(self) -> FakeSession:
        """Start an empty session."""
        return FakeSession()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append and judge."""
        sessions = [_fake(feed.session) for feed in feeds]
        if any(session.is_closed for session in sessions):
            raise EngineError("the session is closed")
        check_feeds(feeds, self._info.max_context, self._vocab_size)
        with _all_or_nothing(feeds):
            return [self._feed(session, feed.ids) for session, feed in zip(sessions, feeds, strict=True)]

    def close(self) -> None:
        """Nothing to free."""

    def _feed(self, session: FakeSession, ids: Sequence[int]) -> Logits:
        n_before = session.length
        for token_id in ids:
            session.ids.append(token_id)
            session.judged.append(self._judge(session.ids, session.judged[-1] if session.judged else None))
        rows = session.judged[n_before:]
        return Logits(*_risk_category(PROMPT_LABELS, rows), *_risk_category(RESPONSE_LABELS, rows))


@contextmanager
def _all_or_nothing(feeds: Sequence[Feed]) -> Iterator[None]:
    """Set the sessions of a step that raises back to their former lengths, as every engine must."""
    lengths = [feed.session.length for feed in feeds]
    try:
        yield
    except BaseException:
        for feed, length in zip(feeds, lengths, strict=True):
            feed.session.rollback(length)
        raise


def _fake(session: Session) -> FakeSession:
    if not isinstance(session, FakeSession):
        raise EngineError("the session belongs to another engine")
    return session


def _risk_category(labels: LabelSet, rows: list[Judged]) -> tuple[FloatArray, FloatArray]:
    """Return float32 [position, risk] and [position, category] whose softmax gives the wished probabilities."""
    risk = np.zeros((len(rows), len(labels.risks)), np.float32)
    category = np.zeros((len(rows), len(labels.categories)), np.float32)
    for i, (level, name, probability) in enumerate(rows):
        others = len(labels.risks) - 1
        risk[i, labels.risks.index(level)] = np.log(probability / (1 - probability) * others)
        if name in labels.categories:
            category[i, labels.categories.index(name)] = 4.0
    return risk, category


class HashEngine(FakeEngine):
    """Pseudo-random verdicts, each a hash of all ids before it: for properties that must hold for any verdicts."""

    def __init__(self, *, vocab_size: int, risky_share: float = 0.1, seed: int = 0, max_context: int = 8192) -> None:
        """Build an engine.

        Args:
            vocab_size: ids lie in [0, vocab_size).
            risky_share: share of positions that are not Safe, in [0, 1]; about half of them follow another one.
            seed: another seed, another function.
            max_context: most tokens a session holds.
        """
        categories = RESPONSE_LABELS.categories

        def judge(ids: Sequence[int], _before: Judged | None) -> Judged:
            digest = hashlib.blake2b(
                np.asarray([seed, *ids[-24:], len(ids)], np.int64).tobytes(), digest_size=8
            ).digest()
            draw = int.from_bytes(digest[:4], "little") / 2**32
            category = categories[digest[4] % len(categories)]
            if draw >= risky_share:
                return RiskLevel.SAFE, category, 0.9
            return (RiskLevel.UNSAFE if digest[5] % 2 else RiskLevel.CONTROVERSIAL), category, 0.8

        super().__init__(judge, vocab_size=vocab_size, max_context=max_context)


class MarkerEngine(FakeEngine):
    """Every token from the end of a marker on is risky, until the session ends: "stop at this character".

    Take single characters that occur nowhere else, such as "☠": then no character of the marker is released. With a
    debounce of 2, as in the policy `balanced`, a stop needs a token behind the marker: a marker that ends the text is
    one risky token, which that policy lets go.
    """

    def __init__(
        self, tokenizer: GuardTokenizer, markers: Mapping[str, tuple[str, str]], *, max_context: int = 8192
    ) -> None:
        """Build an engine.

        Args:
            tokenizer: of the texts that will be fed.
            markers: marker text -> (risk level, category), spelled as the taxonomy does.
            max_context: most tokens a session holds.

        Raises:
            ConfigurationError: no marker, an empty one, or an unknown risk level or category.
        """
        if not markers or "" in markers:
            raise ConfigurationError("markers must be texts of at least one character, and at least one text")
        # in NFC, as the tokenizer reads them
        verdicts = {normalize("NFC", marker): _marked(*named) for marker, named in markers.items()}
        n_tokens = max(len(marker.encode()) for marker in verdicts)

        def judge(ids: Sequence[int], before: Judged | None) -> Judged:
            if before and before[0] is not RiskLevel.SAFE:
                return before
            tail = tokenizer.decode(ids[-n_tokens:])
            found = (verdict for marker, verdict in verdicts.items() if marker in tail)
            return next(found, (RiskLevel.SAFE, RESPONSE_LABELS.categories[0], 0.95))

        super().__init__(judge, vocab_size=tokenizer.vocab_size, max_context=max_context)


def _marked(level: str, category: str) -> Judged:
    known = {*PROMPT_LABELS.categories, *RESPONSE_LABELS.categories}
    if level not in {risk.value for risk in RiskLevel} or category_name(category) not in known:
        raise ConfigurationError(
            f"{level!r}, {category!r} is no risk level and category; "
            f"valid: {', '.join(RiskLevel)}; {', '.join(sorted(known))}"
        )
    return RiskLevel(level), category_name(category), 0.95


class EngineAround:
    """An engine around another one, which does the work: for engines that change or watch some of it.

    Attributes:
        inner: does the work.
    """

    def __init__(self, inner: Engine) -> None:
        """Take an engine."""
        self.inner = inner

    @property
    def info(self) -> ModelInfo:
        """The inner engine's."""
        return self.inner.info

    def open(self) -> Session:
        """Start an empty session."""
        return self.inner.open()

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step."""
        return self.inner.step(feeds)

    def close(self) -> None:
        """Close the inner engine."""
        self.inner.close()


class FailingEngine(EngineAround):
    """Breaks the n-th step of another engine."""

    def __init__(self, inner: Engine, *, at_step: int, breakage: "Breakage") -> None:
        """Wrap an engine.

        Args:
            inner: answers the steps that do not fail.
            at_step: number of the first step to break, from 0; later ones break too.
            breakage: what to do there: raise, or return spoiled logits.
        """
        super().__init__(inner)
        self._at_step, self._breakage = at_step, breakage
        self.n_steps: int = 0

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step, and break when it is time; a step that raises leaves its sessions as they were."""
        self.n_steps += 1
        with _all_or_nothing(feeds):
            logits = self.inner.step(feeds)
            return self._breakage(logits) if self.n_steps > self._at_step else logits


class Breakage(Protocol):
    """Takes good logits and raises, or returns bad ones."""

    def __call__(self, logits: list[Logits], /) -> list[Logits]: ...


def raising(error: BaseException) -> Breakage:
    """Return a breakage that raises `error`."""

    def breakage(_logits: list[Logits], /) -> list[Logits]:
        raise error

    return breakage


def hanging(until: threading.Event) -> Breakage:
    """Return a breakage that does not come back before `until` is set."""

    def breakage(logits: list[Logits], /) -> list[Logits]:
        until.wait()
        return logits

    return breakage


def not_a_number(logits: list[Logits]) -> list[Logits]:
    """Spoil the risk heads with NaN."""
    return [
        replace(one, response_risk=one.response_risk * np.nan, query_risk=one.query_risk * np.nan) for one in logits
    ]


def wrong_shape(logits: list[Logits]) -> list[Logits]:
    """Drop one label from the risk heads."""
    return [replace(one, response_risk=one.response_risk[:, 1:], query_risk=one.query_risk[:, 1:]) for one in logits]
