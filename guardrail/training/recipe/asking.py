"""Behind `Ask`: the cache first, then the model, within its limits and the budget; every call is counted."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from guardrail.errors import BudgetSpent, CallRefused, ConfigurationError, EngineError
from guardrail.training.recipe.budget import Purse
from guardrail.training.recipe.cache import REFUSED, Cache
from guardrail.training.recipe.calls import Call, Reply, key_after
from guardrail.training.recipe.lanes import Lane
from guardrail.training.recipe.manifest import CallCounts
from guardrail.training.recipe.settings import ModelSettings

ALL_REFUSED = 20
"""Calls that a model may refuse before it has answered any: then it is the settings that are wrong, not the rows, and
all rows would be left out one by one. Ours."""


class Asking:
    """Asks the models of a recipe; see `Ask`. For one event loop.

    Equal calls under way at once are one request. A call goes on when whoever asked has gone, so that its answer is
    kept.

    Attributes:
        tallies: what was asked of each model so far, by its name.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        cache: Cache,
        purse: Purse,
        folder: Path,
        *,
        environment: Mapping[str, str],
        on_change: Callable[[], None],
    ) -> None:
        """Prepare; models are opened with their first call. See `open_asking`."""
        self._cache, self._purse, self._on_change = cache, purse, on_change
        self._lanes = {name: Lane(name, settings, folder, environment) for name, settings in models.items()}
        self._under_way: dict[bytes, asyncio.Task[Reply]] = {}
        self.tallies: dict[str, CallCounts] = {name: lane.tally for name, lane in self._lanes.items()}

    async def __call__(self, call: Call) -> Reply:
        """Return the answer; see `Ask`."""
        lane = self._lanes.get(call.model)
        if lane is None:
            raise ConfigurationError(
                f"the recipe has no model {call.model!r}", hint=f"there are: {', '.join(self._lanes) or 'none'}"
            )
        call = lane.as_sent(call)
        key = call.key(lane.identity)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._answer(lane, call, key))
            task.add_done_callback(partial(self._forget, key))
            return await asyncio.shield(task)
        reply = await asyncio.shield(task)
        lane.count_cached()
        self._on_change()
        return reply

    async def close(self, *, waits: bool) -> None:
        """Close all models.

        Args:
            waits: whether calls under way are waited for, so that their answers are kept; else they are cancelled.
        """
        tasks = [*self._under_way.values()]
        if not waits:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes.values():
            await lane.close()

    async def _answer(self, lane: Lane, call: Call, key: bytes) -> Reply:
        try:
            kept = await self._cache.get(key)
        except CallRefused:
            lane.count_cached()
            self._on_change()
            raise
        if kept is None:
            return await self._ask(lane, call, key)
        lane.count_cached()
        self._on_change()
        return kept

    async def _ask(self, lane: Lane, call: Call, key: bytes) -> Reply:
        """Return the model's answer as it stands in the cache by then: of as many requests as bring all samples."""
        found, n_used = await self._begun(call, key), 0
        n_reserved = lane.most_tokens(replace(call, n=call.n - len(found.texts)))
        async with lane.places:
            await self._purse.take(n_reserved)
            started = time.monotonic()
            try:
                while (n_left := call.n - len(found.texts)) > 0:
                    place = key_after(key, len(found.texts))
                    part = await lane.ask(replace(call, n=n_left), place)
                    n_used += part.n_input + part.n_output
                    await self._count(lane, part)
                    found += part if len(part.texts) == n_left else await self._cache.put(place, lane.name, part)
                return await self._cache.put(key, lane.name, found)
            except EngineError as error:
                await self._note(lane, key, error)
                raise
            finally:
                lane.tally.asked += 1
                lane.tally.seconds += time.monotonic() - started
                await self._purse.settle(n_reserved, n_used)
                self._on_change()

    async def _begun(self, call: Call, key: bytes) -> Reply:
        """Return the samples that requests of an earlier start brought before the call failed."""
        found = Reply(())
        while len(found.texts) < call.n - 1:  # the last of them came with the whole
            part = await self._cache.get(key_after(key, len(found.texts)))
            if part is None:
                break
            found += part
        return found

    async def _count(self, lane: Lane, part: Reply) -> None:
        if not lane.has_answered:
            await self._cache.note_answered(lane.identity)
        lane.count(part)

    async def _note(self, lane: Lane, key: bytes, error: EngineError) -> None:
        """Count a failure. The refusal of a model that answers other calls is kept as what it says of this one.

        Raises:
            EngineError: the model refuses everything.
        """
        tally, kind, status = lane.tally, type(error).__name__, getattr(error, "status", 0)
        if not isinstance(error, CallRefused):
            tally.failed += 1
            await self._cache.note_failure(key, lane.name, kind, status)
            return
        tally.refused += 1
        lane.has_answered = lane.has_answered or await self._cache.has_answered(lane.identity)
        await self._cache.note_failure(key, lane.name, REFUSED if lane.has_answered else kind, status)
        if tally.refused >= ALL_REFUSED and not lane.has_answered:
            raise EngineError(
                f"model {lane.name!r} refused all of its first {tally.refused} calls: {error}",
                hint="its server may not know an option that is sent, such as a schema: try has_schemas = false",
            ) from error

    def _forget(self, key: bytes, task: "asyncio.Task[Reply]") -> None:
        """Drop a call that has ended; one that nobody waits for any more may have failed unheard."""
        del self._under_way[key]
        if not task.cancelled():
            task.exception()


@asynccontextmanager
async def open_asking(
    models: Mapping[str, ModelSettings],
    cache: Cache,
    purse: Purse,
    recipe_folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    on_change: Callable[[], None] = lambda: None,
) -> AsyncIterator[Asking]:
    """Ask the models of a recipe for as long as the context lasts; cache and budget stay open.

    When it ends well, or at the end of the budget, calls under way are waited for, since they are paid for; at any
    other failure they are cancelled.

    Args:
        models: by name.
        cache: in front of all of them.
        purse: what calls are paid from.
        recipe_folder: functions are looked for there.
        environment: holds the servers' keys; None for that of the process.
        on_change: called whenever a tally has changed.

    Raises:
        ConfigurationError: the settings of a model cannot work.
    """
    found = os.environ if environment is None else environment
    asking = Asking(models, cache, purse, recipe_folder, environment=found, on_change=on_change)
    try:
        yield asking
    except BaseException as error:
        await asking.close(waits=_is_spent(error))
        raise
    await asking.close(waits=True)


def _is_spent(error: BaseException) -> bool:
    """Whether nothing failed but the budget."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_spent, error.exceptions))
    return isinstance(error, BudgetSpent)
