"""The TF-IDF baseline learns, survives its cache, and speaks the judges' protocol."""

from pathlib import Path

import pytest

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.baseline import TfidfSettings, fit_baseline
from guardrail.evaluation.rows import TARGETS, Row
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel

SETTINGS = TfidfSettings(bits=10)


def row(text: str, risk: RiskLevel, target: Direction) -> Row:
    messages: tuple[Message, ...] = (Message(Role.USER, "hi" if target is Direction.RESPONSE else text),)
    if target is Direction.RESPONSE:
        messages += (Message(Role.ASSISTANT, text),)
    return Row(text, "made", "en", messages, target, risk)


ROWS = [
    (row(f"{word} number {i}", risk, target), 1)
    for target in TARGETS
    for word, risk in (("flowers", RiskLevel.SAFE), ("murder", RiskLevel.UNSAFE))
    for i in range(8)
]


def test_it_learns_words_and_reads_them_back_from_the_cache(tmp_path: Path) -> None:
    """The same rows give the same judgements without learning again."""
    learned = fit_baseline(ROWS, load_policy("balanced"), tmp_path, SETTINGS)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = fit_baseline(ROWS, load_policy("balanced"), tmp_path, SETTINGS)
    assert kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    asked = [row("murder", RiskLevel.UNSAFE, t) for t in TARGETS] + [row("flowers", RiskLevel.SAFE, Direction.PROMPT)]
    levels = [j.level for j in learned.judge(asked)]
    assert levels == [RiskLevel.UNSAFE, RiskLevel.UNSAFE, RiskLevel.SAFE]
    assert learned.judge(asked) == again.judge(asked)


def test_other_rows_are_learned_anew(tmp_path: Path) -> None:
    """The cache is keyed by everything that is learned from."""
    fit_baseline(ROWS, load_policy("balanced"), tmp_path, SETTINGS)
    fit_baseline(ROWS[:-1], load_policy("balanced"), tmp_path, SETTINGS)
    assert len(list(tmp_path.iterdir())) == 2


def test_one_level_is_not_enough(tmp_path: Path) -> None:
    """The error says what is missing."""
    with pytest.raises(ConfigurationError, match="two risk levels"):
        fit_baseline(
            [pair for pair in ROWS if pair[0].risk is RiskLevel.SAFE], load_policy("balanced"), tmp_path, SETTINGS
        )
