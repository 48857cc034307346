"""SECURITY.md is true as far as a test can tell: what it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "SECURITY.md", ROOT / "docs" / "supply_chain.md", ROOT / "docs" / "telemetry.md"]


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as they are linked to."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_and_tool_that_a_page_names_exists(page: Path) -> None:
    """A promise points at the test that holds it."""
    named = set(
        re.findall(r"`(?:python )?((?:tests|tools|benchmarks|constraints|deploy)/[\w/.]*)", page.read_text("utf-8"))
    )
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading in it where one is named."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), f"{target}#{anchor}"


def test_every_promise_names_a_test_or_a_page() -> None:
    """None of the numbered ones stands on its word alone."""
    text = (ROOT / "SECURITY.md").read_text("utf-8").partition("## What holds")[2].partition("\n## ")[0]
    promises = re.split(r"\n(?=\d+\. )", text.strip())
    assert len(promises) >= 9
    assert [promise[:40] for promise in promises if not re.search(r"`tests/|\.md", promise)] == []


def test_the_readme_links_the_page() -> None:
    """Whoever reads the first page finds it."""
    assert "](SECURITY.md)" in (ROOT / "README.md").read_text("utf-8")
