"""Shapes a fuzzer's bytes into inputs: JSON near a good example, damaged in its values, its structure or its bytes."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

BRIEF = settings(database=None, deadline=None, max_examples=25)
"""For the short run of the tests; the fuzzer does not heed the number."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 2**31, 2**53 + 1, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "x", "0", "\0", "\ud800", "a" * 5000, "../x", [], {}, [[]], {"": None}, [None], ["x"], {"x": "x"},
)  # fmt: skip
"""Values that stand where something else is expected."""

_MAX_CHANGES = 4


def from_bytes(test: Any) -> Callable[[bytes], object]:
    """Return what runs a test of hypothesis on values made of a fuzzer's bytes."""
    one_input: Callable[[bytes], object] = test.hypothesis.fuzz_one_input
    return one_input


@st.composite
def damaged(draw: st.DrawFn, tree: Any, also: tuple[Any, ...] = ()) -> Any:
    """Return a JSON value with a few changes: odd values, members dropped, doubled, renamed, or moved elsewhere.

    Args:
        draw: of hypothesis.
        tree: a good value.
        also: values to put in besides the odd ones.
    """
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(0, _MAX_CHANGES))):
        places = list(_places(tree))
        if not places:
            return tree
        holder, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(_CHANGES))
        change(draw, holder, key, (*also, *ODD))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each holder with a key or index, from the root down."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in members:
        yield tree, key
        yield from _places(value)


def _put(draw: st.DrawFn, holder: Any, key: Any, values: tuple[Any, ...]) -> None:
    holder[key] = copy.deepcopy(draw(st.sampled_from(values)))


def _put_number(draw: st.DrawFn, holder: Any, key: Any, _values: tuple[Any, ...]) -> None:
    holder[key] = draw(st.integers(-9, 300))


def _drop(_draw: st.DrawFn, holder: Any, key: Any, _values: tuple[Any, ...]) -> None:
    del holder[key]


def _double(_draw: st.DrawFn, holder: Any, key: Any, _values: tuple[Any, ...]) -> None:
    twin = copy.deepcopy(holder[key])
    if isinstance(holder, list):
        holder.insert(key, twin)
    else:
        holder[f"{key}2"] = twin


def _move(draw: st.DrawFn, holder: Any, key: Any, _values: tuple[Any, ...]) -> None:
    other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
    holder[other] = copy.deepcopy(holder[key])


def _rename(draw: st.DrawFn, holder: Any, key: Any, values: tuple[Any, ...]) -> None:
    if isinstance(holder, dict):
        name = draw(st.sampled_from([value for value in values if isinstance(value, str)]))
        holder[name] = holder.pop(key)


def _wrap(_draw: st.DrawFn, holder: Any, key: Any, _values: tuple[Any, ...]) -> None:
    holder[key] = [holder[key]]


_CHANGES: tuple[Callable[[st.DrawFn, Any, Any, tuple[Any, ...]], None], ...] = (
    _put, _put_number, _drop, _double, _move, _rename, _wrap,
)  # fmt: skip


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return bytes cut short, with some put in, or some taken out; most of the time as they were."""
    change = draw(st.integers(0, 7))
    place = draw(st.integers(0, len(whole))) if change < 4 else 0
    if change == 0:
        return whole[:place]
    if change == 1:
        return whole[:place] + draw(st.binary(max_size=12)) + whole[place:]
    if change == 2:
        return whole[:place] + whole[place + draw(st.integers(1, 9)) :]
    if change == 3:
        depth = draw(st.sampled_from((3, 200, 20_000)))
        return whole[:place] + draw(st.sampled_from((b"[", b'{"":', b'"', b"\n\n", b"9"))) * depth + whole[place:]
    return whole


def json_bytes(tree: Any, also: tuple[Any, ...] = ()) -> st.SearchStrategy[bytes]:
    """Return JSON near a good example, some of it broken."""
    written = damaged(tree, also).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    return written.flatmap(damaged_bytes)


def strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every string in a JSON value, keys too, each with the keys that lead to it; `*` stands for an index."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, "{}"), key
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, (*path, "*"))


def check_message(error: Exception) -> None:
    """The message of an error quotes a file in part."""
    assert len(str(error)) <= MOST_MESSAGE_CHARS


MOST_MESSAGE_CHARS = 2200


def strict_json(text: str | bytes) -> Any:
    """Return what JSON holds; NaN and Infinity are none, and strict readers choke on them."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")
