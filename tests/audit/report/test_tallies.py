"""What is kept where there are more names than room."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.audit.report.tallies import MAX_NAME_CHARS, ConversationTally, Leading, bounded, non_safe_probability
from guardrail.taxonomy import RiskLevel
from tests.audit.report.made import BARE

CAPACITY = 4
STOP = BARE.model_copy(update={"action": Action.STOP, "would_action": Action.STOP, "risk": RiskLevel.UNSAFE})
decisions = st.lists(st.tuples(st.integers(0, 30).map(str), st.booleans()), max_size=150)


def leading(of: list[tuple[str, bool]]) -> Leading[ConversationTally]:
    """Return the conversations of decisions: a name, and whether it was a stop."""
    made = Leading(CAPACITY, ConversationTally)
    for name, is_stop in of:
        made.add((name,), STOP if is_stop else BARE, None)
    return made


@given(decisions)
def test_no_decision_is_lost_whatever_is_dropped(of: list[tuple[str, bool]]) -> None:
    """The rows and the rest add up to all; the rows are few."""
    made = leading(of)
    assert len(made) <= 2 * CAPACITY
    assert sum(tally.n for _, tally in made.items()) + made.rest.n == len(of)
    assert sum(tally.n_stops for _, tally in made.items()) + made.rest.n_stops == sum(stop for _, stop in of)


@given(decisions, decisions)
def test_stops_are_too_low_by_at_most_the_stated_error(
    some: list[tuple[str, bool]], others: list[tuple[str, bool]]
) -> None:
    """Of every name, kept or dropped, also after merging; and never too high."""
    made = leading(some)
    made.merge(leading(others))
    true = Counter(name for name, is_stop in some + others if is_stop)
    shown = {key[0]: tally.n_stops for key, tally in made.items()}
    for name, n_stops in true.items():
        assert 0 <= n_stops - shown.get(name, 0) <= made.stops_error


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60))
def test_few_names_are_counted_exactly(of: list[tuple[str, bool]]) -> None:
    """Nothing is dropped; the ones with the most stops come first."""
    made = leading(of)
    assert (made.n_dropped, made.stops_error) == (0, 0)
    true = Counter(name for name, is_stop in of if is_stop)
    ranked = [(tally.n_stops, key[0]) for key, tally in made.ranked()]
    assert [n for n, _ in ranked] == sorted((true[name] for name in {name for name, _ in of}), reverse=True)
    assert all(true[name] == n for n, name in ranked)


def test_the_worst_category_is_that_of_the_hardest_and_riskiest_decision() -> None:
    """Not of the last one, nor of the most probable one that was let go."""
    flagged = {"action": Action.FLAG, "would_action": Action.FLAG, "risk": RiskLevel.CONTROVERSIAL, "category": "PII"}
    sure = {"risk_probabilities": {"Safe": 0.01, "Unsafe": 0.0, "Controversial": 0.99}}
    tally = ConversationTally()
    for changes in ({**flagged, **sure}, {**STOP.model_dump(), "category": "Violent"}, flagged):
        tally.add(BARE.model_copy(update={**changes, "failure": None}), None)
    assert tally.category == "Violent"
    assert tally.peak == 0.99
    assert tally.n_risky == 1


def test_what_was_not_measured_is_no_probability() -> None:
    """A label that stands in for a probability raises no peak."""
    assert non_safe_probability(STOP.model_copy(update={"is_scored": False})) is None
    assert non_safe_probability(STOP.model_copy(update={"risk_probabilities": None})) is None
    assert non_safe_probability(STOP.model_copy(update={"risk_probabilities": {"Safe": 0.25}})) == 0.75


def test_a_very_long_name_is_kept_in_part() -> None:
    """Memory does not depend on how long names are."""
    assert bounded("a" * MAX_NAME_CHARS) == "a" * MAX_NAME_CHARS
    assert len(bounded("a" * 10_000)) == MAX_NAME_CHARS
