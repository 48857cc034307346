"""What is raised arrives whole in another process, where Python would call a constructor with the message alone."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import guardrail
from guardrail.errors import ConfigurationError, ContentStopped, GuardError, MissingExtra, RecordError
from guardrail.guard import Guard
from guardrail.testing import MarkerEngine, default_tokenizer
from guardrail.wire.errors import AnswerStopped, NotUnderstood

PLAIN = [
    kind
    for name in guardrail.__all__
    if isinstance(kind := getattr(guardrail, name), type) and issubclass(kind, GuardError) and kind is not MissingExtra
]


def stopped() -> ContentStopped:
    """A stop, as a framework raises it."""
    tokenizer = default_tokenizer()
    with Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer) as guard:
        return AnswerStopped(guard.check_prompt("☠"), "stopped")


def fails(name: str) -> None:
    """Raise in a worker of a pool."""
    raise {"extra": MissingExtra("torch", "torch"), "stop": stopped()}[name]


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
def test_a_failure_is_the_same_after_pickling(kind: type[GuardError]) -> None:
    """Its kind, its message with the hint, and the hint."""
    error = kind("what is wrong", hint="what to do")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # ours
    assert (type(again), str(again), again.hint) == (kind, "what is wrong (what to do)", "what to do")


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (MissingExtra("torch", "torch"), ("hint",)),
        (RecordError("the disk is full", retryable=True), ("retryable",)),
        (NotUnderstood("no choices"), ("message", "status_code")),
        (stopped(), ("decision", "message")),
        (ConfigurationError("x" * 5000), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_an_exception_knows_is_the_same_after_pickling(error: Exception, attributes: tuple[str, ...]) -> None:
    """Also of those whose constructor takes no message."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # ours
    assert (type(again), str(again)) == (type(error), str(error))
    assert all(getattr(again, name) == getattr(error, name) for name in attributes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("extra", MissingExtra), ("stop", AnswerStopped)])
def test_a_pool_of_processes_hands_it_on(name: str, kind: type[Exception]) -> None:
    """An exception that cannot be read again would end the pool as broken, and say nothing of what happened."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(fails, name).exception(60)
    assert type(error) is kind
