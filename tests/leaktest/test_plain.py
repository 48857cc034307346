import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest

from guardrail import Guard
from guardrail.leaktest import Canary, Drive, Report, Spy, function_drives, is_plain

Reporting = Callable[[Iterable[Drive]], Report]


def leaking(report: Report) -> list[str]:
    """Names of the outlets that leak."""
    return [outlet.name for outlet in report.outlets if outlet.leaks]


def test_a_gated_function_leaks_nothing_and_spares_the_llm(
    guard: Guard, canary: Canary, spy: Spy, report: Reporting, shown: int
) -> None:
    """The clean text comes out as it is written; what the LLM had still to write is saved."""

    def gated(tokens: Iterator[str]) -> Iterator[str]:
        with guard.open_stream(canary.prompt) as stream:
            for token in tokens:
                yield stream.feed(token)
                if stream.is_stopped:
                    return

    found = report(function_drives(gated, canary, spy))
    (run,) = found.runs
    assert not found.leaks
    assert found.outlets[0].clean_chars == shown
    assert run.n_after_marker(canary) <= 4
    assert run.n_saved(canary) == len(canary.tokens) - canary.n_tokens_to_marker - run.n_after_marker(canary)
    assert run.first_text_at is not None
    assert run.first_text_at <= 3


def test_a_guard_that_looks_at_every_fifth_token_is_late_by_what_it_let_out(
    canary: Canary, spy: Spy, report: Reporting
) -> None:
    """Tokens late and characters leaked are those that were yielded from the marker on."""

    def late(tokens: Iterator[str]) -> Iterator[str]:
        text = ""
        for number, token in enumerate(tokens):
            text += token
            yield token
            if number % 5 == 4 and "murder" in text:
                return

    found = report(function_drives(late, canary, spy))
    (run,) = found.runs
    out = canary.tokens[: run.produced[0]]
    assert found.outlets[0].leaked_chars == len("".join(out)) - canary.offset
    assert found.outlets[0].leaked_tokens == len(out) - canary.n_tokens_to_marker + 1 > 1


async def alog_all(tokens: AsyncIterator[str]) -> AsyncIterator[str]:
    """Shows nothing and logs everything, token by token."""
    async for token in tokens:
        logging.getLogger("peer.guard").debug("read %r", token)
        yield ""


def raise_all(tokens: Iterator[str]) -> Iterator[str]:
    """Shows nothing, and tells all in the cause of its exception."""
    yield ""
    raise RuntimeError("stopped") from ValueError("".join(tokens))


@pytest.mark.parametrize(("function", "outlet"), [(alog_all, "log records"), (raise_all, "exceptions")])
def test_what_is_logged_or_raised_is_heard(
    function: Callable[..., object], outlet: str, canary: Canary, spy: Spy, report: Reporting
) -> None:
    """Only the outlet that told is reported, and the whole of it."""
    found = report(function_drives(function, canary, spy))
    assert leaking(found) == [outlet]
    assert max(out.leaked_chars for out in found.outlets) == len(canary.withheld)


def test_an_unguarded_function_is_told_from_a_late_guard(canary: Canary, spy: Spy, report: Reporting) -> None:
    """Everything out, nothing spared, no error: there was no guard."""

    def bare(tokens: Iterator[str]) -> Iterator[str]:
        yield from tokens

    assert report(function_drives(bare, canary, spy)).is_unguarded


def test_a_function_that_never_reads_proves_nothing(canary: Canary, spy: Spy, report: Reporting) -> None:
    """Silence before the LLM has written is no sign of a guard."""

    def deaf(tokens: Iterator[str]) -> Iterator[str]:
        yield "Sorry."

    found = report(function_drives(deaf, canary, spy))
    assert not found.leaks
    assert not found.proves


def test_generator_functions_are_plain_targets() -> None:
    """Anything else is taken for a factory."""
    assert is_plain(raise_all)
    assert is_plain(alog_all)
    assert not is_plain(lambda llm: llm)
