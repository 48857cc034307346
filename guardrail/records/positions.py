"""Every judged position of a decision in a few bytes: full probability vectors, spans, and what the labels mean.

Risk probabilities are kept exactly (float32, which is what was decided on), so that replaying a record under its own
policy gives its own decision. Category probabilities are kept in steps of 1/65535, the most probable one kept the most
probable: no policy asks more of them. Measured on 27 answers judged by the embedded model: 20,110 bytes for 1,000
tokens (benchmarks/record_size.py; docs/records.md has the whole table).
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import RecordError
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

MAX_BYTES = 1 << 26
"""Most bytes that one record's positions may take when they are unpacked, 1.5 million tokens and more: a damaged length
must not fill the memory. Our choice."""

_VERSION = 1
_MAX_LABELS_BYTES = 1 << 16
_HEAD = struct.Struct("<II")
_STEPS = 65535
_MOST = 1.001  # a probability that rounding has left a little above 1
_COMPLETE, _WHOLE, _SCORED = 1, 2, 4


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """The judged positions of one decision, in order: the tokens of an answer, or the readings of a prompt.

    Attributes:
        labels: meaning of the vectors' indices.
        risk: float32 [position, risk], probabilities.
        category: float32 [position, category], probabilities given that there is harm.
        start: int64 [position], first character of each; 0 for readings of a prompt.
        end: int64 [position], one past its last character.
        flags: uint8 [position]: 1 the span's last character ends here, 2 the whole text up to here was judged, 4 the
            probabilities were measured.
    """

    labels: LabelSet
    risk: NDArray[np.float32]
    category: NDArray[np.float32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    flags: NDArray[np.uint8]

    @classmethod
    def of(cls, tokens: Sequence[TokenVerdict]) -> Self:
        """Return the positions of token verdicts. Verdicts by other labels are told by name in those of the first."""
        verdicts = [token.verdict for token in tokens]
        labels = _common_labels(verdicts)
        flags = [
            _COMPLETE * t.complete | _WHOLE * t.is_whole | _SCORED * v.is_scored
            for t, v in zip(tokens, verdicts, strict=True)
        ]
        return cls(
            labels,
            _rows([_by_name(v.labels.risks, v.risk_vector, labels.risks) for v in verdicts], len(labels.risks)),
            _rows(
                [_by_name(v.labels.categories, v.category_vector, labels.categories) for v in verdicts],
                len(labels.categories),
            ),
            np.array([t.start for t in tokens], np.int64),
            np.array([t.end for t in tokens], np.int64),
            np.array(flags, np.uint8),
        )

    @classmethod
    def of_readings(cls, verdicts: Sequence[Verdict]) -> Self:
        """Return the positions of a prompt's verdicts, one a reading."""
        return cls.of([TokenVerdict(verdict, i, 0, 0, is_whole=True) for i, verdict in enumerate(verdicts)])

    def __len__(self) -> int:
        return len(self.risk)

    @property
    def is_complete(self) -> NDArray[np.bool_]:
        """Whether the last character of each span ends there, bool [position]."""
        return (self.flags & _COMPLETE) > 0

    @property
    def is_whole(self) -> NDArray[np.bool_]:
        """Whether the whole text up to each was judged, bool [position]."""
        return (self.flags & _WHOLE) > 0

    def verdict(self, index: int) -> Verdict:
        """Return the verdict at a position."""
        risk, category = tuple(self.risk[index].tolist()), tuple(self.category[index].tolist())
        return Verdict(self.labels, risk, category, is_scored=bool(self.flags[index] & _SCORED))

    def token(self, index: int) -> TokenVerdict:
        """Return the token verdict at a position."""
        flags = int(self.flags[index])
        return TokenVerdict(
            self.verdict(index), index, int(self.start[index]), int(self.end[index]),
            complete=bool(flags & _COMPLETE), is_whole=bool(flags & _WHOLE),
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """Return all of it, compressed."""
        named = json.dumps([self.labels.risks, self.labels.categories], ensure_ascii=False).encode()
        steps = np.rint(self.category.clip(0, 1) * _STEPS).astype("<u2")
        if len(self):
            _keep_largest(steps, self.category.argmax(axis=1))
        length = (self.end - self.start).astype("<u4")
        step = np.diff(self.start, prepend=0).astype("<i4")
        columns = (self.risk.astype("<f4"), steps, step, length, self.flags)
        body = b"".join(_planes(column) for column in columns)
        packing = zlib.compressobj(1, zdict=_COMMON)
        head = _HEAD.pack(len(named), len(self))
        return bytes([_VERSION]) + packing.compress(head + named + body) + packing.flush()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            RecordError: the bytes are damaged, or of a newer version.
        """
        try:
            return cls(*_unpacked(data))
        except (zlib.error, struct.error, ValueError, TypeError, RecursionError) as error:
            raise RecordError(f"the record's positions are damaged: {type(error).__name__}") from None


def _unpacked(data: bytes) -> tuple[Any, ...]:
    """Return the fields. What is allocated is bounded before it is."""
    if data[:1] != bytes([_VERSION]):
        raise RecordError(f"the record's positions have version {data[:1].hex() or 'none'}; known: 01")
    head = _inflated(data, _HEAD.size + _MAX_LABELS_BYTES)
    n_named, n = _HEAD.unpack_from(head)
    risks, categories = json.loads(head[_HEAD.size : _HEAD.size + n_named])
    labels = LabelSet(tuple(map(RiskLevel, risks)), tuple(map(str, categories)))
    shapes = (("<f4", len(risks)), ("<u2", len(categories)), ("<i4", 1), ("<u4", 1), ("u1", 1))
    sizes = [n * width * np.dtype(kind).itemsize for kind, width in shapes]
    at = _HEAD.size + n_named
    size = at + sum(sizes)
    if size > MAX_BYTES or not (risks and categories):
        raise RecordError("the record's positions are damaged: their size is impossible")
    body, columns = _inflated(data, size, is_all=True), []
    for (kind, width), length in zip(shapes, sizes, strict=True):
        columns.append(_from_planes(body[at : at + length], kind, n, width))
        at += length
    risk, steps, step, length, flags = columns
    start = np.cumsum(step[:, 0], dtype=np.int64)
    if not ((risk >= 0) & (risk < _MOST)).all() or (start < 0).any():
        raise ValueError("no probabilities, or no places in a text")
    category = steps.astype(np.float32) / np.float32(_STEPS)
    return labels, risk.astype(np.float32), category, start, start + length[:, 0], flags[:, 0]


def _inflated(data: bytes, n_bytes: int, *, is_all: bool = False) -> bytes:
    """Return the first bytes of what was compressed; `is_all` demands that there are just as many, and no damage."""
    unpacking = zlib.decompressobj(zdict=_COMMON)
    found = unpacking.decompress(data[1:], n_bytes + is_all)
    if is_all and (len(found) != n_bytes or not unpacking.eof or unpacking.unused_data):
        raise ValueError("bytes are missing, or too many")
    return found


def _planes(column: NDArray[Any]) -> bytes:
    """Return a column's bytes by their place in the number: alike stands beside alike, which compresses better."""
    flat = np.ascontiguousarray(column.T)
    return flat.view(np.uint8).reshape(-1, column.dtype.itemsize).T.tobytes()


def _from_planes(data: bytes, kind: str, n: int, width: int) -> NDArray[Any]:
    dtype = np.dtype(kind)
    flat = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1).T
    return np.ascontiguousarray(flat).view(dtype).reshape(width, n).T


def _keep_largest(steps: NDArray[np.uint16], largest: NDArray[np.int64]) -> None:
    """Lower what rounding has made as large as each row's largest, if it stands before it."""
    rows = np.arange(len(steps))
    steps[rows, largest] = np.maximum(steps[rows, largest], 1)
    top = steps[rows, largest][:, None]
    before = np.arange(steps.shape[1])[None, :] < largest[:, None]
    np.minimum(steps, np.where(before, top - 1, top), out=steps)


def _rows(vectors: Sequence[Sequence[float]], width: int) -> NDArray[np.float32]:
    return np.array(vectors, np.float32).reshape(len(vectors), width)


def _common_labels(verdicts: Sequence[Verdict]) -> LabelSet:
    """Return the labels of all: those of the first, and behind them what others have besides."""
    if not verdicts:
        return RESPONSE_LABELS
    sets = dict.fromkeys(verdict.labels for verdict in verdicts)
    return LabelSet(
        tuple(dict.fromkeys(risk for labels in sets for risk in labels.risks)),
        tuple(dict.fromkeys(name for labels in sets for name in labels.categories)),
    )


def _by_name(names: Sequence[str], vector: Sequence[float], wanted: Sequence[str]) -> Sequence[float]:
    """Return a vector in another order of names, the most probable one still the first of the largest."""
    if names == wanted:
        return vector
    values = dict(zip(names, vector, strict=True))
    found = [values.get(name, 0.0) for name in wanted]
    top = wanted.index(names[vector.index(max(vector))])
    for i in range(top):  # the first of equals is the most probable one: another order must not make it another one
        if found[i] == found[top]:
            found[i] = float(np.nextafter(np.float32(found[i]), np.float32(0)))
    return found


_COMMON = json.dumps(
    [[*RESPONSE_LABELS.risks], [*dict.fromkeys((*RESPONSE_LABELS.categories, *PROMPT_LABELS.categories))]],
    ensure_ascii=False,
).encode()
"""What most records hold anyway, the published labels: it costs a few bytes then. Part of version 1: never changed."""
