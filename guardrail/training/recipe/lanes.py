"""The way to one model: its settings, its limits, what was asked of it, and the model itself once it is opened."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

from guardrail.errors import EngineError, MissingExtra
from guardrail.training.recipe.budget import most_tokens
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.manifest import CallCounts
from guardrail.training.recipe.settings import ModelSettings

try:
    from aiolimiter import AsyncLimiter
except ModuleNotFoundError as error:
    raise MissingExtra("aiolimiter", "train") from error

Pace = Callable[[], Awaitable[None]]
"""Waits until one more request may be sent."""


class Model(Protocol):
    """Answers calls, in one way or another."""

    async def ask(self, call: Call, key: bytes) -> Reply:
        """Return what one request brings: at least one text, at most `call.n`.

        Args:
            call: the question.
            key: of the request: what is drawn for it is drawn by that.

        Raises:
            CallRefused: this call will never be answered.
            EngineError: the model cannot be asked now.
        """

    async def close(self) -> None:
        """Give up what is held; closing twice is harmless."""


class Lane:
    """The way to one model. For one event loop.

    Attributes:
        name: of the model in the recipe.
        tally: what was asked of it.
        places: for calls under way.
        has_answered: whether it ever answered, as far as is known here.
    """

    def __init__(self, name: str, settings: ModelSettings, folder: Path, environment: Mapping[str, str]) -> None:
        """Prepare; the model is opened with the first question."""
        self.name, self._settings, self._folder = name, settings, folder
        self.tally = CallCounts()
        self.has_answered = False
        self.places = asyncio.Semaphore(settings.concurrency)
        self._opening = asyncio.Lock()
        self._model: Model | None = None
        rate = settings.requests_per_minute
        limiter = AsyncLimiter(1, 60 / rate) if rate else None  # evenly: a burst would double a minute's requests
        self._pace: Pace = limiter.acquire if limiter else _go
        self._open = partial(_open_model, name, settings, folder, environment, self._pace)

    @cached_property
    def identity(self) -> str:
        """What the model is known by."""
        return identity_of(self._settings, self._folder)

    def as_sent(self, call: Call) -> Call:
        """Return a call without what the model is not sent, so that it is known by what is sent."""
        if self._settings.kind == "endpoint" and not self._settings.has_schemas:
            return replace(call, schema=None)
        return call

    def most_tokens(self, call: Call) -> int:
        """Return the tokens that are set aside for a call; those of functions and guards are not counted."""
        return most_tokens(call) if self._settings.kind in ("endpoint", "checkpoint") else 0

    async def ask(self, call: Call, key: bytes) -> Reply:
        """Return what one request brings, as `Model`; the model is opened with the first question."""
        async with self._opening:
            if self._model is None:
                self._model = await asyncio.to_thread(self._open)  # weights are read, and libraries imported
        await self._pace()
        reply = await self._model.ask(call, key)
        if not 0 < len(reply.texts) <= call.n:
            raise EngineError(f"model {self.name!r} gave {len(reply.texts)} samples, not {call.n}")
        return reply

    def count_cached(self) -> None:
        """Count an answer that cost nothing."""
        self.tally.cached += 1

    def count(self, reply: Reply) -> None:
        """Count what a request brought, which was paid for."""
        self.has_answered = True
        self.tally.n_input += reply.n_input
        self.tally.n_output += reply.n_output
        price = reply.n_input * self._settings.input_price + reply.n_output * self._settings.output_price
        self.tally.cost += price / 1_000_000

    async def close(self) -> None:
        """Close the model, if it was opened."""
        model, self._model = self._model, None
        if model:
            await model.close()


def _open_model(name: str, settings: ModelSettings, folder: Path, environment: Mapping[str, str], pace: Pace) -> Model:
    """Return a model that is ready; its libraries are imported only now."""
    if settings.kind == "endpoint":
        from guardrail.training.recipe.endpoint import Endpoint

        return Endpoint(name, settings, environment, pace)
    if settings.kind == "checkpoint":
        from guardrail.training.recipe.checkpoint import Checkpoint

        return Checkpoint(settings)
    if settings.kind == "guard":
        from guardrail.training.recipe.guard_model import GuardModel

        return GuardModel(settings)
    from guardrail.training.recipe.function import Function

    return Function(settings, folder)


async def _go() -> None:
    """Wait for nothing."""
