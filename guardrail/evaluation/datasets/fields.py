"""Columns of a published entry, read with their type: what does not fit is told by column, never with its text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_Found = TypeVar("_Found")

_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_MOST_COLUMNS = 20


class Fields:
    """The columns of one entry. CSV knows no types, so text that says a number or a truth value is one; an empty cell,
    null and NaN mean that the source does not say.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        """Whether there is such a column, even where it says nothing."""
        return key in self._values

    def text(self, key: str) -> str:
        """Return a text; "" where the column says nothing.

        Raises:
            ValueError: there is no such column, or it is no text.
        """
        value = self._get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ValueError(f"{key}: expected text, got {_type(value)}")
        return value

    def flag(self, key: str) -> bool | None:
        """Return a truth value, written as true, 1 or "True"; None where the column says nothing.

        Raises:
            ValueError: there is no such column, or it is none.
        """
        value = self._get(key)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in {"1.0", "0.0", *_FLAGS}:
            return _FLAGS[value.strip().lower().removesuffix(".0")]
        raise ValueError(f"{key}: expected true, false, 1 or 0, got {_type(value)}")

    def number(self, key: str) -> float | None:
        """Return a number; None where the column says nothing.

        Raises:
            ValueError: there is no such column, or it is none.
        """
        value = self._get(key)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise ValueError(f"{key}: expected a number, got other text") from None
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return None if value is None or not math.isfinite(value) else value
        raise ValueError(f"{key}: expected a number, got {_type(value)}")

    def whole(self, key: str) -> int | None:
        """Return a whole number; None where the column says nothing.

        Raises:
            ValueError: there is no such column, or it is none.
        """
        value = self.number(key)
        if value is None:
            return None
        if value != int(value):
            raise ValueError(f"{key}: expected a whole number")
        return int(value)

    def label(self, key: str, meanings: Mapping[str, _Found]) -> _Found | None:
        """Return what a label means, in any case of letters; None where the column says nothing.

        Raises:
            ValueError: there is no such column, or it holds another word.
        """
        word = self.text(key).strip().lower()
        if not word:
            return None
        if word not in meanings:
            raise ValueError(f"{key}: unknown label; valid: {', '.join(meanings)}")
        return meanings[word]

    def items(self, key: str) -> Sequence[Any]:
        """Return a list; empty where the column says nothing.

        Raises:
            ValueError: there is no such column, or it is none.
        """
        value = self._get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise ValueError(f"{key}: expected a list, got {_type(value)}")
        return value

    def inner(self, key: str) -> "Fields":
        """Return the columns inside a column; none where it says nothing.

        Raises:
            ValueError: there is no such column, or it has none inside.
        """
        value = self._get(key)
        if value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{key}: expected an object, got {_type(value)}")
        return Fields(value or {})

    def kept(self, *keys: str) -> dict[str, Any]:
        """Return these columns as they are, but those that are missing or say nothing."""
        return {key: self._get(key) for key in keys if key in self._values and self._get(key) is not None}

    def names(self) -> list[str]:
        """Return the names of all columns."""
        return list(self._values)

    def _get(self, key: str) -> Any:
        if key not in self._values:
            there = ", ".join(list(map(str, self._values))[:_MOST_COLUMNS])
            raise ValueError(f"no column {key}; there are: {there or 'none'}")
        value = self._values[key]
        if value == "" or (isinstance(value, float) and not math.isfinite(value)):
            return None
        return value


def _type(value: Any) -> str:
    names = {str: "other text", bool: "a truth value", int: "another number", float: "another number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else type(value).__name__)
