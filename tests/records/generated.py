"""Random decisions with everything that records must bear: odd texts, huge numbers, vectors, failures."""

from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.decision import Decision, Direction, Failure, Identity, Reason
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, LabelSet, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict, rounded
from tests.strategies import texts

odd_texts = texts(4) | st.sampled_from(["\x00", "a\x00b", "\ud800", "\udfff\ud83d\ude00", "\\u0000", "'; --", "\u2028"])
"""Lone surrogates, NUL, emoji, control strings."""

_counts = st.integers(0, 10**6) | st.sampled_from([0, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30])
_moments = st.floats(0, 4e9) | st.sampled_from([0.0, 0.000001, 253402300799.0])
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(["\x00", "é\x00"])


def _vector(n: int) -> st.SearchStrategy[tuple[float, ...]]:
    weights = st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n)
    return weights.map(lambda found: rounded([(w + 1e-3) / (sum(found) + n * 1e-3) for w in found]))


def _labels() -> st.SearchStrategy[LabelSet]:
    # told apart even where NUL became the same as U+FFFD
    categories = st.lists(_names, min_size=1, max_size=3, unique_by=lambda name: name.replace("\x00", "\ufffd"))
    own = st.builds(LabelSet, st.permutations(list(RiskLevel)).map(tuple), categories.map(tuple))
    return st.sampled_from([PROMPT_LABELS, RESPONSE_LABELS]) | own


@st.composite
def verdicts(draw: st.DrawFn, labels: LabelSet | None = None) -> Verdict:
    """Verdicts by any labels, or by those that are given."""
    found = labels or draw(_labels())
    risk, category = draw(_vector(len(found.risks))), draw(_vector(len(found.categories)))
    return Verdict(found, risk, category, draw(st.sampled_from([None, True, False])), draw(st.booleans()))


@st.composite
def _tokens(draw: st.DrawFn) -> tuple[TokenVerdict, ...]:
    labels = draw(_labels())
    found = draw(st.lists(verdicts(labels), max_size=4))
    return tuple(TokenVerdict(verdict, i, 3 * i, 3 * i + 2) for i, verdict in enumerate(found))


_identities = st.builds(Identity, odd_texts, odd_texts, odd_texts, odd_texts, odd_texts, odd_texts)

decisions = st.builds(
    Decision,
    id=st.uuids().map(lambda found: found.hex),
    stream_id=odd_texts,
    conversation_id=st.none() | odd_texts | odd_texts.map(lambda text: text * 1000),
    time=_moments,
    direction=st.sampled_from(Direction),
    action=st.sampled_from(Action),
    would_action=st.sampled_from(Action),
    reason=st.sampled_from(Reason),
    risk=st.none() | st.sampled_from(RiskLevel),
    category=st.none() | odd_texts,
    verdict=st.none() | verdicts(),
    stop_offset=st.none() | _counts,
    released_chars=_counts,
    withheld_chars=_counts,
    leaked_chars=_counts,
    unjudged_chars=_counts,
    n_tokens=_counts,
    n_windows=_counts,
    n_dropped_turns=_counts,
    unreadable=st.lists(odd_texts, max_size=2).map(tuple),
    failure=st.none() | st.builds(Failure, odd_texts, odd_texts),
    identity=_identities,
    latency_ms=st.floats(0, 1e300),
    tokens=_tokens(),
    tool=st.none() | odd_texts,
    n_deltas=_counts,
    saved_tokens=st.none() | _counts,
    n_repairs=_counts,
    n_repair_tokens=_counts,
    tenant=st.none() | odd_texts,
    readings=st.just(()) | st.lists(verdicts(PROMPT_LABELS), max_size=2).map(tuple),
)
"""Decisions, valid by type and otherwise as odd as they come."""
