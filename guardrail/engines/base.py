"""The engine protocol: sessions of token ids in, logits of the four heads out, in batches of sessions.

One method does the work (`step`), and it takes a batch, since continuous batching is the way to many streams; a
single stream passes a batch of one. Rendering and tokenising are done before the engine, spans are mapped after it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ContextOverflow, EngineError, InvalidLogits
from guardrail.taxonomy import LabelSet

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity and limits of a loaded model.

    Attributes:
        name: short name for people, such as the hub id or folder name.
        sha256: hash of the weights the engine runs, hexadecimal; part of every record.
        engine: engine name, such as "onnx" or "torch".
        precision: "fp32", "int8", ... of the weights.
        max_context: most tokens one session can hold.
        prompt_labels: meaning of the query heads' outputs.
        response_labels: meaning of the response heads' outputs.
        kv_bytes_per_token: memory that a session takes for each token it holds; 0 where that is nothing worth counting.
        kv_precision: "fp32", "bf16" or "int8" of the keys and values that are held.
    """

    name: str
    sha256: str
    engine: str
    precision: str
    max_context: int
    prompt_labels: LabelSet
    response_labels: LabelSet
    kv_bytes_per_token: int = 0
    kv_precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Logits:
    """Raw outputs of the four heads at every position of one feed, oldest first.

    Attributes:
        query_risk: float32 [position, risk], index as `prompt_labels.risks`.
        query_category: float32 [position, category], index as `prompt_labels.categories`.
        response_risk: float32 [position, risk], index as `response_labels.risks`.
        response_category: float32 [position, category], index as `response_labels.categories`.
    """

    query_risk: FloatArray
    query_category: FloatArray
    response_risk: FloatArray
    response_category: FloatArray


HEADS = ("query_risk", "query_category", "response_risk", "response_category")
"""Names of the four heads' logits."""


def joined(parts: Sequence[Logits]) -> Logits:
    """Return the logits of consecutive feeds as those of one."""
    return Logits(*(np.concatenate([getattr(part, head) for part in parts]) for head in HEADS))


class Session(Protocol):
    """One conversation's past inside an engine. Used by one caller at a time; different sessions are independent."""

    @property
    def length(self) -> int:
        """Tokens held in the KV cache."""
        ...

    def rollback(self, length: int) -> None:
        """Forget every token after the first `length`; later feeds give what a fresh session would give.

        Raises:
            ValueError: `length` is negative or more than is held.
        """
        ...

    def fork(self, length: int) -> "Session":
        """Return a new session that holds the first `length` tokens; both go on by themselves.

        Copying keys and values costs far less than reading the tokens again.

        Raises:
            EngineError: the session is closed, or the engine has no room for another one.
            ValueError: `length` is negative or more than is held.
        """
        ...

    def close(self) -> None:
        """Free the cache; closing twice is harmless. A step on a closed session is an EngineError."""
        ...


@dataclass(frozen=True, slots=True)
class Feed:
    """New token ids for one session: at least one."""

    session: Session
    ids: Sequence[int]


@runtime_checkable
class Engine(Protocol):
    """Runs a guard model. Safe for many threads, as long as each session has one caller at a time."""

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        ...

    def open(self) -> Session:
        """Start an empty session."""
        ...

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits, in the order of the feeds.

        A batch may be ragged, mates never change each other's logits, and cutting the same ids into other chunks
        gives the same verdicts. A step that raises leaves every session of the batch at its former length.

        Raises:
            ContextOverflow: a session would exceed `info.max_context`; nothing was fed.
            EngineError: the model failed, an id is outside the vocabulary, a session is closed.
        """
        ...

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        ...


@runtime_checkable
class Submitting(Protocol):
    """An engine that takes work without making the caller wait: what an event loop needs of it."""

    def submit(self, feeds: Sequence[Feed]) -> "Ticket":
        """As `Engine.step`, but return at once.

        Raises:
            EngineOverloaded: too much is waiting already; nothing was taken.
            EngineError: the feeds cannot be run.
        """
        ...


class Ticket(Protocol):
    """Work that was submitted."""

    @property
    def future(self) -> "Future[list[Logits]]":
        """Ends with the logits or with an EngineError."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds after which the caller should let it expire; None never."""
        ...

    def withdraw(self) -> None:
        """Take the work back: at once if it waits, else at the end of the model call under way. Then its sessions are
        at their former lengths, and the future ends with `concurrent.futures.CancelledError`.
        """
        ...

    def expire(self) -> None:
        """End the future with `EngineTimeout` now; its sessions come to rest at the end of the call under way."""
        ...


@contextmanager
def engine_edge() -> Iterator[None]:
    """Whatever an engine raises becomes an EngineError, so that a failure can never look like a verdict."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # the engine edge: foreign exceptions are translated here, once
        raise EngineError(f"the engine raised {type(error).__name__}") from error


def check_feeds(feeds: Sequence[Feed], max_context: int, vocab_size: int | None = None) -> None:
    """Refuse feeds that no engine can run; ids are looked at only where the size of the vocabulary is given.

    Raises:
        ContextOverflow: a session would exceed `max_context`.
        EngineError: an empty feed, a session twice in a batch, or an id outside [0, vocab_size).
    """
    if len({id(feed.session) for feed in feeds}) != len(feeds):
        raise EngineError("a session appears twice in one batch")
    for feed in feeds:
        if not len(feed.ids):
            raise EngineError("a feed holds no token ids")
        if vocab_size is not None and (min(feed.ids) < 0 or max(feed.ids) >= vocab_size):
            raise EngineError(f"a token id lies outside the vocabulary of {vocab_size}")
        if feed.session.length + len(feed.ids) > max_context:
            total = feed.session.length + len(feed.ids)
            raise ContextOverflow(f"{total} tokens exceed the model's context of {max_context}")


def check_logits(logits: Logits, n_tokens: int, info: ModelInfo) -> None:
    """Refuse logits that are not finite or not of the shape that the labels demand.

    Raises:
        InvalidLogits: naming the output and what is wrong with it.
    """
    expected = {
        "query_risk": len(info.prompt_labels.risks),
        "query_category": len(info.prompt_labels.categories),
        "response_risk": len(info.response_labels.risks),
        "response_category": len(info.response_labels.categories),
    }
    for name, width in expected.items():
        array = getattr(logits, name)
        if array.shape != (n_tokens, width):
            raise InvalidLogits(f"{name} has shape {array.shape}, expected {(n_tokens, width)}")
        if not np.isfinite(array).all():
            raise InvalidLogits(f"{name} holds NaN or infinity")
