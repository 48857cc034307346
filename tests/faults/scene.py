"""What every fault is put against: a guard in `token` mode, an answer with a known risky place, records in a store."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from guardrail.decision import Decision
from guardrail.engines.base import Engine
from guardrail.guard import Guard
from guardrail.policy_file import PolicySource
from guardrail.records import Privacy, Queueing, Record, Sink, StoredSink, open_sink, read_records
from guardrail.testing import MarkerEngine, default_tokenizer

HARMLESS = "The first words of it are quite harmless, as anybody can see. "
ANSWER = f"{HARMLESS}☠ From here on nothing of it may be shown to anybody at all."
"""The guard stops it at the marker, if nothing else happens first."""

RISKY_AT = len(HARMLESS)
TOKENIZER = default_tokenizer()


@dataclass
class Seen:
    """What came of a fault.

    Attributes:
        released: text that somebody was shown, by answer.
        decisions: that the gate made.
        stored: records that were read back when all was over.
        note: what the table says besides.
    """

    released: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    stored: list[Record] = field(default_factory=list)
    note: str = ""

    @property
    def leaked(self) -> int:
        """Characters that were shown and must not have been: all that is no beginning of the harmless part."""
        return sum(len(text) - _n_same(text, HARMLESS) for text in self.released)

    @property
    def lost(self) -> int:
        """Decisions without a record."""
        return len({decision.id for decision in self.decisions} - {record.id for record in self.stored})

    @property
    def did(self) -> str:
        """What the gate did."""
        return self.note or ", ".join(dict.fromkeys(decision.action.value for decision in self.decisions))

    @property
    def says(self) -> str:
        """What the records say."""
        return "; ".join(dict.fromkeys(map(_told, self.stored))) or "no record"


def _told(record: Record) -> str:
    failure = f" ({record.failure.kind})" if record.failure else ""
    return f"{record.action}, {record.reason}{failure}"


def _n_same(text: str, allowed: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(text, allowed, strict=False)) if a != b), min(len(text), len(allowed))
    )


class Scene:
    """A folder with records, and guards that record there."""

    def __init__(self, folder: Path, target: str = "records.jsonl") -> None:
        self.folder = folder
        self.target = target if "://" in target else str(folder / target)
        self.decisions: list[Decision] = []
        self._sinks: list[Sink] = []

    def engine(self) -> MarkerEngine:
        """Judge by the marker."""
        return MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent")})

    def sink(self, **queueing: float | str) -> StoredSink:
        """Open the scene's store."""
        sink = open_sink(self.target, queueing=Queueing(**queueing), privacy=Privacy())  # type: ignore[arg-type]
        self._sinks.append(sink)
        return sink

    def guard(self, engine: Engine | None = None, *sinks: Sink, policy: PolicySource = "balanced") -> Guard:
        """Return a guard that records in the scene, or in other sinks."""
        recording = sinks or (self.sink(),)
        return Guard(engine or self.engine(), TOKENIZER, policy=policy, sinks=[*recording, _Noting(self.decisions)])

    def answer(self, guard: Guard, between: Callable[[int], None] = lambda _: None) -> str:
        """Stream the answer word by word; return what was shown. `between` is called before each word."""
        shown = ""
        with guard.open_stream("hi") as stream:
            for i, word in enumerate(words(ANSWER)):
                between(i)
                shown += stream.feed(word)
            shown += stream.finish()
        return shown

    def seen(self, released: Iterable[str], note: str = "") -> Seen:
        """Close the sinks, and tell what came of it."""
        for sink in self._sinks:
            sink.close()
        return Seen(list(released), self.decisions, list(read_records(self.target)), note)


class _Noting:
    """Keeps the decisions, in a list of the scene's."""

    def __init__(self, decisions: list[Decision]) -> None:
        self._decisions = decisions

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's
        """Keep it."""
        self._decisions.append(decision)

    def close(self) -> None:
        """Do nothing."""


def words(text: str) -> list[str]:
    """Cut a text into words, each with the blank behind it."""
    return [word + " " for word in text.split(" ")]
