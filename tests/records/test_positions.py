"""Judged positions in a few bytes: what was decided on comes back exactly, and damage is an error."""

import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.errors import RecordError
from guardrail.policy import CategoryRule, Rules
from guardrail.records import Positions
from guardrail.records.positions import _COMMON, MAX_BYTES
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict, rounded

TURNED = LabelSet(RESPONSE_LABELS.risks[::-1], ("Mine", *RESPONSE_LABELS.categories[::-1]))
STORED = (
    "01783f23f84aedbbc6c0c0c004c4d1c3d0abb1b16967cf1a9f3d9b76e68cf199336967"
    "7c8c7d7cec6d6ded6dedfe037d0c0650063a9f810522cdc20aa15959015aac5715"
)


@st.composite
def verdicts(draw: st.DrawFn, labels: LabelSet) -> Verdict:
    """Verdicts whose probabilities are often equal, tiny or nearly equal."""
    weight = st.sampled_from([0.0, 1.0, 1.0000001, 1e-7, 1e-20, 0.3]) | st.floats(0, 1)

    def vector(n: int) -> tuple[float, ...]:
        weights = [draw(weight) for _ in range(n)]
        return rounded([w / sum(weights) for w in weights] if sum(weights) else [1.0] + [0.0] * (n - 1))

    is_scored = draw(st.booleans())
    return Verdict(labels, vector(len(labels.risks)), vector(len(labels.categories)), is_scored=is_scored)


@st.composite
def tokens(draw: st.DrawFn) -> list[TokenVerdict]:
    """Tokens in order, some that share characters or reach back, with labels of one kind or of several."""
    kinds = draw(st.lists(st.sampled_from([RESPONSE_LABELS, PROMPT_LABELS, TURNED]), min_size=1, max_size=3))
    found, at = [], 0
    for index in range(draw(st.integers(0, 6))):
        start = max(0, at + draw(st.integers(-3, 2)))
        at = start + draw(st.integers(0, 9))
        verdict = draw(verdicts(draw(st.sampled_from(kinds))))
        found.append(TokenVerdict(verdict, index, start, at, draw(st.booleans()), draw(st.booleans())))
    return found


@st.composite
def rules_for(draw: st.DrawFn, judged: list[TokenVerdict]) -> Rules:
    """Rules whose thresholds are often just what a token has."""
    own = [p for t in judged for p in (t.verdict.non_safe_probability, t.verdict.probability(RiskLevel.UNSAFE))]
    threshold = st.none() | st.floats(0, 1) | st.sampled_from([min(p, 1.0) for p in own] or [0.5])
    pair = st.tuples(st.sampled_from(Action), st.sampled_from(Action)).map(lambda p: sorted(p, key=lambda a: a.rank))
    rule = st.builds(lambda p, t: CategoryRule(p[0], p[1], t), pair, threshold)
    names = st.sampled_from([*PROMPT_LABELS.categories, "Mine"])
    controversial, unsafe = draw(pair)
    return Rules(controversial, unsafe, draw(st.dictionaries(names, rule)), draw(threshold), draw(threshold))


@given(st.data())
def test_a_policy_finds_in_positions_what_it_found_in_the_verdicts(data: st.DataObject) -> None:
    """Any policy, at every position, in memory and packed: level, action, category and place."""
    judged = data.draw(tokens())
    rules = data.draw(rules_for(judged))
    plain = Positions.of(judged)
    packed = Positions.from_bytes(plain.to_bytes())
    assert len(plain) == len(packed) == len(judged)
    for positions in (plain, packed):
        for i, token in enumerate(judged):
            found = positions.token(i)
            assert rules.level(found.verdict) is rules.level(token.verdict)
            assert rules.action(found.verdict) is rules.action(token.verdict)
            assert (found.risk, found.category) == (token.risk, token.category)
            assert found.verdict.top_category == token.verdict.top_category
            assert replace(found, verdict=token.verdict) == token
            assert found.verdict.is_scored is token.verdict.is_scored


@given(st.lists(verdicts(RESPONSE_LABELS), max_size=5))
def test_risks_come_back_to_the_last_bit_and_categories_nearly(made: list[Verdict]) -> None:
    """What was packed once is packed the same way again."""
    positions = Positions.of_readings(made)
    found = Positions.from_bytes(positions.to_bytes())
    assert found.labels == positions.labels
    assert [found.verdict(i).risk_vector for i in range(len(made))] == [v.risk_vector for v in made]
    assert np.abs(found.category - positions.category).max(initial=0) <= 1.51 / 65535
    assert found.to_bytes() == positions.to_bytes()


def test_verdicts_of_other_labels_are_told_by_name() -> None:
    """Categories that the first does not know stand behind its own; those that another has not are 0."""
    first = Verdict(RESPONSE_LABELS, (1.0, 0.0, 0.0), (0.25,) * 4 + (0.0,) * 4)
    other = Verdict(TURNED, rounded((0.1, 0.2, 0.7)), (1.0, *[0.0] * 8))
    positions = Positions.of_readings([first, other])
    assert positions.labels == LabelSet(RESPONSE_LABELS.risks, (*RESPONSE_LABELS.categories, "Mine"))
    assert positions.verdict(1).risk_probabilities == {k: other.risk_probabilities[k] for k in RESPONSE_LABELS.risks}
    assert (positions.verdict(0).probability(RiskLevel.SAFE), positions.verdict(1).top_category) == (1.0, "Mine")


def test_the_first_of_equals_stays_the_first_in_another_order_of_labels() -> None:
    """Else the other order would make another level of the same verdict."""
    first = Verdict(RESPONSE_LABELS, (1.0, 0.0, 0.0), (1.0, *[0.0] * 7))
    tied = Verdict(TURNED, rounded((0.4, 0.4, 0.2)), (0.0, *[0.125] * 8))
    assert (tied.risk, tied.category) == (RiskLevel.CONTROVERSIAL, "Unethical Acts")
    found = Positions.from_bytes(Positions.of_readings([first, tied]).to_bytes()).verdict(1)
    assert (found.risk, found.category) == (tied.risk, tied.category)
    assert found.risk_vector == pytest.approx((0.2, 0.4, 0.4), abs=1e-7)


def test_readings_have_no_place_and_count_whole() -> None:
    """One of them is as good as a run."""
    token = Positions.of_readings([Verdict(PROMPT_LABELS, (1.0, 0.0, 0.0), (1.0, *[0.0] * 8))]).token(0)
    assert (token.start, token.end, token.is_whole) == (0, 0, True)


def test_nothing_and_a_very_long_answer_come_back() -> None:
    """0 positions, and 100,000 of them."""
    assert len(Positions.from_bytes(Positions.of([]).to_bytes())) == 0
    n = 100_000
    risk = np.random.default_rng(7).dirichlet([5, 1, 1], n).astype(np.float32)
    category = np.random.default_rng(8).dirichlet([1] * 8, n).astype(np.float32)
    start = np.arange(n, dtype=np.int64) * 4
    positions = Positions(RESPONSE_LABELS, risk, category, start, start + 4, np.full(n, 5, np.uint8))
    found = Positions.from_bytes(positions.to_bytes())
    assert np.array_equal(found.risk, risk)
    assert np.array_equal(found.category.argmax(axis=1), category.argmax(axis=1))
    assert np.array_equal(found.start, start)
    assert np.array_equal(found.end, start + 4)
    assert np.array_equal(found.flags, positions.flags)


SMALL = Positions.of_readings([Verdict(RESPONSE_LABELS, (0.5, 0.25, 0.25), (1.0, *[0.0] * 7))] * 3).to_bytes()


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    """By the version, or the sum at the end."""
    with pytest.raises(RecordError, match="positions"):
        Positions.from_bytes(SMALL[:at] + bytes([SMALL[at] ^ change]) + SMALL[at + 1 :])


@given(st.integers(0, len(SMALL) - 1), st.binary(min_size=1, max_size=3))
def test_missing_and_added_bytes_are_noticed(n: int, more: bytes) -> None:
    """Cut anywhere, or longer than it was."""
    for data in (SMALL[:n], SMALL + more):
        with pytest.raises(RecordError, match="positions"):
            Positions.from_bytes(data)


def hostile(content: bytes) -> bytes:
    packing = zlib.compressobj(9, zdict=_COMMON)
    return b"\x01" + packing.compress(content) + packing.flush()


def packed(labels: bytes, n: int, columns: bytes) -> bytes:
    return hostile(len(labels).to_bytes(4, "little") + n.to_bytes(4, "little") + labels + columns)


def risks(*values: float) -> bytes:
    return np.array(values, "<f4").view(np.uint8).reshape(-1, 4).T.tobytes()


NAMES = b'[["Safe", "Unsafe", "Controversial"], ["x"]]'


@pytest.mark.parametrize(
    "data",
    [
        hostile(b""), hostile(b"\xff" * 8), packed(b"[" * 60_000, 0, b""), packed(b"null", 0, b""),
        packed(b'[["Safe"], ["x"]]', 0, b""), packed(b'[["Safe", "Unsafe", "Controversial"], []]', 0, b""),
        packed(b'["ab", "cd"]', 1, b""), packed(NAMES, 2, bytes(23)), packed(NAMES, 2**32 - 1, b""),
        packed(NAMES, 1, bytes(14) + b"\xff" * 4 + bytes(5)), packed(NAMES, 1, risks(float("nan"), 0, 0) + bytes(11)),
        packed(NAMES, 1, risks(2, 0, 0) + bytes(11)), packed(NAMES, 1, risks(-0.1, 0, 0) + bytes(11)),
        hostile(bytes(1 << 24)), b"\x01", b"\x02abc", b"",
    ],
)  # fmt: skip
def test_hostile_bytes_are_an_error_and_take_little_memory(data: bytes) -> None:
    """Lengths that lie, labels that are none, numbers that are no probabilities, few bytes that unpack to millions."""
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="positions"):
            Positions.from_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_size_that_is_not_believed_is_not_unpacked() -> None:
    """So many positions are refused before their bytes are looked at; a few fewer are missed."""
    n = MAX_BYTES // 23
    for n_told, message in ((n + 1, "impossible"), (n - 10, "damaged: ValueError")):
        with pytest.raises(RecordError, match=message):
            Positions.from_bytes(packed(NAMES, n_told, bytes(100)))


def test_version_1_stays_readable() -> None:
    """Bytes that were stored by the first release; what the packing knows beforehand is part of the version."""
    stored = bytes.fromhex(STORED)
    positions = Positions.from_bytes(stored)
    assert [positions.verdict(i).risk for i in range(2)] == [RiskLevel.SAFE, RiskLevel.UNSAFE]
    assert [positions.token(i).end for i in range(2)] == [4, 9]
    assert positions.verdict(1).risk_vector == rounded((0.1, 0.7, 0.2))
    assert positions.verdict(1).category == "PII"
    assert positions.token(1).verdict.is_scored
