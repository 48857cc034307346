from typing import Any

import numpy as np
import pytest

from guardrail.training.annotate.ballots import NONE
from guardrail.training.annotate.settings import AGGREGATES
from guardrail.training.annotate.weighing import crossed_shares
from tests.training.annotate.panel import ballots_of, drawn_votes, weighed


def test_prompts_and_answers_are_weighed_apart() -> None:
    """An annotator that is right of prompts and wrong of answers is read the other way round there."""
    votes, people = drawn_votes(1200, [1.0, 0.5, 0.5], shares=(0.5, 0, 0.5))
    votes[600:, 0] = 2 - people[600:]
    found = ballots_of(votes, people, np.arange(1200) % 2)
    found.is_response[600:] = True
    assert np.mean(weighed(found, "calibrated").levels == people) > 0.99
    found.is_response[:] = False
    assert np.mean(weighed(found, "calibrated").levels == people) < 0.9


def test_few_labels_of_one_kind_borrow_from_the_other() -> None:
    """Where people labelled fewer answers than `min_human_rows`, prompts teach too."""
    votes, people = drawn_votes(400, [0.95, 0.3, 0.3])
    found = ballots_of(votes, [*people[:300], *[NONE] * 100], [0] * 400)
    found.is_response[300:] = True
    labels = weighed(found, "calibrated")
    assert labels.weighings["answers"].n_people == 300
    assert np.mean(labels.levels[300:] == people[300:]) > 0.9


@pytest.mark.parametrize("aggregate", ["weighted", "calibrated", "stacked"])
def test_weights_are_tuned_on_shares_that_a_family_did_not_teach(aggregate: Any) -> None:
    """Another label of a family changes the shares of other families, never its own."""
    votes, people = drawn_votes(60, [0.8, 0.6, 0.5])
    families = np.arange(60, dtype=np.int32) // 3
    others = families != 4
    before = crossed_shares(aggregate, votes, people, families, 1.0)
    people[~others] = 2 - people[~others]
    after = crossed_shares(aggregate, votes, people, families, 1.0)
    assert (before[~others] == after[~others]).all()
    assert (before[others] != after[others]).any()


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_million_votes_are_a_matter_of_seconds(aggregate: Any) -> None:
    """300,000 rows, all by small arrays; the test's own time limit is what would break."""
    votes, truth = drawn_votes(300_000, [0.9, 0.8, 0.7])
    people = np.where(np.arange(300_000) < 1000, truth, NONE)
    found = weighed(ballots_of(votes, people, np.arange(300_000) % 2), aggregate)
    assert np.mean(found.levels == truth) > 0.85
    assert found.levels.nbytes + found.confidence.nbytes == 300_000 * 5
