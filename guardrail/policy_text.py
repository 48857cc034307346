"""A policy as the text of a file that holds it: the other way round of `parse_policy`."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from guardrail.errors import PolicyError
from guardrail.policy import Policy
from guardrail.policy_file import parse_policy
from guardrail.stop_texts import STOP_TEXTS
from guardrail.taxonomy import Category

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def render_policy(policy: Policy, comment: str = "") -> str:
    """Return TOML of which `parse_policy` makes this policy again.

    Args:
        policy: which.
        comment: stands on top, each of its lines behind a #.

    Raises:
        PolicyError: no file can hold it: it has no name, a category by another spelling, or a lone surrogate.
    """
    values = asdict(policy)
    if custom := _custom_categories(policy):
        values = {**values, "custom_categories": custom}
    lines = [*(f"# {line}".rstrip() for line in comment.splitlines()), *_table((), values)]
    text = "\n".join(lines) + "\n"
    try:
        is_same = parse_policy(text) == policy
    except (PolicyError, UnicodeError):
        is_same = False
    if not is_same:
        raise PolicyError("no file can hold this policy", hint="its name and categories must be those that files take")
    return text


def _custom_categories(policy: Policy) -> list[str]:
    named = {*policy.prompt.categories, *policy.response.categories, *policy.messages}
    return sorted(named - {category.value for category in Category} - STOP_TEXTS.keys())


def _table(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table's lines: its own values before the tables inside it."""
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, Mapping)}
    if path and plain:
        yield from ("", f"[{'.'.join(map(_key, path))}]")
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _table((*path, key), value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _text(text: str) -> str:
    """Return a TOML string; JSON's escapes are TOML's, but for the one character that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
