"""What a client knows of one stream: what it sent, and what came of it; no I/O."""

from pydantic import ValidationError

from guardrail.client.asking import ClientError
from guardrail.records import Record
from guardrail.stream_protocol import (
    BEFORE_ALL,
    EVENT,
    ClosedEvent,
    DecisionEvent,
    DeltaFrame,
    ErrorEvent,
    EventBase,
    OpenedEvent,
    ReadEvent,
    ReleaseEvent,
    ResumeFrame,
    StopEvent,
    VerdictEvent,
)


class Answer:
    """One answer, as its events tell of it.

    Attributes:
        id: of the stream; None before it is open.
        verdicts: of its tokens so far.
        stop: where it was stopped; None without.
        decision: the record; None before the end.
        fed_chars: characters sent.
        is_closed: whether the last event has come.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.verdicts: list[VerdictEvent] = []
        self.stop: StopEvent | None = None
        self.decision: Record | None = None
        self.fed_chars = 0
        self.is_closed = False
        self._read_chars = 0
        self._released: list[str] = []
        self._released_chars = 0
        self._unread: list[DeltaFrame] = []
        self._last_seq = BEFORE_ALL

    @property
    def is_read(self) -> bool:
        """Whether all that was sent has been read, or nothing more will be."""
        return self.is_closed or self._read_chars >= self.fed_chars

    def delta(self, text: str, *, thinking: bool) -> DeltaFrame:
        """Return the frame of the next piece, and keep it until it has been read."""
        frame = DeltaFrame(text=text, thinking=thinking, offset=self.fed_chars)
        self.fed_chars += len(text)
        self._unread.append(frame)
        return frame

    def resumption(self) -> list[ResumeFrame | DeltaFrame]:
        """Return the frames that take the stream up on a new connection."""
        return [ResumeFrame(id=self.id or "", after=self._last_seq), *self._unread]

    def released(self) -> str:
        """Return the text that was released since the last call."""
        text = "".join(self._released)
        self._released.clear()
        return text

    def take(self, data: str | bytes) -> None:
        """Take an event.

        Raises:
            ClientError: it is none, not the next one, or tells of an error.
        """
        try:
            event = EVENT.validate_json(data)
        except ValidationError:
            raise ClientError("the service sent what is no event") from None
        if isinstance(event, ErrorEvent):
            raise ClientError(event.error.message, code=event.error.code)
        if event.seq != self._last_seq + 1:
            raise ClientError(f"event {self._last_seq + 1} is missing, {event.seq} came")
        self._last_seq = event.seq
        self._act_on(event)

    def _act_on(self, event: EventBase) -> None:
        match event:
            case OpenedEvent():
                self.id = event.id
            case VerdictEvent():
                self.verdicts.append(event)
            case ReleaseEvent():
                self._release(event)
            case ReadEvent():
                self._read_chars = event.end
                self._unread = [one for one in self._unread if (one.offset or 0) + len(one.text) > event.end]
            case StopEvent():
                self.stop = event
            case DecisionEvent():
                self.decision = event.record
            case ClosedEvent():
                self.is_closed = True

    def _release(self, event: ReleaseEvent) -> None:
        if self.stop or event.start != self._released_chars or event.end > self.fed_chars:
            raise ClientError(f"a release of {event.start} to {event.end} does not follow {self._released_chars}")
        self._released_chars = event.end
        self._released.append(event.text)
