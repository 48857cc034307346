"""The second reading of an answer: that of its twin, with its tokens where they stand in the raw text."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from guardrail.normalising.twin import Piece, Places
from guardrail.reader import AnswerReader
from guardrail.tape import Steps
from guardrail.verdict import TokenVerdict


class TwinReading:
    """The reading of the twin. One caller at a time.

    Attributes:
        reader: reads it.
        places: where its characters stand in the raw text.
        found: its tokens from the first difference on, with raw spans, as far as no given token has passed them. Before
            it both readings have the same tokens.
        reached: raw offset up to which all of its tokens are found.
    """

    def __init__(self, reader: AnswerReader, same: Sequence[tuple[str, bool]]) -> None:
        """Start with text that raw text and twin begin with, and whether it is reasoning."""
        self.reader = reader
        self.places: Places = Places(sum(len(text) for text, _ in same))
        self.found: deque[TokenVerdict] = deque()
        self.reached: int = 0
        self._first_difference: int | None = None
        self._unread = deque(same)
        self._is_open = False
        self._ends = self._has_ended = False

    def push(self, piece: Piece, *, thinking: bool) -> None:
        """Take the next piece."""
        if self._first_difference is None and not piece.is_same:
            self._first_difference = self.places.n_raw
        self.places.add(piece)
        self._unread.append((piece.twin, thinking))

    def end(self) -> None:
        """Take note that no more text comes."""
        self._ends = True

    @property
    def has_pending(self) -> bool:
        """Whether there is something to read."""
        waits = self._unread or not self._is_open or self._ends is not self._has_ended
        return bool(waits) or self.reader.has_pending

    @property
    def has_read_all(self) -> bool:
        """Whether the twin has ended and every token of it is found."""
        return self._has_ended and not self.has_pending

    def read(self) -> Steps[None]:
        """Read on."""
        if not self._is_open:
            self._is_open = True
            yield from self.reader.open()
        while self._unread:
            text, thinking = self._unread.popleft()
            self.reader.push(text, thinking=thinking)
        if self._ends and not self._has_ended:
            self._has_ended = True
            self.reader.end()
        if self.reader.has_pending:
            tokens = yield from self.reader.read()
            self.found += _placed(tokens, self.places, self._first_difference)
            if tokens:
                last = tokens[-1]
                self.reached = self.places.raw(last.end if last.complete else last.start)

    def peek(self, pieces: Sequence[Piece], *, thinking: bool) -> Steps[list[TokenVerdict]]:
        """Return the tokens found, and those that would still come behind these pieces; nothing becomes final."""
        places, since = self.places.copy(), self._first_difference
        for piece in pieces:
            since = places.n_raw if since is None and not piece.is_same else since
            places.add(piece)
        tokens = yield from self.reader.peek("".join(piece.twin for piece in pieces), thinking=thinking)
        return [*self.found, *_placed(tokens, places, since)]

    def close(self) -> None:
        """Free it: nothing goes on from a twin."""
        if self._is_open:
            self.reader.close(keep=False)


def _placed(tokens: Iterable[TokenVerdict], places: Places, since: int | None) -> Iterator[TokenVerdict]:
    """Yield the tokens of a twin that end behind the first difference, with their spans in the raw text."""
    for token in tokens:
        start, end = places.span(token.start, token.end)
        if since is not None and end > since:
            yield replace(token, start=start, end=end)
