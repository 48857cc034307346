"""Fits conversations into a model's context: old turns go first, the turn under judgement is always read whole."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardrail.conversation import ANSWER_HEADER, Message, Role, render, render_prompt
from guardrail.encoding import GuardTokenizer
from guardrail.tape import common_prefix

WINDOW_OVERLAP = 4
"""Neighbouring windows of an over-long turn share one part in this many. Our choice."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Token ids that fit, and what it took.

    Attributes:
        windows: readings, each at most the limit; more than one only if the judged turn alone is too long.
        n_dropped_turns: old turns that are not read.
    """

    windows: tuple[list[int], ...]
    n_dropped_turns: int


def fit_prompt(tokenizer: GuardTokenizer, messages: Sequence[Message], limit: int) -> Fitted:
    """Return readings of a conversation whose last turn is judged at its closing `<|im_end|>`."""
    fitted = _fit_turns(messages, limit, lambda kept: tokenizer.encode_segments(render_prompt(kept)))
    return fitted or Fitted(tuple(_windows(tokenizer, messages[-1], limit)), len(messages) - 1)


def fit_context(tokenizer: GuardTokenizer, messages: Sequence[Message], limit: int) -> Fitted:
    """Return one reading of what stands before an answer, with the answer's header.

    If the last turn alone is too long, its latest tokens are kept and it counts as dropped too.
    """

    def encode(kept: Sequence[Message]) -> list[int]:
        return tokenizer.encode_segments([*render(kept), *ANSWER_HEADER])

    return _fit_turns(messages, limit, encode) or Fitted((encode(messages[-1:])[-limit:],), len(messages))


def _fit_turns(
    messages: Sequence[Message], limit: int, encode: Callable[[Sequence[Message]], list[int]]
) -> Fitted | None:
    """Return the one reading that leaves out the fewest old turns, or None if the last turn alone is too long.

    System turns stay as long as they fit beside the last turn. Turns are encoded together, since what a turn takes
    depends on its neighbours: tool results share a frame, old reasoning is not rendered.
    """
    ids = encode(messages)
    if len(ids) <= limit or len(messages) < 2:
        return Fitted((ids,), 0) if len(ids) <= limit else None
    system = {i for i in range(len(messages) - 1) if messages[i].role is Role.SYSTEM}
    others = [i for i in range(len(messages)) if i not in system]

    def kept(n_dropped: int) -> Sequence[Message]:
        if n_dropped == len(others):
            return messages[-1:]
        return [messages[i] for i in sorted({*system, *others[n_dropped:]})]

    first = bisect_left(range(len(others)), True, key=lambda n: len(encode(kept(n))) <= limit)
    for n_dropped in range(first, len(others) + 1):  # more than once only where fewer turns took more tokens
        ids = encode(kept(n_dropped))
        if len(ids) <= limit:
            return Fitted((ids,), len(messages) - len(kept(n_dropped)))
    return None


def _windows(tokenizer: GuardTokenizer, message: Message, limit: int) -> list[list[int]]:
    """Cut one over-long turn into overlapping windows, each between the template's opening and closing tokens.

    Where the text shares a token with the template (leading newlines, a tool result's last symbol), that token counts
    as text, so that every token of the turn stands in some window.
    """
    segments = render_prompt([message])
    at = next(i for i, segment in enumerate(segments) if segment.kind == "content")
    opening, closing = (tokenizer.encode_segments(part) for part in (segments[:at], segments[at + 1 :]))
    ids = tokenizer.encode_segments(segments)
    n_head, n_tail = common_prefix(ids, opening), common_prefix(ids[::-1], closing[::-1])
    head, body, tail = ids[:n_head], ids[n_head : len(ids) - n_tail], ids[len(ids) - n_tail :]
    size = max(1, limit - len(opening) - len(closing))
    stride = max(1, size - size // WINDOW_OVERLAP)
    starts = range(0, max(1, len(body) - size + stride), stride)
    return [
        [*(opening if start else head), *body[start : start + size], *(tail if start == starts[-1] else closing)]
        for start in starts
    ]
