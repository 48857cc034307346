"""Columns with a type: what says nothing, what is written as text, and what does not fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.datasets.making import HARM_WORDS

_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just({"a": 1})


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "1.0", "True", "true", " yes "])
def test_a_flag_is_true_in_every_spelling(value: Any) -> None:
    """CSV has text, Parquet may have numbers."""
    assert Fields({"a": value}).flag("a") is True


@pytest.mark.parametrize("value", [None, "", float("nan")])
def test_null_empty_and_nan_say_nothing(value: Any) -> None:
    """No label is no False."""
    fields = Fields({"a": value})
    assert (fields.flag("a"), fields.number("a"), fields.whole("a"), fields.text("a")) == (None, None, None, "")
    assert fields.label("a", HARM_WORDS) is None
    assert (list(fields.items("a")), fields.inner("a").names(), fields.kept("a", "b")) == ([], [], {})


@pytest.mark.parametrize(
    ("method", "value", "says"),
    [
        ("flag", "perhaps", "a: expected true, false, 1 or 0, got other text"),
        ("flag", 2, "a: expected true, false, 1 or 0, got another number"),
        ("text", ["secret"], "a: expected text, got a list"),
        ("text", True, "a: expected text, got a truth value"),
        ("number", "secret", "a: expected a number, got other text"),
        ("number", True, "a: expected a number, got a truth value"),
        ("whole", 1.5, "a: expected a whole number"),
        ("items", "secret", "a: expected a list, got other text"),
        ("inner", "secret", "a: expected an object, got other text"),
        ("text", None, "no column a; there are: b"),
    ],
)
def test_what_does_not_fit_is_told_by_column(method: str, value: Any, says: str) -> None:
    """The text itself stays out."""
    fields = Fields({"b": 1} if value is None else {"a": value})
    with pytest.raises(ValueError, match=says):
        getattr(fields, method)("a")


def test_an_unknown_label_names_the_known_ones() -> None:
    """Their letters may be of any case."""
    assert Fields({"a": " Harmful "}).label("a", HARM_WORDS) is True
    with pytest.raises(ValueError, match="a: unknown label; valid: harmful, unharmful"):
        Fields({"a": "secret"}).label("a", HARM_WORDS)


@given(_VALUES)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """Nothing but ValueError comes out, whatever a file holds."""
    fields, told = Fields({"a": value}), []
    for method in ("text", "flag", "number", "whole", "items", "inner"):
        try:
            getattr(fields, method)("a")
        except ValueError as error:
            told.append(str(error))
    assert all(each.startswith("a: ") for each in told)
