"""What an engine has read: a session with its token ids."""

import concurrent.futures
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from guardrail.engines.base import Engine, Feed, Logits, Session, check_logits, engine_edge
from guardrail.errors import EngineError

_log = logging.getLogger("guardrail")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """Slow work that is no step of the model, such as copying a KV cache; an event loop leaves it to a thread.

    Attributes:
        run: does it.
    """

    run: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Call:
    """Something that is done elsewhere meanwhile, such as a request to a server: it keeps no thread waiting.

    Attributes:
        start: begins it, and never raises: the future ends with it, and cancelling the future withdraws it.
    """

    start: Callable[[], "Future[Any]"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink gives for a record that is still on its way, and that is waited for so long at most.

    Attributes:
        future: ends when the record is stored, or given up: how it ends changes nothing here.
        timeout_s: seconds after which nobody waits any more.
    """

    future: "Future[None]"
    timeout_s: float

    def wait(self) -> None:
        """Block until it has ended, or long enough."""
        concurrent.futures.wait([self.future], self.timeout_s)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A step of another engine than the driver's.

    Attributes:
        engine: the other one.
        step: what it is to do.
    """

    engine: Engine
    step: "Step"


Step = list[Feed] | Work | Call | Receipt | Borrowed
"""What a computation may ask of its driver: logits for a batch, or other work, which is answered with none."""

Steps = Generator[Step, list[Logits], T]
"""A computation that yields steps and returns a T."""


def borrowing(engine: Engine, steps: Steps[T]) -> Steps[T]:
    """Return steps for one engine as steps for a driver of another one."""
    try:
        step = next(steps)
        while True:
            try:
                logits = yield Borrowed(engine, step)
            except EngineError as error:
                step = steps.throw(error)
            else:
                step = steps.send(logits)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def received(receipts: Iterable[Receipt]) -> Steps[None]:
    """Wait for one after the other."""
    for receipt in receipts:  # noqa: UP028  # what a driver answers cannot be sent into a list's iterator
        yield receipt


class Tape:
    """A session of an engine and the ids it holds. One caller at a time.

    Attributes:
        ids: all tokens held, oldest first.
    """

    def __init__(self, engine: Engine, session: Session | None = None, ids: Sequence[int] = ()) -> None:
        """Take a session that holds `ids`, or open an empty one.

        Raises:
            EngineError: the engine cannot.
        """
        self._engine = engine
        if session is None:
            with engine_edge():
                session = engine.open()
        self._session: Session = session
        self.ids: list[int] = [*ids]

    @property
    def length(self) -> int:
        """Tokens held."""
        return len(self.ids)

    @property
    def can_fork(self) -> bool:
        """Whether the engine's sessions can be copied: those written for older versions cannot."""
        return hasattr(self._session, "fork")

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

    def fork(self, length: int) -> "Tape":
        """Return a copy of the first `length` tokens.

        Raises:
            EngineError: the engine cannot, or has no room for another session.
        """
        with engine_edge():
            session = self._session.fork(length)
        return Tape(self._engine, session, self.ids[:length])

    def close(self) -> None:
        """Free the session; one that cannot be closed changes no verdict."""
        try:
            self._session.close()
        except Exception as error:  # noqa: BLE001  # the engine edge: nothing is read from this session any more
            _log.error("an engine's session could not be closed: %s", type(error).__name__)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids both begin with. Compares slices, at the speed of C."""
    n = min(len(left), len(right))
    if left[:n] == right[:n]:  # the common case of a long tail that only grew
        return n
    same, different = 0, n  # the first `same` ids are known to be equal, the first `different` are not
    while different - same > 1:
        middle = (same + different) // 2
        if left[same:middle] == right[same:middle]:
            same = middle
        else:
            different = middle
    return same
