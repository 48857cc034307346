"""A stage's work on a Ray cluster: the same functions as here, in actors; needs the extra `ray`.

pieces (from here, some at a time) -> work (actors, a part each) -> write (here). Cache and budget stay on this machine,
with one actor that all others ask: an answer is kept before it is used, wherever it came from, so that neither a worker
nor this process can take paid answers along when it dies.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from guardrail.errors import BudgetSpent, ConfigurationError, GuardError, MissingExtra
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Reply
from guardrail.training.recipe.counting import Calls, Counter, counts_of, since
from guardrail.training.recipe.parts import cut
from guardrail.training.recipe.runner import Advance, Finish, MadePart, Piece, work_on
from guardrail.training.recipe.settings import ModelSettings
from guardrail.training.recipe.stage import Work

try:
    import ray
    import ray.data
    import ray.util.client
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as error:
    raise MissingExtra("ray", "ray") from error

T = TypeVar("T")

Batch = dict[str, Sequence[Any]]
"""A column, and what stands in it: one part."""

_PARTS_AHEAD = 64
"""Parts for each worker that are handed to the cluster at once: what bounds memory. Our choice."""

_WAITING_CPUS = 0.1
"""What a worker asks for that only waits for servers. One that runs a model asks for a whole core."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to ask models as this process would.

    Attributes:
        models: by name; each worker has its share of their limits.
        folder: of the recipe; what it names must be readable on every node under the same path.
        environment: the servers' keys.
    """

    models: Mapping[str, ModelSettings]
    folder: Path
    environment: Mapping[str, str]

    def shared_by(self, n_workers: int) -> "Setup":
        """Return the setup of one of several workers."""
        models = {
            name: replace(
                one,
                concurrency=max(1, one.concurrency // n_workers),
                requests_per_minute=one.requests_per_minute / n_workers,
            )
            for name, one in self.models.items()
        }
        return replace(self, models=models, folder=self.folder.resolve())

    @property
    def n_cpus(self) -> float:
        """CPU cores that a worker asks for."""
        return 1 if any(one.kind in ("checkpoint", "guard") for one in self.models.values()) else _WAITING_CPUS


class RayRunner:
    """Implements `Runner` on the cluster at RAY_ADDRESS, of which this machine is a node, or on this machine alone."""

    def __init__(self, setup: Setup, cache_path: Path, budget: Budget, counter: Counter, n_workers: int) -> None:
        """Set up.

        Args:
            setup: of all workers together.
            cache_path: of the call cache, on this machine.
            budget: of this start; it goes on with what is left of it.
            counter: takes what was asked.
            n_workers: actors that work.
        """
        self._setup, self._n_workers = setup.shared_by(n_workers), n_workers
        self._cache_path, self._budget, self._counter = cache_path.resolve(), budget, counter

    def run(self, pieces: Iterable[Piece[T]], work: Work[T], finish: Finish, advance: Advance) -> None:
        """See `Runner`. A worker that dies is replaced, and its part done again with the answers that it had."""
        with _ray():
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            desk = (
                ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=here).remote(self._cache_path, self._budget)
            )
            try:
                for some in cut(pieces, _PARTS_AHEAD * self._n_workers):
                    self._run(some, work, desk, finish, advance)
            finally:
                n_calls, n_tokens, is_spent = ray.get(desk.spent.remote())
                self._budget.n_calls, self._budget.n_tokens, self._budget.is_spent = n_calls, n_tokens, is_spent

    def _run(self, pieces: list[Piece[T]], work: Work[T], desk: Any, finish: Finish, advance: Advance) -> None:
        sizes = {piece.number: len(piece.items) for piece in pieces}
        made = ray.data.from_items([{"piece": piece} for piece in pieces], override_num_blocks=len(pieces)).map_batches(
            _Worker,
            fn_constructor_args=(self._setup, work, desk),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self._n_workers),
            num_cpus=self._setup.n_cpus,
        )
        spent: BudgetSpent | None = None
        for row in made.iter_rows():
            done: _Done = row["done"]
            self._counter.add(done.calls)
            if isinstance(done.error, BudgetSpent):  # the others end by themselves, with what is under way
                spent = done.error
            elif done.error is not None:
                raise done.error
            elif done.part is not None:
                finish(done.part)
                advance(sizes[done.part.number])
        if spent is not None:
            raise spent


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a piece: a part, or an error."""

    calls: Calls
    part: MadePart | None = None
    error: GuardError | None = None


class _Worker:
    """An actor that does one part after the other; its models stay open."""

    def __init__(self, setup: Setup, work: Work[Any], desk: Any) -> None:
        self._setup, self._work, self._desk = setup, work, desk
        self._loop = asyncio.new_event_loop()
        self._opened = AsyncExitStack()
        self._asking = self._loop.run_until_complete(self._open())

    def __call__(self, batch: Batch) -> Batch:
        return {"done": [self._loop.run_until_complete(self._do(piece)) for piece in batch["piece"]]}

    async def _open(self) -> Any:
        cache, purse, setup = _DeskCache(self._desk), _DeskPurse(self._desk), self._setup
        return await self._opened.enter_async_context(
            open_asking(setup.models, cache, purse, setup.folder, environment=setup.environment)
        )

    async def _do(self, piece: Piece[Any]) -> _Done:
        before, parts = counts_of(self._asking.tallies), list[MadePart]()
        try:
            await work_on([piece], self._work, self._asking, parts.append, lambda _: None)
            failed = None
        except GuardError as error:
            await _end_calls(waits=isinstance(error, BudgetSpent))
            failed = error
        return _Done(since(before, counts_of(self._asking.tallies)), parts[0] if parts else None, failed)


async def _end_calls(*, waits: bool) -> None:
    """Let calls that nobody waits for any more come to their end, or cancel them: the loop stands still after this."""
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    if not waits:
        for task in under_way:
            task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


class _Desk:
    """An actor on the machine that the run was started on: it holds the cache and the budget.

    Errors are returned, not raised: Ray would wrap them.
    """

    def __init__(self, cache_path: Path, budget: Budget) -> None:
        self._cache, self._budget = CallCache(cache_path), budget

    async def get(self, key: bytes) -> Reply | GuardError | None:
        return await _returned(self._cache.get(key))

    async def put(self, key: bytes, model: str, reply: Reply) -> Reply | GuardError:
        return await _returned(self._cache.put(key, model, reply))

    async def note_failure(self, key: bytes, model: str, kind: str, status: int) -> GuardError | None:
        return await _returned(self._cache.note_failure(key, model, kind, status))

    async def note_answered(self, identity: str) -> GuardError | None:
        return await _returned(self._cache.note_answered(identity))

    async def has_answered(self, identity: str) -> bool | GuardError:
        return await _returned(self._cache.has_answered(identity))

    async def take(self, n_tokens: int) -> GuardError | None:
        return await _returned(self._budget.take(n_tokens))

    async def settle(self, n_reserved: int, n_used: int) -> None:
        await self._budget.settle(n_reserved, n_used)

    async def spent(self) -> tuple[int, int, bool]:
        return self._budget.n_calls, self._budget.n_tokens, self._budget.is_spent


class _DeskCache:
    """The cache as a worker sees it; see `Cache`."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    async def get(self, key: bytes) -> Reply | None:
        found: Reply | None = _raised(await self._desk.get.remote(key))
        return found

    async def put(self, key: bytes, model: str, reply: Reply) -> Reply:
        kept: Reply = _raised(await self._desk.put.remote(key, model, reply))
        return kept

    async def note_failure(self, key: bytes, model: str, kind: str, status: int) -> None:
        _raised(await self._desk.note_failure.remote(key, model, kind, status))

    async def note_answered(self, identity: str) -> None:
        _raised(await self._desk.note_answered.remote(identity))

    async def has_answered(self, identity: str) -> bool:
        return bool(_raised(await self._desk.has_answered.remote(identity)))


class _DeskPurse:
    """The budget as a worker sees it; see `Purse`."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    async def take(self, n_tokens: int) -> None:
        _raised(await self._desk.take.remote(n_tokens))

    async def settle(self, n_reserved: int, n_used: int) -> None:
        await self._desk.settle.remote(n_reserved, n_used)


async def _returned(done: Awaitable[T]) -> T | GuardError:
    try:
        return await done
    except GuardError as error:
        return error


def _raised(said: Any) -> Any:
    """Return what the desk said, unless that was an error."""
    if isinstance(said, GuardError):
        raise said
    return said


def _ray() -> ExitStack:
    """Connect to Ray, quietly, and leave it at the end; a connection that stands already is used and left.

    Raises:
        ConfigurationError: this machine is no node of the cluster.
    """
    stack = ExitStack()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        stack.callback(ray.shutdown)
    if ray.util.client.ray.is_connected():
        stack.close()
        raise ConfigurationError(
            "through ray:// the call cache would lie on the cluster's head",
            hint="start the command on a node of the cluster, with RAY_ADDRESS=auto",
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every part is a block of its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return stack
