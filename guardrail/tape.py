"""What an engine has read of one conversation: a session with its token ids, kept so that nothing is read twice.

Reuse is by conversation id alone, so one conversation never touches what was read for another.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import TypeVar

from guardrail.engines.base import Engine, Feed, Logits, Session, check_logits, engine_edge
from guardrail.errors import EngineError

_log = logging.getLogger("guardrail")

T = TypeVar("T")
Steps = Generator[list[Feed], list[Logits], T]
"""A computation that yields batches for the engine and returns a T."""

KEPT_BYTES = 256 * 2**20
"""KV caches of idle conversations that a guard keeps, in bytes; the longest unused go first. Our choice."""


class Tape:
    """A session of an engine and the ids it holds. One caller at a time.

    Attributes:
        ids: all tokens held, oldest first.
    """

    def __init__(self, engine: Engine) -> None:
        """Open an empty session.

        Raises:
            EngineError: the engine cannot.
        """
        self._engine = engine
        with engine_edge():
            self._session: Session = engine.open()
        self.ids: list[int] = []

    @property
    def length(self) -> int:
        """Tokens held."""
        return len(self.ids)

    def feed(self, ids: Sequence[int]) -> Steps[Logits]:
        """Append ids; return their logits.

        Raises:
            EngineError: the model failed or gave no usable logits.
        """
        (logits,) = yield [Feed(self._session, ids)]
        with engine_edge():
            check_logits(logits, len(ids), self._engine.info)
        self.ids += ids
        return logits

    def rollback(self, length: int) -> None:
        """Forget every token after the first `length`.

        Raises:
            EngineError: the engine failed.
        """
        if length < self.length:
            with engine_edge():
                self._session.rollback(length)
            del self.ids[length:]

    def close(self) -> None:
        """Free the session; one that cannot be closed changes no verdict."""
        try:
            self._session.close()
        except Exception as error:  # noqa: BLE001  # the engine edge: nothing is read from this session any more
            _log.error("an engine's session could not be closed: %s", type(error).__name__)


class KeptTapes:
    """Tapes of conversations between their calls. Safe for many threads; a tape that is taken is nobody else's."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        self._bytes_per_token = engine.info.kv_bytes_per_token
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._tapes: OrderedDict[Tape, str] = OrderedDict()
        self._n_tokens = 0

    def take(self, conversation_id: str, ids: Sequence[int]) -> Tape | None:
        """Return the conversation's tape that begins most like `ids`; None if none does."""
        with self._lock:
            own = [tape for tape, owner in self._tapes.items() if owner == conversation_id]
            best = max(own, key=lambda tape: common_prefix(tape.ids, ids), default=None)
            if best is None or not common_prefix(best.ids, ids):
                return None
            self._forget(best)
            return best

    def keep(self, conversation_id: str, tape: Tape) -> None:
        """Keep a tape for the conversation's next call, as far as there is room; it replaces those that it contains."""
        with self._lock:
            own = [one for one, owner in self._tapes.items() if owner == conversation_id]
            dropped = [one for one in own if common_prefix(one.ids, tape.ids) == one.length]
            for one in dropped:
                self._forget(one)
            self._tapes[tape] = conversation_id
            self._n_tokens += tape.length
            while self._n_tokens * self._bytes_per_token > self._max_bytes or len(self._tapes) > _MOST_TAPES:
                oldest = next(iter(self._tapes))
                self._forget(oldest)
                dropped.append(oldest)
        for one in dropped:
            one.close()

    def clear(self) -> None:
        """Free every tape."""
        with self._lock:
            dropped = list(self._tapes)
            self._tapes.clear()
            self._n_tokens = 0
        for one in dropped:
            one.close()

    def _forget(self, tape: Tape) -> None:
        del self._tapes[tape]
        self._n_tokens -= tape.length


_MOST_TAPES = 256
"""Tapes kept at most, however small they are. Our choice."""


class Tapes:
    """Where one check or stream gets its tapes: fresh, or what its conversation has left.

    Attributes:
        engine: runs the model.
    """

    def __init__(self, engine: Engine, kept: KeptTapes | None = None, conversation_id: str | None = None) -> None:
        self.engine = engine
        self._kept = kept if conversation_id is not None else None
        self._conversation_id = conversation_id or ""

    def open(self, ids: Sequence[int]) -> Tape:
        """Return a tape that holds the beginning of `ids`, or nothing, and never all of them.

        Raises:
            EngineError: the engine failed.
        """
        tape = self._kept.take(self._conversation_id, ids) if self._kept else None
        if tape is None:
            return Tape(self.engine)
        try:
            tape.rollback(min(common_prefix(tape.ids, ids), len(ids) - 1))
        except EngineError:
            tape.close()
            return Tape(self.engine)
        return tape

    def put_back(self, tape: Tape) -> None:
        """Keep a tape for the next call, or free it. Only one whose last step ended well."""
        if self._kept:
            self._kept.keep(self._conversation_id, tape)
        else:
            tape.close()


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids both begin with."""
    n = min(len(left), len(right))
    if left[:n] == right[:n]:  # the common case of a long tail that only grew, at the speed of C
        return n
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), n)
