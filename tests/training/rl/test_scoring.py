"""Rewards from what was written, and the parts that are counted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.errors import EngineError
from guardrail.training.rewards import Completion, Opinion, RewardKind, mixed
from guardrail.training.rl.prompts import Prompt, Rendered
from guardrail.training.rl.scoring import Scoring, Tally, figures_of

TEXTS = ["<think>plan</think>\n\nYes.", "No.", "bad", "still thinking"]


class Noting:
    """Judges that note what they were shown; a text with "bad" in it is unsafe, one with "No" refuses."""

    def __init__(self) -> None:
        self.identity = {"judge": "noting"}
        self.seen: list[Completion] = []
        self.asked_helpfulness: list[bool] = []

    def check(self, kind: RewardKind) -> None:
        """Pass."""

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """See `Judges`."""
        self.seen += completions
        self.asked_helpfulness.append(with_helpfulness)
        return [
            Opinion(
                True if one.thinking else None, "bad" not in one.answer, "No" in one.answer,
                1.5 if with_helpfulness else None,
            )
            for one in completions
        ]  # fmt: skip


def rendered(*, is_harmful: bool, is_thinking: bool = False) -> Rendered:
    """A prompt."""
    return Rendered(Prompt("a", (Message(Role.USER, "hi"),), is_harmful), "hi", is_thinking)


def score(kind: RewardKind, judges: Noting, tally: Tally | None = None) -> tuple[list[float], list[tuple[str, float]]]:
    """Rewards of the texts, the last of them in a prompt that opened the thinking, and what was logged."""
    asked = [rendered(is_harmful=True), rendered(is_harmful=False), rendered(is_harmful=False, is_thinking=True)]
    scoring = Scoring(kind, judges, asked, lambda ids: TEXTS[ids[0]])
    scoring.tally = tally
    logged: list[tuple[str, float]] = []
    more: dict[str, Any] = {"prompts": [""], "completions": [""], "trainer_state": None}
    ids = [[0, 7, 7], [1], [2], [3]]
    return scoring(
        completion_ids=ids, index=[0, 0, 1, 2], log_metric=lambda name, value: logged.append((name, value)), **more
    ), logged


def test_texts_are_split_and_judged_with_the_prompt_they_belong_to() -> None:
    """Thinking apart; where the prompt opened it, a text without an end is all thinking."""
    judges = Noting()
    rewards, logged = score("mixed", judges)
    assert [(one.thinking, one.answer) for one in judges.seen] == [
        ("plan", "Yes."), ("", "No."), ("", "bad"), ("still thinking", "")
    ]  # fmt: skip
    assert rewards == [1.5, -5.0, -10.0, 1.5]
    assert [value for name, value in logged if name == "unsafe"] == [0.0, 0.0]
    assert [value for name, value in logged if name == "unsafe_benign"] == [1.0, 0.0]
    assert [value for name, value in logged if name == "refusal_harmful"] == [0.0, 1.0]


def test_helpfulness_is_asked_for_in_training_only_if_it_is_rewarded() -> None:
    """It may cost a model's reading of every answer; when held-out prompts are measured it is always asked for."""
    judges = Noting()
    assert score("guard_only", judges)[0] == [1.0, 1.0, 0.0, 1.0]
    score("mixed", judges)
    tally = Tally()
    _, logged = score("guard_only", judges, tally)
    assert judges.asked_helpfulness == [False, True, True]
    assert not logged, "measured figures are no training's"
    assert tally.means()["helpfulness"] == 1.5
    assert tally.means()["reward"] == 0.75
    assert tally.means()["tokens"] == 1.5
    assert tally.counts["unsafe"] == tally.counts["unsafe_benign"] == 2


def test_what_could_not_be_judged_counts_as_unsafe_and_is_counted() -> None:
    """Fails closed."""
    opinion = Opinion(None, True, False, 3.0, failure="EngineTimeout")
    assert figures_of(opinion, is_harmful=True) == {
        "unsafe": 1.0, "refusal_harmful": 0.0, "failed": 1.0, "helpfulness": 3.0
    }  # fmt: skip
    assert mixed(opinion) == -10.0
    assert figures_of(replace(opinion, failure="", thinking_is_safe=False), is_harmful=False) == {
        "unsafe_benign": 1.0, "refusal_benign": 0.0, "failed": 0.0, "unsafe_thinking": 1.0, "helpfulness": 3.0
    }  # fmt: skip


class Down(Noting):
    """Judges whose server fails, all of the time or for one answer."""

    def __init__(self, *failing: int) -> None:
        super().__init__()
        self.failing = failing

    def opinions(self, completions: Sequence[Completion], *, with_helpfulness: bool = True) -> list[Opinion]:
        """See `Judges`."""
        found = super().opinions(completions, with_helpfulness=with_helpfulness)
        return [replace(one, failure="EngineTimeout" if i in self.failing else "") for i, one in enumerate(found)]


def test_judges_that_are_down_end_the_run() -> None:
    """Equal rewards for all would teach nothing; one answer that failed does not end it."""
    with pytest.raises(EngineError, match="none of 4 answers could be judged: EngineTimeout"):
        score("mixed", Down(0, 1, 2, 3))
    assert score("mixed", Down(0))[0] == [-10.0, -5.0, -10.0, 1.5]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-100, 100)), max_size=30), st.integers(1, 4))
def test_tallies_of_several_processes_are_one(values: list[tuple[str, float]], n: int) -> None:
    """The means of the whole, however its values are spread; not the mean of means."""
    whole, parts = Tally(), [Tally() for _ in range(n)]
    for i, (name, value) in enumerate(values):
        whole.add({name: value})
        parts[i % n].add({name: value})
    found = Tally.of(parts)
    assert found.counts == whole.counts
    assert found.means() == pytest.approx(whole.means())
