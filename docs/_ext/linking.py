"""Links of Markdown pages: plain relative ones, which the repository's web view follows, become those of the site.

A page of docs/ may link to any file of the repository. What lies outside docs/ is shown on a page of its own under
`files/`, made for the site, so that no link of the site leads out of it.
"""

import json
import os.path
import re
from collections.abc import Callable
from pathlib import Path

import pieces

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_LINK = re.compile(r"(!?\[[^\]\n]*(?:\n[^\]\n]*)?\])\(([^)\s]+)\)")
_CODE = re.compile(r"^ *(?P<fence>```+).*?^ *(?P=fence)$", re.DOTALL | re.MULTILINE)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".json": "json", ".mjs": "js", ".sh": "sh"}


def relinked(text: str, source: Path, page: Path) -> tuple[str, set[Path]]:
    """Return a page with links that hold where the site has it, and the files outside docs/ that it needs.

    Args:
        text: the page.
        source: the file it is from; its links are relative to that one's folder.
        page: where Sphinx finds it, a path under docs/.
    """
    needed: set[Path] = set()

    def moved(link: str) -> str:
        path, _, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", link):
            return link
        target = (source.parent / path).resolve()
        if not target.is_relative_to(DOCS):
            needed.add(target)
        place = os.path.relpath(page_of(target), page.parent)
        return f"{place}#{anchor}" if anchor else place

    return _outside_code(text, lambda part: _LINK.sub(lambda m: f"{m[1]}({moved(m[2])})", part)), needed


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a text with a change made to everything but its code blocks."""
    parts, last = [], 0
    for block in _CODE.finditer(text):
        parts += [change(text[last : block.start()]), block[0]]
        last = block.end()
    return "".join([*parts, change(text[last:])])


def page_of(target: Path) -> Path:
    """Return where the site has a file of the repository: its own place in docs/, or a page under docs/files/."""
    if target.is_relative_to(DOCS):
        return DOCS / "index.md" if target == DOCS else target
    inside = target.relative_to(ROOT)
    return DOCS / "files" / (inside if target.suffix == ".md" else inside.with_name(f"{inside.name}.md"))


def file_pages(wanted: set[Path]) -> dict[Path, str]:
    """Return pages that show files and folders of the repository, and those that their own links lead to."""
    pages: dict[Path, str] = {}
    waiting = set(wanted)
    while waiting:
        target = waiting.pop()
        page = page_of(target)
        if page in pages:
            continue
        pages[page], needed = relinked(_shown(target), target / "_" if target.is_dir() else target, page)
        waiting |= needed
    return {
        page: text if text.startswith("---\n") else f"---\norphan: true\n---\n\n{text}" for page, text in pages.items()
    }


def _shown(target: Path) -> str:
    name = target.relative_to(ROOT)
    if target.is_dir():
        names = sorted(p.name for p in target.iterdir() if p.is_file() and not p.name.startswith("."))
        return f"# `{name}/`\n\n" + "".join(f"- [{one}]({one})\n" for one in names)
    text = target.read_text("utf-8")
    if target.suffix == ".md":
        return text
    if target.suffix == ".ipynb":
        return _notebook(text)
    return f"# `{name}`\n\n" + pieces.code(text, _LANGUAGES.get(target.suffix, "text"))


def _notebook(text: str) -> str:
    """Return the cells of a notebook: what it says, and its code."""
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(words if what == "markdown" else pieces.code(words, "python") for words, what in cells)
