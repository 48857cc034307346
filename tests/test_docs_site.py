"""The documentation hangs together: pages are in the menu, links lead somewhere, the tutorial prints what it shows.

The site itself is built by `make docs`, whose pages from the code are made here too, without Sphinx.
"""

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from guardrail.cli.main import build
from tools import check_site

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md")),
    *sorted(DOCS.glob("*.md")),
]
FENCED = re.compile(r"^ *(```+).*?^ *\1$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHOWN = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCED.sub("", page.read_text("utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the repository's web view and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        n_before = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{n_before}" if slug in found else slug)
    return found


def broken(page: Path) -> list[str]:
    """Return the relative links of a page that lead to no file or heading of the repository, a line each."""
    found = []
    for link in LINK.findall(prose(page)):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = (page.parent / place).resolve() if place else page
        if not target.is_relative_to(ROOT) or not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and anchor not in (anchors(target) if target.suffix == ".md" else ()):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files, folders and headings; addresses outside are asked by `make docs-links`."""
    assert broken(page) == []


def test_every_page_is_in_the_menu_once() -> None:
    """The lists of the index page are the site's menu."""
    listed = re.findall(r"^- \[[^\]]*\]\(([^)#]+)\)", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE)
    inside = sorted(name for name in listed if not name.startswith("../"))
    assert inside == sorted(page.name for page in DOCS.glob("*.md") if page.name != "index.md")


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A missing file, a missing heading, and a link that leads out of the repository."""
    page = DOCS / "gate.md"
    for link in ("nowhere.md", "gate.md#nowhere", "#nowhere", "../../outside.md"):
        written = tmp_path / "page.md"
        written.write_text(f"[x]({link})", "utf-8")
        assert broken_as(written, page), link
    assert anchors(page) >= {"laws", "release-modes"}


def broken_as(written: Path, page: Path) -> list[str]:
    """Return the broken links of a text that stands where another page is."""
    text = written.read_text("utf-8")
    moved = LINK.sub(lambda m: f"]({m[1] if m[1].startswith('#') else page.parent / m[1]})", text)
    written.write_text(moved, "utf-8")
    return broken(written)


@pytest.mark.parametrize("number", range(len(SHOWN.findall((DOCS / "tutorial.md").read_text("utf-8")))))
def test_the_tutorial_prints_what_it_shows(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, in an empty folder."""
    code, shown = SHOWN.findall((DOCS / "tutorial.md").read_text("utf-8"))[number]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"tutorial-{number}", "exec"), {"__name__": "tutorial"})  # noqa: S102 - the page's own code
    assert capsys.readouterr().out == shown


def test_every_block_of_the_tutorial_shows_what_it_prints() -> None:
    """But for the one that downloads a model."""
    text = (DOCS / "tutorial.md").read_text("utf-8")
    assert len(SHOWN.findall(text)) == text.count("```python") - text.count("# not run") > 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules that make pages from the code."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    names = ("pieces", "schema_tables", "linking", "api_pages", "cli_pages", "http_pages", "table_pages")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return {name: __import__(name) for name in names}


def test_reference_pages_say_what_the_code_says(made: dict[str, ModuleType]) -> None:
    """Every command, route, key, field, metric and error, and a group for every public name."""
    tables = made["table_pages"].pages()
    commands = made["cli_pages"].pages()
    assert {"train own", "records prune", "check"} <= set(
        re.findall(r"`guardrail ([a-z -]+)`", commands["cli/index.md"])
    )
    assert "--explain" in commands["cli/check.md"]
    assert len(commands) - 1 >= len([name for name in build() if not name.startswith("-")])
    assert "`POST /v1/moderations`" in made["http_pages"].pages()["http.md"]
    assert "`debounce`" in tables["policy_file.md"]
    assert "| `saved_tokens` |" in tables["record_schema.md"]
    assert (
        "| `guardrail_decisions_total` | counter | `direction`, `action`, `reason`, `category` |"
        in tables["metrics.md"]
    )
    assert "| `EngineTimeout` | `EngineError` | yes |" in tables["errors.md"]
    assert "`max_body_bytes`" in tables["settings.md"]
    assert ".. autoclass:: guardrail.Guard\n" in made["api_pages"].package_page()


def test_links_of_pages_are_moved_to_the_site(made: dict[str, ModuleType]) -> None:
    """Pages stay where they are, what lies outside gets a page, and code is left alone."""
    page = DOCS / "agents.md"
    text = "[a](gate.md#laws) [b](../examples/agent.py) [c](../CONTRIBUTING.md#extras) [d](https://x.org/y)\n```\n[e](f.py)\n```"
    moved, needed = made["linking"].relinked(text, page, page)
    assert moved == text.replace("../examples/agent.py", "files/examples/agent.py.md").replace("../CON", "files/CON")
    assert needed == {ROOT / "examples" / "agent.py", ROOT / "CONTRIBUTING.md"}


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "fetches https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "fetches //fonts.example/x.css"),
        ('<img src="missing.svg">', "missing.svg leads nowhere"),
        ('<a href="page.html#nowhere">x</a>', "page.html#nowhere leads nowhere"),
        ('<a href="https://example.org">x</a><p id="here"></p><a href="#here">y</a>', None),
    ],
)
def test_the_built_site_is_searched_for_faults(html: str, fault: str | None, tmp_path: Path) -> None:
    """What is fetched from elsewhere and what leads nowhere is found; a link outside is none."""
    (tmp_path / "page.html").write_text(html, "utf-8")
    (tmp_path / "site.css").write_text("@import 'https://fonts.example/a';" if fault is None else "", "utf-8")
    expected = ["site.css: fetches https://fonts.example/a"] if fault is None else [f"page.html: {fault}"]
    assert check_site.faults(tmp_path) == expected
    check_site._read.cache_clear()
