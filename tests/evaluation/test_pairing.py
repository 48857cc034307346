"""Two judges on the same rows, against hand-computed values and scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from guardrail.actions import Action
from guardrail.evaluation.pairing import mcnemar, pair
from tests.evaluation.judged_rows import judged, judgement, row


@pytest.mark.parametrize(("n_first", "n_second"), [(0, 0), (1, 0), (3, 9), (9, 3), (40, 60), (480, 520)])
def test_mcnemar_of_few_rows_is_the_binomial_test(n_first: int, n_second: int) -> None:
    """Two-sided, against one half."""
    found = mcnemar(n_first, n_second)
    n = n_first + n_second
    assert found.p_value == pytest.approx(binomtest(n_first, n).pvalue if n else 1.0)
    assert found.test == "exact"


def test_mcnemar_of_many_rows_is_the_chi_squared_test() -> None:
    """With the continuity correction, and close to the exact one."""
    found = mcnemar(900, 1000)
    assert found.test == "normal"
    assert found.p_value == pytest.approx(chi2.sf((100 - 1) ** 2 / 1900, 1))
    assert found.p_value == pytest.approx(binomtest(900, 1900).pvalue, rel=0.02)


def test_differences_are_those_of_the_second_less_the_first() -> None:
    """The first finds one of two harmful rows; the second both, and flags one of two safe ones."""
    rows = [row(risk, str(i)) for i, risk in enumerate("uuss")]
    first = judged(rows, [judgement("u"), judgement("s"), judgement("s"), judgement("s")])
    second = judged(rows, [judgement("u"), judgement("u"), judgement("c"), judgement("s")])
    found = pair(first, second, ("a", "b"))
    assert (found.first, found.second, found.n) == ("a", "b", 4)
    assert found.f1_strict.value == pytest.approx(2 * 2 / 5 - 2 * 1 / 3)
    assert found.f1_loose.value == pytest.approx(1 - 2 / 3)
    assert found.auc.value == pytest.approx(1.0 - 0.75)
    assert found.false_positives.value == 0.5
    assert (found.mcnemar.n_first, found.mcnemar.n_second) == (1, 1)
    assert (found.agreement.value, found.same_call.value) == (0.5, 0.5)
    assert found.differing == (("made", "1"), ("made", "2"))


def test_rows_that_are_only_treated_differently_differ_too() -> None:
    """Two policies on the same verdicts: one level, two actions."""
    rows, said = [row("s", "a"), row("s", "b")], [judgement("c"), judgement("c")]
    first, second = judged(rows, said), judged(rows, [said[0], replace(said[1], action=Action.ALLOW)])
    found = pair(first, second, ("a", "b"))
    assert (found.agreement.value, found.same_action.value) == (1.0, 0.5)
    assert found.differing == (("made", "b"),)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    """Two judges that differ on few rows: the interval of the difference is much narrower than that of either."""
    rng = np.random.default_rng(6)
    rows = [row("u" if i % 2 else "s", str(i)) for i in range(300)]
    calls = ["u" if rng.random() < 0.7 == (i % 2) or rng.random() < 0.5 else "s" for i in range(300)]
    others = ["s" if i % 40 == 1 else level for i, level in enumerate(calls)]
    first, second = (judged(rows, [judgement(one) for one in some]) for some in (calls, others))
    found, same = pair(first, second, ("a", "b")).f1_strict, pair(first, first, ("a", "a"))
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < 0.06
    assert (same.f1_strict.low, same.f1_strict.high, same.mcnemar.p_value, same.differing) == (0.0, 0.0, 1.0, ())


def test_without_one_class_there_is_no_difference_in_auc() -> None:
    """And none in false positives."""
    rows = [row("u", "a"), row("u", "b")]
    found = pair(judged(rows, [judgement("u"), judgement("s")]), judged(rows, [judgement("u")] * 2), ("a", "b"))
    assert (found.auc.value, found.false_positives.value) == (None, None)
    assert found.f1_strict.value == pytest.approx(1 - 2 / 3)


def test_no_false_positive_of_either_judge_still_leaves_doubt() -> None:
    """Twenty harmless rows that both pass prove no equality: the interval has a width."""
    rows = [row("s", str(i)) for i in range(20)]
    passed = judged(rows, [judgement("s")] * 20)
    found = pair(passed, passed, ("a", "b")).false_positives
    assert (found.value, found.n) == (0, 20)
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.1 < 0.1 < found.high
