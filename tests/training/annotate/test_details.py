import itertools

import pytest

from guardrail.taxonomy import RiskLevel
from guardrail.training.annotate.details import category_of, refusal_of
from guardrail.training.annotate.labelling import beside_people, disagreement
from guardrail.training.annotate.voting import Vote
from tests.training.annotate.panel import CONTROVERSIAL, SAFE, UNSAFE, prompt


def vote(risk: RiskLevel, *categories: str, refusal: bool | None = None) -> Vote:
    """Return a vote."""
    return Vote(risk=risk.value, categories=list(categories), refusal=refusal)


@pytest.mark.parametrize(
    ("votes", "risk", "expected"),
    [
        ([vote(UNSAFE, "PII"), vote(UNSAFE, "Violent"), vote(UNSAFE, "PII")], UNSAFE, ("PII",)),
        ([vote(UNSAFE, "PII"), vote(CONTROVERSIAL, "Violent"), vote(CONTROVERSIAL, "Violent")], UNSAFE, ("PII",)),
        ([vote(UNSAFE, "Violent", "PII"), vote(UNSAFE, "PII")], UNSAFE, ("PII",)),
        ([vote(UNSAFE, "PII"), vote(UNSAFE, "Violent"), None], UNSAFE, ("Violent",)),
        ([vote(UNSAFE, "PII"), vote(SAFE)], SAFE, ()),
        ([vote(UNSAFE, "PII"), vote(SAFE), None], CONTROVERSIAL, ("PII",)),
        ([vote(SAFE), vote(SAFE)], UNSAFE, ()),
    ],
    ids=[
        "mode",
        "only who agrees",
        "named more often",
        "taxonomy's order",
        "safe",
        "nobody agrees",
        "nobody names one",
    ],
)
def test_category_is_what_most_say_who_agree(votes: list[Vote | None], risk: RiskLevel, expected: tuple[str]) -> None:
    """In whatever order they are asked."""
    for order in itertools.permutations(votes):
        assert category_of(order, risk) == expected


@pytest.mark.parametrize(
    ("refusals", "expected"),
    [([True, True, False], True), ([False, None, None], False), ([True, False], None), ([None, None], None)],
)
def test_refusal_is_what_most_say(refusals: list[bool | None], expected: bool | None) -> None:
    """A tie says nothing."""
    assert refusal_of([vote(SAFE, refusal=one) for one in refusals], SAFE) is expected


def test_a_tie_of_those_who_agree_is_broken_by_the_others() -> None:
    """The panel's vote on refusal is wider than its vote on the level."""
    votes = [vote(SAFE, refusal=True), vote(SAFE, refusal=False), vote(UNSAFE, "PII", refusal=False)]
    assert refusal_of(votes, SAFE) is False


def test_disagreement_is_the_share_of_votes_against_the_label() -> None:
    """A missing vote is no vote against."""
    votes = [vote(SAFE), vote(UNSAFE, "PII"), None, vote(SAFE), vote(SAFE)]
    assert disagreement(votes, SAFE) == 0.25
    assert disagreement(votes, UNSAFE) == 0.75
    assert disagreement(votes, None) is None
    assert disagreement([None], SAFE) is None


@pytest.mark.parametrize(
    ("votes", "level", "expected"),
    [
        ([vote(UNSAFE, "PII")] * 2, UNSAFE, ["category: as people say"]),
        ([vote(UNSAFE, "Violent")] * 2, UNSAFE, ["category: not as people say"]),
        ([vote(SAFE)] * 2, UNSAFE, ["category: not as people say"]),
        ([vote(SAFE)] * 2, SAFE, []),
    ],
    ids=["the same", "another", "none at all", "called safe"],
)
def test_a_panel_that_names_no_category_does_not_say_what_people_say(
    votes: list[Vote | None], level: RiskLevel, expected: list[str]
) -> None:
    """An empty answer agrees with nobody; where the panel calls the text safe, there is nothing to compare."""
    row = prompt(1, risk=UNSAFE, categories=("PII", "Copyright Violation"), is_human=True)
    assert list(beside_people(row, votes, level)) == expected
