"""The encoder: any cutting of any text gives the ids of the whole, and the spans tile the text."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, from_bytes
from guardrail.encoding import REENCODE_ALWAYS_BELOW, IncrementalEncoder, Token
from guardrail.testing import default_tokenizer
from tests.strategies import chunk_sizes, cuts, texts

TOKENIZER = default_tokenizer()

SCAFFOLDS = (("", ""), ("\n\n", ""), ("\n", "\n"), ("", "}"))
"""What is encoded before and behind a text."""


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """Return a text with a long run of one character, beyond what is encoded again with every delta."""
    run = draw(st.sampled_from("a \n\u0301中\u1161\r0")) * draw(
        st.integers(REENCODE_ALWAYS_BELOW - 9, REENCODE_ALWAYS_BELOW + 2000)
    )
    return draw(texts(4)) + run + draw(texts(4))


TEXTS = texts(20) | st.text(max_size=60)


@BRIEF
@given(
    text=st.integers(0, 19).flatmap(lambda n: long_texts() if n == 13 else TEXTS),
    sizes=chunk_sizes,
    scaffold=st.sampled_from(SCAFFOLDS),
)
def holds(text: str, sizes: list[int], scaffold: tuple[str, str]) -> None:
    """Ids are those of the whole text; spans tile it; what is held and provisional adds up on the way."""
    prefix, suffix = scaffold
    if len(text) > 200:  # a delta that cuts a long text finely costs seconds
        sizes = [397 * size for size in sizes]
    encoder = IncrementalEncoder(TOKENIZER, prefix)
    tokens: list[Token] = []
    fed = ""
    for piece in cuts(text, sizes):
        tokens += encoder.feed(piece)
        fed += piece
        assert 0 <= encoder.held_chars <= len(fed)
        if fed.strip("\n") and len(text) <= 200:
            so_far = [token.id for token in tokens] + list(encoder.provisional)
            assert so_far == whole_ids(prefix + fed.lstrip("\n"))
    tokens += encoder.finish(suffix)
    kept = text.lstrip("\n")
    kept = kept.rstrip("\n") if suffix else kept
    assert [token.id for token in tokens] == whole_ids(prefix + kept + suffix)
    check_spans(tokens, len(text.rstrip("\n") if suffix else text) if text.strip("\n") else 0)


def whole_ids(text: str) -> list[int]:
    """Return the ids of a text that is encoded at once."""
    return list(TOKENIZER.encode_plain(text).ids)


def check_spans(tokens: list[Token], n_chars: int) -> None:
    """Content spans start at 0, leave no gap, never run backwards, and end where the text does."""
    first = last = 0
    for token in tokens:
        if token.is_content:
            assert first <= token.start <= last < token.end
            first, last = (token.end, token.end) if token.complete else (token.start, token.end - 1)
    assert first == last == n_chars


one_input = from_bytes(holds)
