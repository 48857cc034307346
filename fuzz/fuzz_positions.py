"""Packed verdicts: damaged bytes, wrong sizes and zip bombs are RecordErrors at a bounded cost; others come back."""

import json
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, check_message, damaged_bytes, from_bytes, json_bytes
from guardrail.errors import RecordError
from guardrail.records import Positions
from guardrail.records.positions import _COMMON, _HEAD
from guardrail.taxonomy import RESPONSE_LABELS
from guardrail.verdict import TokenVerdict, Verdict

RISKS = ((0.5, 0.25, 0.25), (0.1, 0.8, 0.1), (0.0, 0.0, 1.0))
TOKENS = [
    TokenVerdict(Verdict(RESPONSE_LABELS, RISKS[i % 3], (0.3, 0.7, *[0.0] * 6), is_scored=i != 2), i, i, i + 2, i != 1)
    for i in range(4)
]
PACKED = Positions.of(TOKENS).to_bytes()
OPENED = zlib.decompressobj(zdict=_COMMON).decompress(PACKED[1:])
N_NAMED, N = _HEAD.unpack_from(OPENED)
NAMES = json.loads(OPENED[_HEAD.size : _HEAD.size + N_NAMED])
BODY = OPENED[_HEAD.size + N_NAMED :]
ALSO = ("Safe", "Unsafe", "Controversial", ["Safe"], ["a", "a"])


@st.composite
def packed(draw: st.DrawFn) -> bytes:
    """Return bytes whose compression is sound: what is wrong lies inside."""
    named = draw(st.just(json.dumps(NAMES).encode()) | json_bytes(NAMES, ALSO))
    body = draw(st.just(BODY) | damaged_bytes(BODY) | st.sampled_from([b"", BODY * 3, b"\0" * 400_000]))
    n_named = draw(st.sampled_from([len(named)] * 5 + [0, 2**31, 2**32 - 1]))
    n = draw(st.sampled_from([N] * 5 + [0, 1, 12, 5000, 2**20, 2**31, 2**32 - 1]))
    packing = zlib.compressobj(1, zdict=_COMMON)
    whole = b"\1" + packing.compress(_HEAD.pack(n_named, n) + named + body) + packing.flush()
    return draw(damaged_bytes(whole)) if draw(st.integers(0, 4)) == 3 else whole


@BRIEF
@given(data=packed() | packed() | damaged_bytes(PACKED) | st.binary(max_size=60).map(lambda data: b"\1" + data))
def holds(data: bytes) -> None:
    """Bytes are refused with a short RecordError, or hold positions that are written and read as they are."""
    try:
        found = Positions.from_bytes(data)
    except RecordError as error:
        check_message(error)
        return
    n = len(found)
    assert [len(column) for column in (found.category, found.start, found.end, found.flags)] == [n] * 4
    assert np.isfinite(found.risk).all()
    assert (found.end >= found.start).all()
    for i in range(min(n, 5)):
        assert found.token(i).verdict.risk in found.labels.risks
    again = Positions.from_bytes(found.to_bytes())
    assert again.labels == found.labels
    assert np.array_equal(again.risk, found.risk)
    assert np.array_equal(again.start, found.start)
    assert np.array_equal(again.category.argmax(axis=1), found.category.argmax(axis=1))


assert list(NAMES[1]) == list(RESPONSE_LABELS.categories)
one_input = from_bytes(holds)
