"""A guard that stops at the canary's marker, and the way to run a leak test to its report."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from guardrail import Guard, GuardTokenizer
from guardrail.leaktest import CANARIES, Canary, Drive, Report, Spy
from guardrail.testing import MarkerEngine


@pytest.fixture
def canary() -> Canary:
    """The ready canary for guards with a rule, with a shorter tail."""
    ready = CANARIES["word"]
    return replace(ready, text=ready.text[: ready.offset + 240])


@pytest.fixture(scope="session")
def guard(tokenizer: GuardTokenizer) -> Guard:
    """A guard that stops at the marker's first character."""
    return Guard(MarkerEngine(tokenizer, {"murder": ("Unsafe", "Violent")}), tokenizer)


@pytest.fixture
def spy() -> Spy:
    """A spy that has heard nothing."""
    return Spy()


@pytest.fixture
def report(canary: Canary, spy: Spy) -> Callable[[Iterable[Drive]], Report]:
    """Run drives and report."""

    def run(drives: Iterable[Drive]) -> Report:
        return Report.of(canary, spy, [drive.run() for drive in drives])

    return run


@pytest.fixture
def shown(canary: Canary) -> int:
    """Characters that the guard lets out: the space before the marker belongs to the marker's token."""
    return len(canary.clean.rstrip())
