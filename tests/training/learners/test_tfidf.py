"""The n-gram learner: more weight for Safe makes borderline rows Safe, and the same rows give the same panel."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from guardrail.conversation import Message, Role
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.learners.learning import LEVELS, Lesson, Levels, Variant, open_learner
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.learners.tfidf import TfidfLearner, TfidfPanel
from guardrail.training.recipe.rows import RecipeRow
from tests.training.learners.toy import people_say, toy_row, toy_rows

BINARY = (RiskLevel.SAFE, RiskLevel.UNSAFE)


def variant(safe: float = 1.0, unsafe: float = 1.0, kept: float = 1.0) -> Variant:
    """Weights of the two levels."""
    shares = {RiskLevel.SAFE: kept, RiskLevel.UNSAFE: kept}
    return Variant(f"{safe}-{kept}", {RiskLevel.SAFE: safe, RiskLevel.UNSAFE: unsafe}, shares, "salt")


def panel_of(
    rows: Sequence[RecipeRow], variants: Sequence[Variant], levels: Levels = BINARY, max_chars: int = 2000
) -> TfidfPanel:
    """Teach the labels of rows."""
    learner = TfidfLearner(LearnerSettings(max_chars=max_chars))
    return learner.learn("toy", (Lesson(row, row.risk) for row in rows if row.risk), levels, variants)


def test_doubling_safe_makes_borderline_rows_safe() -> None:
    """The erratum of the reference's report: the Safe-enriched classifier is the loose one."""
    borderline = [toy_row(i, RiskLevel.CONTROVERSIAL) for i in range(1000, 1060)]
    panel = panel_of(toy_rows(600), [variant(), variant(safe=2), variant(unsafe=2)])
    even, loose, strict = (panel.probabilities(borderline)[..., 1] >= 0.5).mean(1)
    assert loose < even < strict
    assert strict - loose > 0.2


def test_clear_rows_stay_what_they_are() -> None:
    """The weights move borderline rows, not the others."""
    clear = [toy_row(i, kind) for i in range(1000, 1030) for kind in BINARY]
    found = panel_of(toy_rows(300), [variant(safe=2), variant(unsafe=2)]).probabilities(clear)
    assert (found.argmax(2) == [0, 1] * 30).all()


def test_probabilities_are_one_vector_a_row_and_variant() -> None:
    """Float32, summing to 1, also with three levels."""
    rows = [people_say(row) for row in toy_rows(90)]
    three = Variant("three", dict.fromkeys(LEVELS, 1.0), dict.fromkeys(LEVELS, 1.0))
    found = panel_of(rows, [three], LEVELS).probabilities(rows)
    assert found.shape == (1, 90, 3)
    assert found.dtype == np.float32
    assert found.sum(2) == pytest.approx(1)
    assert (found[0].argmax(1) == [0, 1, 2] * 30).all()


def test_the_same_rows_give_the_same_panel() -> None:
    """To the bit: what the stage hands on is a function of its rows."""
    rows, asked = toy_rows(200), toy_rows(50, seed=1)
    one, two = (panel_of(rows, [variant(safe=2), variant(kept=0.5)]).probabilities(asked) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_a_variant_that_leaves_rows_out_learns_from_the_rest_alone() -> None:
    """As if the others had never been there."""
    rows, asked = toy_rows(200), toy_rows(50, seed=1)
    drawn = variant(kept=0.5)
    seen = [row for row in rows if row.risk and drawn.sees(Lesson(row, row.risk))]
    assert 60 < len(seen) < 140
    half = panel_of(rows, [drawn]).probabilities(asked)
    alone = panel_of(seen, [variant()]).probabilities(asked)
    assert (half.argmax(2) == alone.argmax(2)).mean() > 0.9
    assert np.abs(half - panel_of(rows, [variant()]).probabilities(asked)).max() > 0.02


def test_a_long_text_is_read_from_both_ends() -> None:
    """Its middle is left out."""

    def asked(text: str) -> RecipeRow:
        row = toy_row(0, RiskLevel.SAFE)
        return RecipeRow(row.id, row.root, row.source, "en", (Message(Role.USER, text),), row.target, row.risk)

    panel = panel_of(toy_rows(300), [variant()], max_chars=40)
    filler = "the of and " * 20
    found = panel.probabilities([asked(f"{filler} bomb"), asked(f"bomb {filler}"), asked(f"{filler} bomb {filler}")])[
        0, :, 1
    ]
    assert min(found[:2]) > 0.5
    assert found[2] == pytest.approx(panel.probabilities([asked(filler)])[0, 0, 1], abs=0.02)


@pytest.mark.parametrize("texts", [("", ""), ("one", "two")])
def test_texts_that_share_nothing_are_refused(texts: tuple[str, str]) -> None:
    """With what to do about it, and without the texts."""
    rows = [
        replace(toy_row(i, level), messages=(Message(Role.USER, text),))
        for i, (level, text) in enumerate(zip(BINARY, texts, strict=True))
    ]
    with pytest.raises(ConfigurationError, match="toy: no word occurs in two of the 2 texts"):
        panel_of(rows, [variant()])


def test_the_solver_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On many, its short vectors cost several times the time, and sum up otherwise on another machine."""
    n_threads: list[int] = []
    fit = LogisticRegression.fit

    def spied(self: object, *arguments: object, **named: object) -> object:
        n_threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return fit(self, *arguments, **named)

    monkeypatch.setattr(LogisticRegression, "fit", spied)
    with threadpool_limits(2, "blas"):
        panel_of(toy_rows(60), [variant()])
    assert set(n_threads) == {1}


def test_the_default_learner_is_this_one(tmp_path: object) -> None:
    """It needs neither a checkpoint nor the disk."""
    assert isinstance(open_learner(LearnerSettings(), tmp_path, 1), TfidfLearner)  # type: ignore[arg-type]  # unused
