"""Where an answer turns risky, in characters: as the row's label says it, or from the published test's token positions.

Qwen3GuardTest gives positions in the ids of the whole conversation as the Qwen3 chat template renders it. They are
turned into characters with the judge's own tokenizer, and only if that one makes the very ids that the row holds; a
judge with another tokenizer cannot place them. Its answers with reasoning carry the think tags inside the text, as
models write them: the template moves that to its own place, and so do we.
"""

import re
from dataclasses import dataclass
from typing import Any

from guardrail.conversation import ANSWER_HEADER, BEGIN_THINKING, EMPTY_THINKING, END_THINKING, Segment, render
from guardrail.encoding import GuardTokenizer, IncrementalEncoder, Token
from guardrail.evaluation.rows import Row
from guardrail.reader import Reader
from guardrail.token_reader import TokenReader

START, END, IDS = "unsafe_start_index", "unsafe_end_index", "input_ids"
"""Keys of the published test: first and last position of the first risky sentence, and all ids."""

END_CHAR = "unsafe_end_char"
"""Key in a row's meta: one past the last character of the first risky span, beside `unsafe_start_char`."""

_TAGGED = re.compile(r"\s*<think>(.*?)</think>\n*", re.DOTALL)

Span = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer's text cut as it is read: the reasoning, then what is told.

    Attributes:
        reasoning: between the think tags; empty without any.
        text: the rest.
        reasoning_start: where the one begins in the whole text.
        text_start: where the other does.
    """

    reasoning: str
    text: str
    reasoning_start: int = 0
    text_start: int = 0

    @classmethod
    def of(cls, content: str) -> "Spoken":
        """Cut an answer's text at its think tags, if it begins with them."""
        found = _TAGGED.match(content)
        if not found:
            return cls("", content)
        reasoning = found[1] if found[1].strip("\n") else ""
        return cls(reasoning, content[found.end() :], found.start(1), found.end())

    def offset(self, place: int) -> int:
        """Return a place in the whole text as the reader counts: without the tags."""
        if place >= self.text_start:
            return len(self.reasoning) + place - self.text_start
        return min(max(0, place - self.reasoning_start), len(self.reasoning))


def risky_span(row: Row, reader: Reader | None) -> Span:
    """Return the first risky character of an answer and one past the last of the first risky span, as the reader counts
    characters; None where a row, or the reader's tokenizer, does not tell. Without a reader, the row alone tells.
    """
    spoken = Spoken.of(row.messages[-1].content)
    first, last, ids = (row.meta.get(key) for key in (START, END, IDS))
    if isinstance(first, int) and isinstance(last, int) and ids and isinstance(reader, TokenReader):
        before, tokens = answer_tokens(reader.tokenizer, row, spoken)
        span = _placed(before, tokens, first, last, ids)
        if span[0] is not None:
            return span
    if row.unsafe_start_char is None:
        return None, None
    end = row.meta.get(END_CHAR)
    return spoken.offset(row.unsafe_start_char), spoken.offset(end) if isinstance(end, int) else None


def _placed(before: list[int], tokens: list[Token], start: int, end: int, ids: Any) -> Span:
    known = [*before, *(token.id for token in tokens)]
    if known != list(ids)[: len(known)]:
        return None, None
    first, last = (max(0, place - len(before)) for place in (start, end + 1))
    inside = [token for token in tokens[first:last] if token.is_content]
    return (inside[0].start, inside[-1].end) if inside else (None, None)


def answer_tokens(tokenizer: GuardTokenizer, row: Row, spoken: Spoken) -> tuple[list[int], list[Token]]:
    """Return the ids before an answer's think block, and the tokens of that block and of the answer, with their
    characters as the reader counts them: position `i` of the conversation is token `i` less the number of those ids.
    """
    before = tokenizer.encode_segments([*render(row.messages[:-1]), *ANSWER_HEADER])
    if not spoken.reasoning:
        return before, _part(tokenizer, EMPTY_THINKING, spoken.text, "", 0)
    reasoning = _part(tokenizer, BEGIN_THINKING, spoken.reasoning, END_THINKING[0].text, 0)
    return before, reasoning + _part(tokenizer, END_THINKING[1:], spoken.text, "", len(spoken.reasoning))


def _part(
    tokenizer: GuardTokenizer, scaffold: tuple[Segment, ...], text: str, suffix: str, first_char: int
) -> list[Token]:
    """Return the tokens of a think block's piece and of the text behind it."""
    encoder = IncrementalEncoder(tokenizer, scaffold[-1].text)
    tokens = [Token(i, 0, 0, True, False) for i in tokenizer.encode_segments(scaffold[:-1])]
    tokens += encoder.feed(text) + encoder.finish(suffix)
    return [
        Token(t.id, first_char + t.start, first_char + t.end, t.complete, True) if t.is_content else t for t in tokens
    ]
