"""Which rows count as independent."""

from typing import Any

import pytest

from guardrail.conversation import Message, Role
from guardrail.evaluation.judged import cluster_key, seed_of
from tests.evaluation.judged_rows import judged, judgement, row

SAME: Any = {"meta": {"cluster": "a"}}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (row(question="How?"), row(question=" how? "), True),
        (row(question="How?"), row(question="Why?"), False),
        (row(question="How?", answer=True), row(question="How?", answer=True), True),
        (row(question="How?"), row(question="How?", source="other"), False),
        (row(question="How?", **SAME), row(question="Why?", **SAME), True),
        (row(question="How?", **SAME), row(question="How?"), False),
        (row(question="c", source="a:b"), row(question="b:c", source="a"), False),
        (row(source="a:b", meta={"cluster": "c"}), row(source="a", meta={"cluster": "b:c"}), False),
    ],
)
def test_rows_with_one_question_or_one_named_cluster_belong_together(one: object, other: object, is_same: bool) -> None:
    """Within a source; spaces and capitals apart."""
    assert (cluster_key(one, 0) == cluster_key(other, 1)) is is_same  # type: ignore[arg-type]  # rows, both


def test_rows_without_a_question_stand_alone() -> None:
    """An answer of which nothing else is known."""
    alone = row(messages=(Message(Role.ASSISTANT, "well"),), answer=True)
    found = judged([alone, alone], [judgement()] * 2)
    assert len(set(found.clusters.tolist())) == 2


def test_all_rows_are_independent_when_asked_for() -> None:
    """Whatever they share."""
    rows = [row(), row()]
    assert len(set(judged(rows, [judgement()] * 2).clusters.tolist())) == 1
    assert len(set(judged(rows, [judgement()] * 2, is_clustered=False).clusters.tolist())) == 2


def test_groups_keep_rows_and_judgements_together() -> None:
    """By language, in order of names; sources are drawn from different seeds."""
    rows = [row("u", "a", lang="en"), row("s", "b", lang="de"), row("c", "c", lang="en")]
    found = judged(rows, [judgement("u"), judgement("s"), judgement("c")]).by_language()
    assert list(found) == ["de", "en"]
    assert found["en"].gold.tolist() == found["en"].level.tolist() == [2, 1]
    assert seed_of("a") != seed_of("b")
