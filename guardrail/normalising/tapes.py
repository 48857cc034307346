"""Tapes for two readings of one text: what one of them has read, the other copies."""

from guardrail.errors import EngineError
from guardrail.reuse import COPY_FROM, Tapes
from guardrail.tape import Steps, Tape, Work, common_prefix


class SharedTapes(Tapes):
    """Gives tapes to readings that one caller drives in turn, so that none of them is in a step while another opens."""

    def __init__(self, tapes: Tapes) -> None:
        """Serve the readings of one stream.

        Args:
            tapes: give what none of the readings holds.
        """
        super().__init__(tapes.engine, owner=tapes.owner)
        self._tapes = tapes
        self._held: list[Tape] = []

    def open(self, ids: list[int]) -> Steps[Tape]:
        """Return a copy of what another reading holds of `ids`, or else what `Tapes.open` gives."""
        copies: list[Tape] = []
        most = max(self._held, key=lambda tape: common_prefix(tape.ids, ids), default=None)
        length = min(common_prefix(most.ids, ids), len(ids) - 1) if most else 0
        if most and most.can_fork and length >= COPY_FROM:
            try:
                yield Work(lambda: copies.append(most.fork(length)))
            except EngineError:  # no room for a copy: what is kept for later makes room below
                pass
            except BaseException:  # interrupted: nobody will read on
                for tape in copies:
                    tape.close()
                raise
        tape = copies[0] if copies else (yield from self._tapes.open(ids))
        self._held.append(tape)
        return tape

    def put_back(self, tape: Tape, *, keep: bool = True) -> None:
        """Hand a tape back to where it came from, or free it."""
        self._held = [other for other in self._held if other is not tape]
        self._tapes.put_back(tape, keep=keep)
