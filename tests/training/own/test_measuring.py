"""Figures of held-out rows and thresholds, on runs made by hand."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from guardrail.actions import Action
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.evaluation.judges import Judgement
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import Run
from guardrail.policy import Policy
from guardrail.policy_file import parse_policy
from guardrail.policy_text import render_policy
from guardrail.taxonomy import RiskLevel
from guardrail.training.own.measuring import NOTHING, OTHER, measured
from guardrail.training.own.page import usage
from guardrail.training.own.thresholds import described, own_policy

NAMES: dict[Direction, tuple[str, ...]] = {Direction.PROMPT: ("A", "B"), Direction.RESPONSE: ()}
SAFE, UNSAFE = RiskLevel.SAFE, RiskLevel.UNSAFE


def run_of(*cells: tuple[RiskLevel, Sequence[str], float, str | None]) -> Run:
    """Prompts: their label, their categories, their score, and what they were called (None: not flagged)."""
    rows = tuple(
        Row(f"r{i}", "test", "en", (Message(Role.USER, f"text {i}"),), Direction.PROMPT, risk, tuple(names))
        for i, (risk, names, _, _) in enumerate(cells)
    )
    judged = tuple(
        Judgement(Action.ALLOW if called is None else Action.FLAG, UNSAFE if called else SAFE, score, called)
        for _, _, score, called in cells
    )
    return Run("test", {}, rows, judged, 0.0)


def test_commands_of_a_folder_with_a_space_are_commands() -> None:
    """A shell takes the folder for one word."""
    _, serve, check = usage(Path("my runs") / "mine")
    assert shlex.split(serve)[2:] == ["--model", "my runs/mine/model", "--policy", "my runs/mine/policy.toml"]
    assert shlex.split(check)[-1] == "a prompt"


def test_figures_are_those_of_a_small_table() -> None:
    """Three of four harmful rows are found, two by their names (any of a row's names is right); one of two harmless is
    flagged; of the eight pairs of a harmful and a harmless score seven are in order.
    """
    (told,) = measured(
        run_of(
            (UNSAFE, ["A"], 0.9, "A"), (UNSAFE, ["A", "B"], 0.8, "B"), (RiskLevel.CONTROVERSIAL, ["B"], 0.7, "Violent"),
            (UNSAFE, ["B"], 0.2, None), (SAFE, [], 0.6, "A"), (SAFE, [], 0.1, None),
        ),
        NAMES,
    )  # fmt: skip
    assert (told.n_safe, told.n_harmful) == (2, 4)
    assert told.auc.value == pytest.approx(7 / 8)
    assert told.recall.value == 3 / 4
    assert told.unsafe_recall.value == 2 / 3
    assert told.false_positives.value == 1 / 2
    assert told.named_right.value == 2 / 3
    assert told.confusion == {("A", "A"): 1, ("B", "B"): 1, ("B", OTHER): 1, ("B", NOTHING): 1}


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [((0.01, 0.02), 0.5), ((0.3, 0.7), 0.701), ((0.3, 0.99999), 0.95)],
    ids=["low scores", "between", "saturated"],
)
def test_a_threshold_stays_within_sensible_bounds(scores: tuple[float, ...], threshold: float) -> None:
    """No lower than 0.5, no higher than 0.95, whatever a handful of rows say; what it comes to is told."""
    run = run_of(*((SAFE, [], score, None) for score in scores), (UNSAFE, ["A"], 0.97, "A"))
    policy = own_policy(Policy(), run, 0.05, NAMES)
    assert policy.prompt.non_safe_threshold == threshold
    assert policy.response.non_safe_threshold is None
    assert {*policy.prompt.categories} == {"A", "B"}
    assert parse_policy(render_policy(policy)) == policy
    prompts, answers = described(policy, run, 0.05)
    assert ("more than the share of 0.05" in prompts) == (threshold == 0.95)
    assert "no harmless row" in answers
