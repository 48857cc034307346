"""The leak tester against the proxy, with a real guard policy and OpenAI's bytes on the wire."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from guardrail import Guard, GuardTokenizer
from guardrail.leaktest import CANARIES, Report, Spy, Upstream
from guardrail.leaktest.endpoint import endpoint_drives
from guardrail.testing import MarkerEngine
from tests.service.proxying import proxying

CANARY = replace(CANARIES["word"], text=CANARIES["word"].text[: CANARIES["word"].offset + 240])


@pytest.fixture
def canary_upstream() -> Iterator[Upstream]:
    """The canary's server."""
    with Upstream(CANARY, pace_s=0.003) as server:
        yield server


@pytest.mark.parametrize("policy", ["strict", "balanced", "loose"])
def test_the_proxy_leaks_nothing_and_spares_tokens(
    canary_upstream: Upstream, tokenizer: GuardTokenizer, policy: str
) -> None:
    """Neither a stream, nor a whole answer, nor a header shows the risky text; the LLM ends early."""
    guard = Guard(MarkerEngine(tokenizer, {"murder": ("Unsafe", "Violent")}), tokenizer, policy=policy)
    spy = Spy()
    with proxying(canary_upstream.url, guard=guard) as proxy:
        runs = [drive.run() for drive in endpoint_drives(proxy.base_url, canary_upstream, CANARY, spy, model="m")]
    report = Report.of(CANARY, spy, runs)
    assert (report.leaks, [run.error for run in runs]) == (False, [None, None])
    assert runs[0].n_saved(CANARY) > 0.5 * (len(CANARY.tokens) - CANARY.n_tokens_to_marker)
    assert report.outlets[0].clean_chars >= len(CANARY.clean.rstrip()) - 1


def test_an_unguarded_proxy_is_found_out(canary_upstream: Upstream, tokenizer: GuardTokenizer) -> None:
    """The same test against a policy that only records finds all of the text: it does test something."""
    guard = Guard(MarkerEngine(tokenizer, {"murder": ("Unsafe", "Violent")}), tokenizer, policy="shadow")
    spy = Spy()
    with proxying(canary_upstream.url, guard=guard) as proxy:
        drives = endpoint_drives(proxy.base_url, canary_upstream, CANARY, spy, model="m")
        report = Report.of(CANARY, spy, [drive.run() for drive in drives])
    assert report.leaks
