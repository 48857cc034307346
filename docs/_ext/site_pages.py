"""The Sphinx extension: writes the reference pages, moves links, and makes the menu of the index page's lists."""

import re
import sys
from pathlib import Path
from typing import Any

import api_pages
import cli_pages
import http_pages
import linking
import pieces
import table_pages
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment

DOCS = linking.DOCS
REFERENCE = DOCS / "reference"
FILES = DOCS / "files"
MARK = "<!-- the site's reference -->"
"""Where the index page has the list of the pages that are made here: the repository's web view does not show it."""

_LISTED = {
    "api/index": "Python: every public name",
    "cli/index": "Commands: what each `--help` says",
    "policy_file": "Policy file: every key",
    "record_schema": "Schema of a record",
    "http": "HTTP: every route",
    "settings": "Settings of the service",
    "metrics": "Metrics",
    "errors": "Errors",
}
"""Pages under reference/ in the order of the menu."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is done with pages."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _read)
    app.connect("missing-reference", _find_public)
    app.connect("autodoc-skip-member", _skip_foreign)
    app.connect("autodoc-process-docstring", _adapt_docstring, priority=400)  # before napoleon, which has 500
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(_app: Sphinx) -> None:
    """Write everything that is made from the code or lies outside of docs/; what has not changed is left as it is."""
    made = api_pages.pages() | cli_pages.pages() | http_pages.pages() | table_pages.pages()
    wanted: set[Path] = set()
    for page in DOCS.glob("*.md"):
        wanted |= linking.relinked(page.read_text("utf-8"), page, page)[1]
    texts = {REFERENCE / name: text for name, text in made.items()} | linking.file_pages(wanted)
    for old in {*REFERENCE.rglob("*.md"), *FILES.rglob("*.md")} - texts.keys():
        old.unlink()
    for path, text in texts.items():
        if not path.is_file() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def _read(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Give a page of docs/ the site's links, and the index its menu."""
    page = DOCS / f"{docname}.md"
    if page.parent != DOCS:
        return
    source[0], _ = linking.relinked(source[0], page, page)
    if docname == "index":
        source[0] = _with_menu(source[0])


def _with_menu(text: str) -> str:
    """Return the index page with a menu for each of its lists, and the list of the pages made from the code."""
    made = "".join(f"- [{title}](reference/{name}.md)\n" for name, title in _LISTED.items())
    heading, menu = "", ""
    sections = re.split(r"^(#{2,3}) (.*)$", text.replace(MARK, made.strip()), flags=re.MULTILINE)
    for level, title, body in zip(sections[1::3], sections[2::3], sections[3::3], strict=True):
        heading = title if level == "##" else heading
        caption = title if level == "##" else f"{heading}: {title}"
        listed = re.findall(r"^- \[[^\]]*\]\(([^)#]+)\.md\)", body, re.MULTILINE)
        if listed:
            menu += pieces.code("\n".join((":hidden:", f":caption: {caption}", "", *listed)), "{toctree}")
    return f"{text.replace(MARK, made.strip())}\n\n{menu}"


def _skip_foreign(_app: Sphinx, _what: str, _name: str, thing: Any, skip: bool, _options: Any) -> bool | None:
    """Leave out what overrides a method of another library without a docstring of its own: theirs is about theirs."""
    is_ours = (getattr(thing, "__module__", None) or "").startswith("guardrail")
    if skip or not is_ours or thing.__doc__ is not None:
        return None
    kind = _owner(thing)
    ours = [base for base in getattr(kind, "__mro__", ()) if base.__module__.startswith("guardrail")]
    return None if any(getattr(vars(base).get(thing.__name__), "__doc__", None) for base in ours) else True


def _owner(thing: Any) -> Any:
    """Return the class in which a method is defined."""
    owner = sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split(".")[:-1]:
        owner = getattr(owner, name, None)
    return owner


def _adapt_docstring(_app: Sphinx, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Make blocks of pieces of YAML, and keep napoleon from reading the word before a colon as a type."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(": ", " – ")
    text = "\n".join(lines)
    lines[:] = _YAML.sub(lambda m: "::\n\n" + re.sub("^", "    ", m[0], flags=re.MULTILINE), text).split("\n")


_YAML = re.compile(r"(?<=\n\n)[\w-]+:\n +- .*(?:\n .*)*")
"""A piece of a YAML file in a docstring; a section of Google's style has no list behind its colon."""

_homes: dict[str, str] = {}


def _find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Resolve a name by where it is defined to where it is public: signatures name the first, pages the second."""
    if node.get("refdomain") != "py":
        return None
    if not _homes:
        _homes.update(api_pages.homes())
    home = _homes.get(node.get("reftarget", ""))
    if home is None:
        return None
    python = env.get_domain("py")
    return python.resolve_xref(env, node.get("refdoc", ""), app.builder, "obj", home, node, content)
