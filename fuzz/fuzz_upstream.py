"""What an LLM says through the proxy: any bytes, frames and answers; nothing behind a marker leaves, nothing breaks."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from fuzz.llm import BODIES, answers, is_to_be_caught
from fuzz.serving import BAD, Said, Service, check_no_leak, dumped
from fuzz.shaping import BRIEF, damaged_bytes, from_bytes


@cache
def service() -> Service:
    """Return the server; one serves all inputs."""
    return Service()


@st.composite
def sayings(draw: st.DrawFn, form: str) -> tuple[Said, bool]:
    """Return what the upstream says, and whether every marker in it must be caught."""
    body, values, kind = draw(answers(form))
    spoiled = draw(damaged_bytes(body)) if draw(st.integers(0, 3)) == 0 else body
    n = draw(st.sampled_from([1, 7, 40, 500, 10**6]))
    n = max(n, len(spoiled) // 300)
    pieces = tuple(spoiled[i : i + n] for i in range(0, len(spoiled), n))
    status = draw(st.sampled_from([200] * 9 + [429, 503, 302, 204]))
    headers = ((b"content-type", kind), (b"x-ratelimit-limit", draw(st.sampled_from([b"9", b"\xe9", BAD.encode()]))))
    said = Said(pieces, status, headers, draw(st.integers(0, 9)) == 0)
    return said, spoiled == body and is_to_be_caught(form, values)


ASKED: st.SearchStrategy[tuple[str, bool]] = st.tuples(st.sampled_from(sorted(BODIES)), st.booleans())


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[str, bool, Said, bool]:
    """Return a format, whether a stream is asked for, what the upstream says, and whether all must be caught."""
    form, streams = draw(ASKED)
    return form, streams, *draw(sayings(form))


@BRIEF
@given(exchange=exchanges())
def holds(exchange: tuple[str, bool, Said, bool]) -> None:
    """The client gets an answer in order or an error of the upstream's; no text behind a marker."""
    form, streams, said, catches = exchange
    server = service()
    server.line.said = said
    answer = server.ask(f"/v1/{form}", dumped({**BODIES[form], "stream": streams}))
    assert answer.status < 500 or answer.status in (502, 503, 504), answer.body
    check_no_leak(answer) if catches else answer.values


one_input = from_bytes(holds)
