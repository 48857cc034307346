"""Rows that thresholds are chosen on: recorded traffic, or files of rows with scores; with labels if given."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.actions import Action
from guardrail.audit.calibrate_labels import HARMFUL, HARMLESS, LABEL_COLUMNS, Labels, known_label, numbered_rows
from guardrail.audit.calibrate_scores import ALWAYS, Scorer
from guardrail.audit.intervals import alike, effective
from guardrail.audit.replay import ANSWERS, Gap, Recorded, unpacked
from guardrail.audit.replay_limits import was_read_by_rules
from guardrail.decision import Direction, Reason
from guardrail.errors import ConfigurationError
from guardrail.policy import Policy
from guardrail.records.record import Record
from guardrail.taxonomy import RiskLevel

_DRAWN_BITS = 24
_ROUNDING = 1e-6


@dataclass(slots=True)
class Rows:
    """Scored rows of one side, prompts or answers.

    Attributes:
        scores: float64, the threshold up to which each is flagged.
        labels: 0 harmless, 1 harmful.
        is_cut: 1 where the answer was really stopped, so that what follows is not known.
        keys: hash of the row's conversation; rows of one are not independent.
    """

    scores: "array[float]" = field(default_factory=lambda: array("d"))
    labels: "array[int]" = field(default_factory=lambda: array("b"))
    is_cut: "array[int]" = field(default_factory=lambda: array("b"))
    keys: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, score: float, label: str, key: str, *, is_cut: bool = False) -> None:
        """Add a row. Of a harmless one that was cut nobody knows what a higher threshold had let through, so that it
        counts as flagged by every one.
        """
        is_harmful = label == HARMFUL
        self.scores.append(ALWAYS if is_cut and not is_harmful else score)
        self.labels.append(is_harmful)
        self.is_cut.append(is_cut)
        self.keys.append(_hash(key))

    def part(self, *, is_held: bool, share: float, seed: int) -> "Part":
        """Return the rows whose conversations are held out, or the others; the same ones in every run."""
        keys = np.array(self.keys, np.uint64)
        drawn = (keys * np.uint64(_hash(str(seed)) | 1)) >> np.uint64(64 - _DRAWN_BITS)  # as `is_held_out` does
        taken = (drawn.astype(np.float64) / (1 << _DRAWN_BITS) < share) == is_held
        arrays = np.array(self.scores), np.array(self.labels, np.bool_), np.array(self.is_cut, np.bool_)
        scores, labels, is_cut = (one[taken] for one in arrays)
        _, groups = np.unique(keys[taken], return_inverse=True)
        return Part(scores, labels, is_cut, groups)


def is_held_out(key: str, share: float, seed: int) -> bool:
    """Whether the rows of a conversation, or a row without one by its id, are held out."""
    drawn = (_hash(key) * (_hash(str(seed)) | 1)) % (1 << 64) >> (64 - _DRAWN_BITS)
    return drawn / (1 << _DRAWN_BITS) < share


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())


@dataclass(frozen=True)
class Part:
    """Some rows of one side.

    Attributes:
        scores: float64 [row].
        is_harmful: bool [row].
        is_cut: bool [row].
        groups: int64 [row], number of the row's conversation.
    """

    scores: NDArray[np.float64]
    is_harmful: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    groups: NDArray[np.intp]

    @cached_property
    def n_alike(self) -> float:
        """How many independent rows tell as much, by how alike the scores of each conversation are."""
        return alike(self.scores, self.groups)

    def n_effective(self, is_hit: NDArray[np.bool_]) -> float:
        """Return how many independent rows tell as much about a share, bool [row]; never more than `n_alike`."""
        if is_hit.all() or not is_hit.any():
            return self.n_alike
        sizes = np.bincount(self.groups)
        held = sizes > 0
        totals = np.bincount(self.groups, is_hit.astype(np.float64))
        return min(self.n_alike, effective(totals[held], sizes[held]))

    def only(self, *, is_harmful: bool) -> "Part":
        """Return the rows of one label."""
        taken = self.is_harmful == is_harmful
        return Part(self.scores[taken], self.is_harmful[taken], self.is_cut[taken], self.groups[taken])


@dataclass(slots=True)
class Reading:
    """What came of reading.

    Attributes:
        sides: rows by side, "prompt" and "response".
        directions: rows by direction.
        left_out: rows that say nothing, by why.
        n_by_rules: rows of which the rules of then chose what is recorded of a text and its normalised twin.
        n_untold: rows of which nobody knows that, since their policy is not at hand.
    """

    sides: dict[str, Rows] = field(default_factory=lambda: {"prompt": Rows(), "response": Rows()})
    directions: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    n_by_rules: int = 0
    n_untold: int = 0


def side_of(direction: Direction) -> str:
    """Return whose rules decide: those of prompts, or those of answers."""
    return "response" if direction in ANSWERS else "prompt"


def read_recorded(
    records: Iterable[Record],
    scorers: Mapping[Direction, Scorer],
    labels: Labels | None,
    policies: Mapping[str, Policy] | None = None,
) -> Reading:
    """Return recorded traffic with its scores.

    Args:
        records: a store's.
        scorers: by direction; others are left out.
        labels: by id, text hash or conversation; None takes all traffic as harmless.
        policies: under which records may have been made, by hash.
    """
    reading, policies = Reading(), policies or {}
    for record in records:
        if record.direction not in scorers:
            continue
        label = HARMLESS if labels is None else _label_of(record, labels)
        recorded = unpacked(record)
        why = _why_left_out(recorded, label)
        if why or isinstance(recorded, Gap) or label is None:
            reading.left_out[why] += 1
            continue
        side, score = side_of(record.direction), scorers[record.direction].score(recorded.positions)
        is_cut = side == "response" and record.action is Action.STOP
        reading.sides[side].add(score, label, record.conversation_id or record.id, is_cut=is_cut)
        reading.directions[record.direction] += 1
        made_by = policies.get(record.policy_sha256)
        reading.n_untold += made_by is None
        reading.n_by_rules += made_by is not None and was_read_by_rules(recorded, made_by)
    return reading


def _why_left_out(recorded: Recorded | Gap, label: str | None) -> str:
    if isinstance(recorded, Gap):
        return recorded.value
    if not len(recorded.positions):
        return "nothing was judged"
    if recorded.is_cut and recorded.record.reason is not Reason.VERDICT:
        return "not read to its end"
    return "no label" if label is None else ""


def _label_of(record: Record, labels: Labels) -> str | None:
    keys = (record.id, record.text_hmac, record.conversation_id)
    return next((labels[key] for key in keys if key is not None and key in labels), None)


def read_scored(path: Path, sides: Iterable[str], labels: Labels | None) -> Reading:
    """Return the rows of a `guardrail scan`, or of any JSONL with a `score` or `risk_probabilities`, by their labels.

    A label is taken from `labels` by the row's id, or stands in the row as `label`, or, after `scan --keep-columns`,
    in `input` as `label` or `risk`. Answers of a scan say too little: one token's probabilities, not those of a run.

    Args:
        path: the file.
        sides: that are wanted.
        labels: by id; None takes those in the rows, and rows without one as harmless if none has one.
    """
    reading, wanted, found = Reading(), set(sides), list(_scored(path, labels))
    has_labels = labels is not None or any(row.label for row in found)
    for row in found:
        label = row.label or (None if has_labels else HARMLESS)
        side = side_of(row.direction)
        if side not in wanted:
            continue
        if row.score is None or label is None:
            reading.left_out["no score of a whole answer" if row.score is None else "no label"] += 1
            continue
        reading.sides[side].add(row.score, label, row.key)
        reading.directions[row.direction] += 1
    return reading


@dataclass(frozen=True, slots=True)
class _Scored:
    direction: Direction
    score: float | None
    label: str | None
    key: str


def _scored(path: Path, labels: Labels | None) -> Iterator[_Scored]:
    for number, row in numbered_rows(path):
        try:
            direction = Direction(row.get("direction") or Direction.PROMPT)
            score = _score_in(row, direction)
        except (ValueError, TypeError, KeyError):
            raise ConfigurationError(
                f"{path.name}, line {number}: its direction or score cannot be read", hint="scores lie in [0, 1]"
            ) from None
        key = str(row.get("conversation_id") or row.get("id") or f"row {number}")
        label = labels.get(str(row.get("id"))) if labels is not None else _label_in(row)
        yield _Scored(direction, score, label, key)


def _score_in(row: Mapping[str, Any], direction: Direction) -> float | None:
    if row.get("score") is not None:
        return _probability(row["score"])
    probabilities = row.get("risk_probabilities")
    if probabilities is None or direction in ANSWERS:
        return None
    return _probability(float(probabilities[RiskLevel.CONTROVERSIAL]) + float(probabilities[RiskLevel.UNSAFE]))


def _probability(value: Any) -> float:
    """Return a probability; a sum of rounded ones may be a little above 1.

    Raises:
        ValueError: it is none.
    """
    found = float(value)
    if isinstance(value, bool) or not 0 <= found <= 1 + _ROUNDING:
        raise ValueError
    return min(found, 1.0)


def _label_in(row: Mapping[str, Any]) -> str | None:
    given = row.get("input")
    if isinstance(given, Mapping):
        return next((known_label(given[name]) for name in LABEL_COLUMNS if given.get(name) is not None), None)
    return None if row.get("label") is None else known_label(row["label"])
