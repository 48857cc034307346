"""Means over data sets, by hand."""

import numpy as np
import pytest

from guardrail.evaluation.averages import SourceDraws, macro
from guardrail.evaluation.metrics import RESAMPLES, Drawn
from guardrail.evaluation.report import section
from tests.evaluation.judged_rows import judged, judgement, row


def drawn(value: float | None, n: int = 10) -> Drawn:
    """A figure without spread."""
    return Drawn(value, np.full(RESAMPLES, np.nan if value is None else value), n)


def test_the_oracle_takes_the_better_mode_of_each_set() -> None:
    """As the published report does: neither mode alone reaches it."""
    sets = [
        SourceDraws(drawn(0.6), drawn(0.8), drawn(0.9), drawn(0.1)),
        SourceDraws(drawn(0.7), drawn(0.3), drawn(0.7), drawn(0.3)),
    ]
    found = macro(sets)
    assert found.f1_strict.value == pytest.approx(0.65)
    assert found.f1_loose.value == pytest.approx(0.55)
    assert found.f1_best_mode_oracle.value == pytest.approx(0.75)
    assert found.auc.value == pytest.approx(0.8)
    assert found.false_positives.value == pytest.approx(0.2)


def test_sets_without_a_figure_are_left_out_and_counted() -> None:
    """A set of harmful rows has no AUC, one of safe rows no F1; one without Unsafe rows has the strict F1 only."""
    sets = [
        SourceDraws(drawn(0.5), drawn(0.4), drawn(None), drawn(None)),
        SourceDraws(drawn(None), drawn(None), drawn(None), drawn(0.2)),
        SourceDraws(drawn(0.9), drawn(None), drawn(0.8), drawn(0.4)),
    ]
    found = macro(sets)
    assert (found.n_f1_sources, found.n_auc_sources, found.n_false_positive_sources) == (2, 1, 2)
    assert found.f1_best_mode_oracle.value == pytest.approx(0.7)
    assert found.auc.value == 0.8


def test_macro_counts_sets_alike_and_micro_rows() -> None:
    """90 rows of one set all found, 10 of another all missed: 1 / 2 of the sets, F1 0.947 of the rows."""
    rows = [row("u", f"a{i}", source="large") for i in range(90)] + [
        row("u", f"b{i}", source="small") for i in range(10)
    ]
    found = section(judged(rows, [judgement("u")] * 90 + [judgement("s")] * 10))
    assert found.macro.f1_strict.value == 0.5
    assert found.overall.strict.f1.value == pytest.approx(2 * 90 / (2 * 90 + 10))
    assert found.macro.n_auc_sources == 0
