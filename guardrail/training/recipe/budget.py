"""How much a run may ask: a call is let in only if calls and tokens cannot go beyond the bound."""

import asyncio
import json
from typing import Protocol

from guardrail.errors import BudgetSpent
from guardrail.training.recipe.calls import Call

_TEMPLATE_TOKENS = 16
"""Tokens that templates put around a turn, at most. Ours."""

_GUARD_TOKENS = 2048
"""Tokens of task and policy around the conversation of a guard, at most: they have 1,663 characters."""


class Purse(Protocol):
    """What calls are paid from: a budget, or what stands in front of it for other machines."""

    async def take(self, n_tokens: int) -> None:
        """Set a call and its tokens aside.

        Raises:
            BudgetSpent: there are not enough left.
        """

    async def settle(self, n_reserved: int, n_used: int) -> None:
        """Give back what a call did not use."""


class Budget:
    """Calls and tokens of one start of a run. Answers from the cache are free; all kinds of models count alike, and a
    call that failed counts as a call. Functions and guards count no tokens. Once a call was turned away, all are: the
    stage ends, and what is still under way is waited for. For one event loop at a time.

    Attributes:
        n_calls: calls that were let in.
        n_tokens: tokens of those that have ended.
        is_spent: whether one was turned away.
    """

    def __init__(self, max_calls: int | None = None, max_tokens: int | None = None) -> None:
        """Start with nothing spent.

        Args:
            max_calls: bound of calls; one call may bring several samples. None: no bound.
            max_tokens: bound of tokens, read and written together. None: no bound.
        """
        self._max_calls, self._max_tokens = max_calls, max_tokens
        self._n_reserved = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.n_calls = 0
        self.n_tokens = 0
        self.is_spent = False

    async def take(self, n_tokens: int) -> None:
        """Set a call and its tokens aside; wait for calls under way if what they give back may be enough.

        Raises:
            BudgetSpent: there are not enough left.
        """
        while True:
            has_calls = self._max_calls is None or self.n_calls < self._max_calls
            if self.is_spent or not has_calls or not self._fits(n_tokens):
                raise self._spent(n_tokens)
            if self._fits(self._n_reserved + n_tokens):
                break
            await self._settled()
        self.n_calls += 1
        self._n_reserved += n_tokens

    async def settle(self, n_reserved: int, n_used: int) -> None:
        """Give back what a call did not use."""
        self._n_reserved -= n_reserved
        self.n_tokens += n_used
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def _settled(self) -> None:
        """Return when a call under way has given something back."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            self._waiting.remove(future)

    def _fits(self, n_tokens: int) -> bool:
        return self._max_tokens is None or self.n_tokens + n_tokens <= self._max_tokens

    def _spent(self, n_tokens: int) -> BudgetSpent:
        self.is_spent = True
        self._wake()
        said = f"the budget of this start is spent: {self.n_calls} calls, {self.n_tokens} tokens"
        if self._max_tokens is not None and n_tokens > self._max_tokens:
            return BudgetSpent(said, hint=f"one call may take {n_tokens} tokens: set a larger --max-tokens")
        is_out_of_calls = self._max_calls is not None and self.n_calls >= self._max_calls
        option = "--max-calls" if is_out_of_calls else "--max-tokens"
        hint = f"run the same command again, or with a larger {option}; no answer is paid for twice"
        return BudgetSpent(said, hint=hint)


def most_tokens(call: Call) -> int:
    """Return at least as many tokens as a call can take, read and written: no token is shorter than a byte.

    What is read counts for each sample, since some servers bring them one by one.
    """
    texts = [call.prompt, json.dumps(call.schema) if call.schema else ""]
    for message in call.messages:
        texts += [message.content, message.reasoning or "", *(one.name + one.arguments for one in message.tool_calls)]
    n_read = sum(len(text.encode(errors="surrogatepass")) for text in texts) + _TEMPLATE_TOKENS * (
        len(call.messages) + 1
    )
    return call.n * (n_read + call.max_tokens + (_GUARD_TOKENS if call.form == "guard" else 0))
