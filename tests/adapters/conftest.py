"""A guard that stops at a known character and asks at another, for adapters without fixtures of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from guardrail import Action, Guard, GuardTokenizer, Policy, Rules, ToolRules
from guardrail.records import MemorySink
from guardrail.testing import MarkerEngine


@pytest.fixture
def sink() -> MemorySink:
    """Where the guard of a test records."""
    return MemorySink()


@pytest.fixture(scope="session")
def engine(tokenizer: GuardTokenizer) -> MarkerEngine:
    """Stops at one marker, doubts another."""
    return MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")})


@pytest.fixture
def make_guard(sink: MemorySink, engine: MarkerEngine, tokenizer: GuardTokenizer) -> Callable[..., Guard]:
    """Make a guard that stops at the marker; keywords change the policy."""

    def make(**changes: Any) -> Guard:
        answers = Rules(controversial=Action.ALLOW, debounce=2)  # doubts in the context must not stop the next answer
        policy = Policy(**{"tools": ToolRules(controversial=Action.ASK), "response": answers, **changes})
        return Guard(engine, tokenizer, policy=policy, sinks=[sink])

    return make


@pytest.fixture
def guard(make_guard: Callable[..., Guard]) -> Guard:
    """A guard with the default policy that asks at a Controversial call."""
    return make_guard()
