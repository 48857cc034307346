"""Debian's Chromium, for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")

_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


def words_outside(page: Page) -> list[str]:
    """Return the words of pictures that stand outside of their card."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('svg text')].filter((t) => {
          if (getComputedStyle(t).display === 'none') return false;
          const [a, b] = [t.getBoundingClientRect(), t.closest('.card').getBoundingClientRect()];
          return a.left < b.left || a.right > b.right || a.bottom > b.bottom;
        }).map((t) => t.textContent)"""
    )
    return found
