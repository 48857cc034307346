"""Small pieces of Markdown, for the pages that are made from the code."""

import inspect
import re
from collections.abc import Iterable, Sequence

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells may hold Markdown, and their line breaks and bars are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(text.split()))


def code(text: str, language: str) -> str:
    """Return a code block, fenced by more backticks than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n\n"


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def attributes(thing: object) -> dict[str, str]:
    """Return what a class's docstring says of its attributes, in one line each."""
    _, _, section = (inspect.getdoc(thing) or "").partition("Attributes:\n")
    return {name: " ".join(about.split()) for name, about in _ATTRIBUTE.findall(section.split("\n\n")[0])}
