"""Calls an engine for many at once so that each fails alone."""

from collections.abc import Sequence

from guardrail.engines.base import Engine, Feed, Logits, check_logits, engine_edge
from guardrail.errors import EngineError

Answer = Logits | EngineError
"""What a feed gets: logits that were checked, or why there are none."""


def answers(engine: Engine, feeds: Sequence[Feed]) -> list[Answer]:
    """Step; where the engine fails for a batch, step for each feed alone, so that one cannot spoil the others'."""
    try:
        with engine_edge():
            logits = engine.step(feeds)
            if len(logits) != len(feeds):
                raise EngineError(f"the engine answered {len(logits)} of {len(feeds)} feeds")
    except EngineError as error:
        if len(feeds) == 1:
            return [error]
        return [answer for feed in feeds for answer in answers(engine, [feed])]
    return [_checked(engine, feed, one) for feed, one in zip(feeds, logits, strict=True)]


def _checked(engine: Engine, feed: Feed, logits: Logits) -> Answer:
    try:
        with engine_edge():
            check_logits(logits, len(feed.ids), engine.info)
    except EngineError as error:
        return error
    return logits
