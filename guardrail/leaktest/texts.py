"""Every text inside a value: what a reader of that value could see."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

Found = tuple[str, str]
"""Path to the text, such as `.messages.0.content`; the text."""


def texts(value: object, *, unseen: tuple[type, ...] = ()) -> Iterator[Found]:
    """Yield every text in a value with its path: in collections, dataclasses, pydantic models and exceptions.

    Other objects are seen as their `repr`, which is what logs and traces keep of them.

    Args:
        value: anything.
        unseen: types whose instances are passed over, such as the scripted LLM, which knows the canary.
    """
    yield from _walk(value, "", unseen, set())


def _walk(value: Any, path: str, unseen: tuple[type, ...], seen: set[int]) -> Iterator[Found]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, bytes | bytearray):
        yield path, bytes(value).decode("utf-8", "replace")
    elif value is None or isinstance(value, (int, float, type, *unseen)):
        return
    elif id(value) not in seen:
        seen.add(id(value))
        fields = _fields(value)
        if fields is None:
            yield path, _shown(value)
            return
        for name, field in fields:
            yield from _walk(field, f"{path}.{name}", unseen, seen)


def _fields(value: Any) -> list[tuple[object, Any]] | None:
    """Return the named values inside a value; None when it is opaque."""
    if isinstance(value, Mapping):
        return [*((f"key {i}", key) for i, key in enumerate(value)), *value.items()]
    if isinstance(value, Sequence | AbstractSet):
        return list(enumerate(value))
    if isinstance(value, BaseException):
        causes = [("cause", value.__cause__), ("context", value.__context__)]
        return [("str", str(value)), ("args", value.args), *vars(value).items(), *causes]
    if hasattr(type(value), "__pydantic_fields__"):
        # a model that was made without validation has neither of the two
        hidden = [(name, getattr(value, name, None)) for name in ("__pydantic_extra__", "__pydantic_private__")]
        return [*vars(value).items(), *hidden]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return None


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a foreign repr may raise what it likes; then it shows nothing
        return type(error).__name__
