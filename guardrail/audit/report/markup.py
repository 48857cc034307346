"""HTML that is put together only from elements: text can never become markup."""

import html
from typing import Any


class Html(str):
    """Markup, as `tag` makes it; every other string is text."""

    __slots__ = ()


EMPTY = Html()

_VOID = {"br", "input", "link", "meta"}


def text(value: str) -> Html:
    """Return a string as text; markup stays what it is."""
    return value if isinstance(value, Html) else Html(html.escape(value, quote=True))


def joined(*parts: str) -> Html:
    """Return parts one behind the other."""
    return Html("".join(map(text, parts)))


def tag(name: str, /, *children: str, **attributes: Any) -> Html:
    """Return an element.

    Args:
        name: of the element.
        *children: markup, or text.
        **attributes: by name, with `_` for `-`, and one at the end where Python needs it; True writes the bare name,
            None and False leave one out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{joined(*children)}</{name}>")
