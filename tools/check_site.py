"""Looks through built HTML pages: nothing is fetched from elsewhere, and every link inside leads somewhere.

    python -m tools.check_site build/docs

Exits with 1 and a line for each fault. Links to other sites are no fault: a reader follows them, a page does not.
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

_FETCHED = {("a", "href"): False, ("link", "href"): True}
"""Whether a browser fetches what stands there without being asked; any other `src`, `srcset` or `href` is fetched."""
_FOREIGN = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
_IN_CSS = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])((?:https?:)?//[^'")\s]+)""")


class _Page(HTMLParser):
    """What one page fetches, links to, and can be linked at."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.ids.add(value)
            elif name in {"src", "srcset", "href", "data", "poster"} or name.endswith(":href"):
                (self.fetched if _FETCHED.get((tag, name), True) else self.linked).append(value)


@cache
def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page


def faults(folder: Path) -> list[str]:
    """Return what is wrong in the pages and style sheets of a folder, a line each."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        page, name = _read(path), path.relative_to(folder)
        found += [f"{name}: fetches {link}" for link in page.fetched if _FOREIGN.match(link)]
        here = [link for link in (*page.fetched, *page.linked) if not re.match(r"(?:[a-z]+:|//|#?$)", link)]
        found += [f"{name}: {link} leads nowhere" for link in here if not _leads(path, link)]
    for sheet in sorted(folder.rglob("*.css")):
        links = _IN_CSS.findall(sheet.read_text("utf-8"))
        found += [f"{sheet.relative_to(folder)}: fetches {link}" for link in links]
    return found


def _leads(path: Path, link: str) -> bool:
    """Whether a relative link of a page leads to a file, and to a place in it."""
    place, anchor = urldefrag(link)
    target = (path.parent / unquote(place.partition("?")[0])).resolve() if place else path
    if not target.is_file():
        return False
    return not anchor or target.suffix != ".html" or unquote(anchor) in _read(target).ids


def main(arguments: list[str]) -> int:
    """Print the faults of a folder; return 1 if there is one, or no page at all."""
    folder = Path(arguments[0]).resolve()
    n_pages = len(list(folder.rglob("*.html")))
    found = faults(folder) if n_pages else [f"{folder}: no page"]
    print(
        *found or [f"{n_pages} pages: nothing is fetched from elsewhere, every link inside leads somewhere"], sep="\n"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
