"""Rows of the data schema from outside, labelled or not, as rows of the recipe.

Besides the schema's keys a row may have what parts of a recipe have: `root`, `is_human`, a message's `reasoning`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guardrail.conversation import Message
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import entry_name, parse_row, read_entries
from guardrail.json_text import well_formed
from guardrail.training.recipe.rows import RecipeRow

Values = dict[str, Any]


def read_values(path: Path) -> Iterator[tuple[str, Values]]:
    """Yield the rows of a JSONL or Parquet file, each with the name of its place, `rows.jsonl, line 3`.

    Their texts are well formed: JSON can hold halves of characters, which no part can.

    Raises:
        ConfigurationError: the file cannot be read, or a line is no JSON object.
    """
    for number, entry in read_entries(path):
        where = f"{path.name}, {entry_name(entry)} {number}"
        try:
            values = _well_formed(json.loads(entry) if isinstance(entry, bytes) else entry)
        except (ValueError, RecursionError):
            raise ConfigurationError(f"{where}: not JSON") from None
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: not an object")
        yield where, values


def _well_formed(value: Any) -> Any:
    """Return a JSON value whose texts any encoding can hold."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {_well_formed(name): _well_formed(one) for name, one in value.items()}
    return [_well_formed(one) for one in value] if isinstance(value, list) else value


def id_of(where: str, values: Values) -> str:
    """Return a row's id.

    Raises:
        ConfigurationError: it has none.
    """
    found = values.get("id")
    if not isinstance(found, str) or not found:
        raise ConfigurationError(f"{where}: has no id", hint="an id is a text, unique within its file")
    return found


def to_recipe_row(where: str, values: Values, *, prefix: str = "", is_human: bool = False) -> RecipeRow:
    """Return a row of the recipe; a row without a label has no risk.

    Args:
        where: names its place, for errors.
        values: of the row.
        prefix: goes in front of its id and its root.
        is_human: whether a person gave its label, if it has one; a row may say so itself.

    Raises:
        ConfigurationError: it does not follow the schema; the message holds keys and reasons, never the row's text.
    """
    risk = values.get("risk")
    try:
        row = parse_row({**values, "risk": "safe" if risk is None else risk})  # which leaves out what has no label
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    if row is None:  # cannot be: it has one now
        raise ConfigurationError(f"{where}: has no label")
    root = values.get("root") or row.meta.get("root") or row.id
    thoughts = [message.get("reasoning") for message in values["messages"]]
    is_human = risk is not None and bool(values.get("is_human") or is_human)
    return RecipeRow(
        f"{prefix}{row.id}", f"{prefix}{root}", row.source, row.lang,
        tuple(Message(m.role, m.content, t) for m, t in zip(row.messages, thoughts, strict=True)),
        row.target, None if risk is None else row.risk, row.categories, row.refusal, row.unsafe_start_char,
        is_human, None, row.meta,
    )  # fmt: skip
