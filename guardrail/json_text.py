r"""Undoes the escapes of JSON text as it streams, so that the guard reads what a tool will: `\u0062omb` is bomb."""

import re

_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[^u])", re.DOTALL)
_UNFINISHED = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?|u[0-9a-fA-F]{0,3})?\Z")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def well_formed(text: str) -> str:
    """Return text that any encoding can hold: pairs of half characters joined, single ones as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class JsonUnescaper:
    """Takes JSON text in any pieces; gives it with its escapes undone. Keeps state: one caller at a time.

    The result is for reading, not for parsing: quotes inside strings stand bare in it. What is no valid escape stays as
    it is. One level is undone: JSON inside a JSON string keeps its own escapes.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take a piece; return what is certain now. An escape that is not whole yet waits."""
        text = self._held + piece
        whole = _whole(text)
        self._held = text[whole:]
        return _ESCAPE.sub(_undo, text[:whole])

    def finish(self) -> str:
        """Return what still waited: the text ended inside an escape."""
        text, self._held = self._held, ""
        return _ESCAPE.sub(_undo, text)


def _whole(text: str) -> int:
    """Return where the trailing escape begins that later text may still change."""
    position = 0
    for match in _ESCAPE.finditer(text):
        if _UNFINISHED.match(text, match.start()):  # half of a surrogate pair, complete by itself
            return match.start()
        position = match.end()
    unfinished = _UNFINISHED.search(text, position)
    return unfinished.start() if unfinished and unfinished.group() else len(text)


def _undo(match: re.Match[str]) -> str:
    escape = match.group()[1:]
    if escape[0] == "u":
        units = bytes.fromhex(escape[1:].replace("\\u", ""))
        return units.decode("utf-16-be", "surrogatepass")
    return _SHORT.get(escape, escape if escape in '"\\/' else match.group())


def undo_unicode(text: str) -> str:
    r"""Return a text with its unicode escapes undone and all other backslashes as they stand."""
    if "\\u" not in text:
        return text
    return _ESCAPE.sub(lambda match: _undo(match) if match.group().startswith("\\u") else match.group(), text)
