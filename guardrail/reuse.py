"""What was read before, kept for whatever begins alike: a bounded cache of tapes, found by their token ids.

Conversations share system prompts, an agent sends its whole history at every step, the answer just judged stands in the
next turn. A tape at rest serves all of them: its own conversation takes it over, others copy its beginning. Nothing is
shared between tenants.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardrail.engines.base import Engine
from guardrail.errors import EngineError, EngineOverloaded
from guardrail.prefixes import Kept, Match, Owner, Prefixes
from guardrail.tape import Steps, Tape, Work

KEPT_BYTES = 2**30
"""KV caches that a guard keeps for reuse, in bytes; the longest unused go first. Our choice: 4,600 tokens of the
published 0.6B model, four times as many with an int8 KV cache, so that the loop of an agent fits."""

COPY_FROM = 16
"""Tokens in common from which another conversation's tape is copied. Our choice: below it texts share little but the
template's first tokens, as any two do; a copy would take a session and save no time, and count as a use of a tape that
nobody needs."""

_MOST_TAPES = 256
"""Tapes kept at most, however small they are. Our choice."""


@dataclass(frozen=True, slots=True)
class _Find:
    """The tape to begin with.

    Attributes:
        kept: the tape.
        n_used: tokens of it to go on from.
        is_own: whether it is taken over by its conversation; else it is copied.
    """

    kept: Kept
    n_used: int
    is_own: bool


class KeptTapes:
    """Tapes between calls. Safe for many threads; a tape that is taken is nobody else's."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """Keep nothing yet.

        Args:
            engine: of all tapes.
            max_bytes: memory of their KV caches at most.
        """
        self._bytes_per_token = engine.info.kv_bytes_per_token
        self._max_tokens = max_bytes // self._bytes_per_token if self._bytes_per_token else sys.maxsize
        self._changed = threading.Condition()
        self._kept: OrderedDict[Kept, None] = OrderedDict()  # the longest unused first
        self._prefixes = Prefixes()
        self._n_tokens = 0
        self._n_leaving = 0  # forgotten, and not yet closed
        self._n_freed = 0
        self._is_closed = False

    def __len__(self) -> int:
        """How many tapes are kept."""
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """Memory of their KV caches."""
        return self._n_tokens * self._bytes_per_token

    def take(self, owner: Owner, ids: list[int]) -> Tape | None:
        """Return a tape that holds the beginning of `ids`, never all of them; None if reading anew is as good.

        A tape of the conversation is taken over. Where too little of it could be used, or another one holds more, the
        tape of the tenant that begins most like `ids` is copied, and stays.
        """
        with self._changed:
            while (found := self._find(owner, ids)) and found.kept.is_copied:
                self._changed.wait()
            if found is None:
                return None
            if found.is_own:
                self._take_out(found.kept)
            else:
                found.kept.is_copied = True
        return _cut(found.kept.tape, found.n_used) if found.is_own else self._copy(found.kept, found.n_used)

    def takes_time(self, owner: Owner, ids: list[int]) -> bool:
        """Whether `take` would copy now, or wait for another copy."""
        with self._changed:
            found = self._find(owner, ids)
            return found is not None and (found.kept.is_copied or not found.is_own)

    def keep(self, owner: Owner, tape: Tape) -> None:
        """Keep a tape that nobody uses any more, as far as there is room.

        It replaces those that it contains, but for other conversations': they go on with them, maybe all at once.
        """
        if _cut(tape, self._max_tokens) is None:
            return
        if not tape.length or not (tape.can_fork or owner.conversation_id is not None):
            tape.close()  # nobody could use it
            return
        with self._changed:
            dropped = self._add(Kept(tape, owner))
        self._free(dropped)

    def with_room(self, make: Callable[[], Tape], *, waits: bool = True) -> Tape:
        """Return what `make` makes; as long as the engine is full, kept tapes go, the longest unused first.

        Args:
            make: opens a session.
            waits: whether tapes that are being copied are waited for; not by one who copies.

        Raises:
            EngineOverloaded: the engine is full of sessions in use.
            EngineError: the engine failed.
        """
        while True:
            n_freed = self._n_freed
            try:
                return make()
            except EngineOverloaded:
                if not self._make_room(n_freed, waits=waits):
                    raise

    def close(self) -> None:
        """Free every tape; what is handed in later is freed at once."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not any(kept.is_copied for kept in self._kept))
            dropped = list(self._kept)
            for one in dropped:
                self._forget(one)
        self._free(dropped)

    def _find(self, owner: Owner, ids: list[int]) -> _Find | None:
        if self._is_closed:
            return None
        own, best = self._prefixes.of_conversation(owner, ids), self._prefixes.of_tenant(owner, ids)
        if own and best and _is_continued(own, best):
            return _Find(own.kept, min(own.n_common, len(ids) - 1), is_own=True)
        if best and best.n_common >= COPY_FROM and best.kept.tape.can_fork:
            return _Find(best.kept, min(best.n_common, len(ids) - 1), is_own=False)
        return None

    def _copy(self, kept: Kept, length: int) -> Tape | None:
        """Return a copy of a tape's beginning; if the engine has no room for both, the tape itself."""
        try:
            return self.with_room(lambda: kept.tape.fork(length), waits=False)
        except EngineOverloaded:
            with self._changed:
                self._take_out(kept)
            return _cut(kept.tape, length)
        except EngineError:
            return None
        finally:
            with self._changed:
                kept.is_copied = False
                if kept in self._kept:
                    self._kept.move_to_end(kept)
                self._changed.notify_all()

    def _make_room(self, n_freed: int, *, waits: bool) -> bool:
        """Free the tape that was unused for longest, or wait for one that others free or copy; return whether there may
        be room that was not there when `n_freed` had been freed.
        """
        with self._changed:
            oldest = self._oldest()
            if oldest is None:
                if waits and (self._kept or self._n_leaving):
                    self._changed.wait()
                    return True
                return self._n_freed != n_freed
            self._forget(oldest)
        self._free([oldest])
        return True

    def _oldest(self) -> Kept | None:
        return next((kept for kept in self._kept if not kept.is_copied), None)

    def _add(self, kept: Kept) -> list[Kept]:
        """Take a tape in; return those that go for it, maybe itself. What is being copied stays."""
        contained = self._prefixes.contained(kept.owner, kept.tape.ids)
        dropped = [
            one for one in contained if one.owner in (kept.owner, Owner(kept.owner.tenant)) and not one.is_copied
        ]
        for one in dropped:
            self._forget(one)
        self._kept[kept] = None
        self._prefixes.add(kept)
        self._n_tokens += kept.tape.length
        while self._is_too_much and (oldest := self._oldest()):
            self._forget(oldest)
            dropped.append(oldest)
        return dropped

    @property
    def _is_too_much(self) -> bool:
        return self._is_closed or self._n_tokens > self._max_tokens or len(self._kept) > _MOST_TAPES

    def _take_out(self, kept: Kept) -> None:
        del self._kept[kept]
        self._prefixes.remove(kept)
        self._n_tokens -= kept.tape.length

    def _forget(self, kept: Kept) -> None:
        """Take out a tape that goes to `_free` next."""
        self._take_out(kept)
        self._n_leaving += 1

    def _free(self, dropped: Sequence[Kept]) -> None:
        try:
            for one in dropped:
                one.tape.close()
        finally:
            with self._changed:
                self._n_leaving -= len(dropped)
                self._n_freed += len(dropped)
                self._changed.notify_all()


def _is_continued(own: Match, best: Match) -> bool:
    """Whether a conversation goes on with its own tape: at least half of it is of use (its end may be wanted again, as
    when a document is read in between), and no other one saves much more.
    """
    return 0 < own.n_common >= own.kept.tape.length - own.n_common and best.n_common < own.n_common + COPY_FROM


def _cut(tape: Tape, length: int) -> Tape | None:
    """Roll a tape back; if the engine fails at that, free it and return None."""
    try:
        tape.rollback(length)
    except EngineError:
        tape.close()
        return None
    return tape


class Tapes:
    """Where one check or stream gets its tapes: fresh, or what was read before.

    Attributes:
        engine: runs the model.
        owner: whose text is read.
    """

    def __init__(self, engine: Engine, kept: KeptTapes | None = None, owner: Owner | None = None) -> None:
        """Serve one check or stream.

        Args:
            engine: runs the model.
            kept: what was read before; None keeps nothing.
            owner: whose text is read.
        """
        self.engine = engine
        self._kept = kept
        self.owner: Owner = owner or Owner()

    def open(self, ids: list[int]) -> Steps[Tape]:
        """Return a tape that holds the beginning of `ids`, or nothing, and never all of them.

        Raises:
            EngineError: the engine failed.
        """
        if self._kept is None or not self._kept.takes_time(self.owner, ids):
            return self._opened(ids)
        opened: list[Tape] = []
        try:
            yield Work(lambda: opened.append(self._opened(ids)))
        except BaseException:  # interrupted: nobody will read on
            for tape in opened:
                self.put_back(tape)
            raise
        return opened[0]

    def _opened(self, ids: list[int]) -> Tape:
        if self._kept is None:
            return Tape(self.engine)
        tape = self._kept.take(self.owner, ids)
        return self._kept.with_room(lambda: Tape(self.engine)) if tape is None else tape

    def put_back(self, tape: Tape, *, keep: bool = True) -> None:
        """Keep a tape for what begins alike, or free it.

        Args:
            tape: nobody reads on with it.
            keep: whether its last step ended well.
        """
        if self._kept is None or not keep:
            tape.close()
        else:
            self._kept.keep(self.owner, tape)
