"""What an agent's step costs when its history has grown, with reuse of what was read and without.

Each step judges a tool result, the answer to it and the next call, as an agent's middleware does, and each time the
whole history stands before it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.conversation import Message, Role, ToolCall
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, Logits
from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.reuse import KEPT_BYTES
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.testing import EngineAround, FakeEngine

_BEGINNING = (
    Message(
        Role.SYSTEM,
        "You are an assistant who plans journeys. You look up trains, weather and opening times with your tools, one "
        "question at a time, and never book anything before the traveller has agreed to the price. Times are local, "
        "prices are in euros, and where a tool knows nothing you say so.",
    ),
    Message(Role.USER, "Plan four days in the mountains for the two of us, by train, with a walk and a bed each day."),
)


@dataclass(frozen=True, slots=True)
class PrefixResult:
    """An agent's loop with and without reuse.

    Attributes:
        ratio_at_step_30: tokens that the last step reads without reuse, by those with it; the 30th unless told
            otherwise.
        time_ratio_at_step_30: the same of seconds; None if tokens were only counted.
        tokens: read at each step with reuse.
        tokens_without: read at each step without it.
        seconds: of each step with reuse; None if tokens were only counted.
        last_seconds_without: of the last step without it; those of all others would take minutes to measure. None if
            tokens were only counted.
    """

    ratio_at_step_30: float
    time_ratio_at_step_30: float | None
    tokens: tuple[int, ...]
    tokens_without: tuple[int, ...]
    seconds: tuple[float, ...] | None
    last_seconds_without: float | None


@dataclass(frozen=True, slots=True)
class _Cost:
    n_tokens: int
    seconds: float


def measure_prefix(
    engine: Engine, tokenizer: GuardTokenizer, n_steps: int = 30, *, is_timed: bool = True
) -> PrefixResult:
    """Run the loop with reuse, and its last step without.

    Args:
        engine: that reads; where tokens are only counted, one that runs no model stands in for it.
        tokenizer: of its model.
        n_steps: of the loop.
        is_timed: whether seconds are measured too; tokens do not depend on the model.
    """
    instant = FakeEngine(
        lambda _ids, _before: (RiskLevel.SAFE, RESPONSE_LABELS.categories[0], 0.9),
        vocab_size=tokenizer.vocab_size,
        max_context=engine.info.max_context,
    )
    reading = engine if is_timed else instant
    with_reuse = _measure(reading, tokenizer, KEPT_BYTES, range(n_steps))
    (last,) = _measure(reading, tokenizer, 0, range(n_steps - 1, n_steps))
    without = _measure(instant, tokenizer, 0, range(n_steps - 1))
    return PrefixResult(
        ratio_at_step_30=last.n_tokens / with_reuse[-1].n_tokens,
        time_ratio_at_step_30=last.seconds / with_reuse[-1].seconds if is_timed else None,
        tokens=tuple(step.n_tokens for step in with_reuse),
        tokens_without=tuple(step.n_tokens for step in [*without, last]),
        seconds=tuple(step.seconds for step in with_reuse) if is_timed else None,
        last_seconds_without=last.seconds if is_timed else None,
    )


def _measure(engine: Engine, tokenizer: GuardTokenizer, kept_bytes: int, steps: Sequence[int]) -> list[_Cost]:
    """Take some steps with a guard of their own; the policy marks and never stops, so that all texts are read."""
    counting, costs = _CountingEngine(engine), []
    with Guard(counting, tokenizer, policy=Policy(enforce=False), kept_bytes=kept_bytes) as guard:
        for number in steps:
            n_before, started = counting.n_tokens, time.perf_counter()
            _step(guard, number)
            costs.append(_Cost(counting.n_tokens - n_before, time.perf_counter() - started))
    return costs


def _step(guard: Guard, number: int) -> None:
    history = [*_BEGINNING, *(message for n in range(number) for message in _messages(n))]
    result, turn = _messages(number)
    guard.check_tool_result(history, result.content, tool="look_up", conversation_id="agent")
    history.append(result)
    guard.check_response(history, turn.content, conversation_id="agent")
    history.append(Message(Role.ASSISTANT, turn.content))
    guard.check_tool_call(history, turn.tool_calls[0], conversation_id="agent")


def _messages(number: int) -> tuple[Message, Message]:
    """Return what a step adds to the history: a tool result, and the turn that answers it with the next call."""
    result = f"Train {100 + number} leaves at {6 + number // 4}:{number % 4 * 15:02} and costs {38 + number} euros."
    text = f"Train {100 + number} would do. Let me look up the weather."
    return Message(Role.TOOL, result), Message(
        Role.ASSISTANT, text, tool_calls=(ToolCall("look_up", f'{{"what": "weather", "day": {number}}}'),)
    )


class _CountingEngine(EngineAround):
    """Counts the tokens that its inner engine reads, and leaves it open.

    Attributes:
        n_tokens: read so far.
    """

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.n_tokens = 0

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.n_tokens += sum(len(feed.ids) for feed in feeds)
        return self.inner.step(feeds)

    def close(self) -> None:
        """Leave it to its owner."""
