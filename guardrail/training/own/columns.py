"""A row of a table to rows of the data schema.

The columns are `text`, or `prompt` and `response`; `label`, `category`; and optional ones. A `text` breaks the policy
whoever writes it: it is judged as a prompt and as an answer. A `prompt` alone is judged as a prompt; with a `response`,
the response is judged.
"""

from collections.abc import Mapping
from math import isnan
from typing import Any

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.evaluation.rows import Row
from guardrail.stop_texts import STOP_TEXTS
from guardrail.taxonomy import REFUSALS, RiskLevel, category_name
from guardrail.training.own.problems import BadRow

TEXTS = ("text", "prompt", "response")
LABELS = ("label", "risk")
OPTIONAL = ("category", "id", "lang", "refusal", "unsafe_start_char")
COLUMNS = (*TEXTS, *LABELS, *OPTIONAL)
"""What is read; other columns are passed over."""

MOST_CATEGORY_CHARS = 60
"""Longest name of a category: it stands in every record, table and policy. Our choice."""

_RISKS = {level.value.lower(): level for level in RiskLevel}
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_RESERVED = {*STOP_TEXTS, *REFUSALS}
"""Names that mean something else: keys of a policy's messages, and what a generative model says besides."""


def rows_of(values: Mapping[str, Any], line: int, source: str) -> list[Row]:
    """Return the rows that a table's row stands for, one or two.

    Args:
        values: by column name, in lower case.
        line: its number, for ids.
        source: name of the file.

    Raises:
        BadRow: it cannot be used.
    """
    cells = {name: _text(values.get(name)) for name in COLUMNS}
    risk = _risk(cells["label"] or cells["risk"])
    categories = () if risk is RiskLevel.SAFE else categories_of(cells["category"])
    made = []
    for number, (target, messages) in enumerate(_conversations(cells)):
        id_ = (cells["id"].strip() or f"line {line}") + (" (as an answer)" if number else "")
        is_answer = target is Direction.RESPONSE
        refusal, start = (_refusal(cells["refusal"]), _start(cells["unsafe_start_char"])) if is_answer else (None, None)
        if start is not None and start > len(messages[-1].content):
            raise BadRow("unsafe_start_char lies behind the end of the text", "count characters from 0")
        made.append(
            Row(id_, source, cells["lang"].strip() or "und", messages, target, risk, categories, refusal,
                None if risk is RiskLevel.SAFE else start, {"line": line})
        )  # fmt: skip
    return made


def categories_of(cell: str) -> tuple[str, ...]:
    """Return the names of the categories in a cell, several of them separated by semicolons.

    Raises:
        BadRow: a name cannot be a category's.
    """
    return tuple(dict.fromkeys(check_category(" ".join(name.split())) for name in cell.split(";") if name.strip()))


def check_category(spelling: str) -> str:
    """Return the name of a category: the published one for its other spellings, else the name as it is.

    Raises:
        BadRow: no category can have this name.
    """
    if not spelling.strip():
        raise BadRow("a category without a name", "name it, or leave it out")
    if len(spelling) > MOST_CATEGORY_CHARS or not spelling.isprintable():
        raise BadRow(
            f"the category's name has {len(spelling)} characters, or some that cannot be printed",
            f"at most {MOST_CATEGORY_CHARS} plain characters; several names are separated by semicolons",
        )
    if spelling in _RESERVED or spelling.lower() in ("none", "safe"):
        raise BadRow(f"no category can be called {spelling!r}", "rename it; harmless rows have none")
    return category_name(spelling)


def _conversations(cells: Mapping[str, str]) -> list[tuple[Direction, tuple[Message, ...]]]:
    text, prompt, response = (cells[name] for name in TEXTS)
    if text.strip() and (prompt.strip() or response.strip()):
        raise BadRow("has a text and a prompt or response", "use either text, or prompt and response")
    if text.strip():
        return [
            (Direction.PROMPT, (Message(Role.USER, text),)), (Direction.RESPONSE, (Message(Role.ASSISTANT, text),))
        ]  # fmt: skip
    asked = (Message(Role.USER, prompt),) if prompt.strip() else ()
    if response.strip():
        return [(Direction.RESPONSE, (*asked, Message(Role.ASSISTANT, response)))]
    if not asked:
        raise BadRow("has no text", "fill in text, or prompt, or prompt and response")
    return [(Direction.PROMPT, asked)]


def _risk(cell: str) -> RiskLevel:
    found = _RISKS.get(cell.strip().lower())
    if found is None:
        what = "has no label" if not cell.strip() else "its label is none of the three"
        raise BadRow(what, f"write {', '.join(_RISKS)}")
    return found


def _refusal(cell: str) -> bool | None:
    if not cell.strip():
        return None
    if (found := _TRUTH.get(cell.strip().lower())) is None:
        raise BadRow("its refusal is neither yes nor no", "write yes, no or nothing")
    return found


def _start(cell: str) -> int | None:
    if not cell.strip():
        return None
    if not (cell.strip().isascii() and cell.strip().isdigit()):
        raise BadRow("unsafe_start_char is no number", "the place of the first risky character, counted from 0")
    return int(cell)


def _text(value: Any) -> str:
    """Return a cell as text; Parquet and JSON hold numbers and truth values too."""
    if isinstance(value, list | tuple):
        return ";".join(map(_text, value))
    if isinstance(value, float):  # a column of whole numbers with gaps, as pandas writes it
        return "" if isnan(value) else f"{value:.15g}"
    return "" if value is None else str(value)
