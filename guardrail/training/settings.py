"""Training settings: frozen dataclasses from TOML; unknown keys are refused and the valid ones named."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from guardrail.errors import ConfigurationError

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

T = TypeVar("T")


def load_settings(path: Path, kind: type[T]) -> T:
    """Return the settings that a TOML file holds.

    Raises:
        ConfigurationError: no such file, bad TOML, an unknown key, or a value of another type or beyond its range.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"cannot read settings {path.name}: {error}") from error
    _refuse_unknown(path.name, values, kind)
    try:
        # as JSON, because there strictness lets paths be text and tuples be lists, and still no text be a number
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise ConfigurationError(f"{path.name}: {'; '.join(_explain(e) for e in error.errors())}") from error


def _refuse_unknown(where: str, values: Any, kind: Any) -> None:
    """Refuse keys that a dataclass does not have, also in tables and lists within; other defects are found by pydantic.

    Args:
        where: names the place in messages.
        values: as TOML has them.
        kind: what they are to become: a dataclass, or a dict, tuple or union of some.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        if isinstance(values, Mapping):
            _refuse_in_table(where, values, kind)
    elif get_origin(kind) is dict and isinstance(values, Mapping):
        for key, value in values.items():
            _refuse_unknown(f"{where}, {key}", value, get_args(kind)[1])
    elif get_origin(kind) is tuple and isinstance(values, list):
        for value in values:
            _refuse_unknown(where, value, get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            _refuse_unknown(where, values, one)


def _refuse_in_table(where: str, values: Mapping[str, Any], kind: type) -> None:
    valid = sorted(field.name for field in fields(kind))
    if unknown := sorted(set(values) - set(valid)):
        raise ConfigurationError(f"{where}: unknown key {unknown[0]!r}; valid: {', '.join(valid)}")
    hints = get_type_hints(kind)
    for key, value in values.items():
        _refuse_unknown(f"{where}, {key}", value, hints[key])


def _explain(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
