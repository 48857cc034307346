"""Completions of many requests judged together: trainers send them singly, and models read them faster in batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from guardrail.service.errors import overloaded
from guardrail.training.rewards.values import Completion, Opinion, RewardKind

Judge = Callable[[Sequence[Completion], RewardKind], list[Opinion]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request's completions, and where its answer goes."""

    completions: Sequence[Completion]
    kind: RewardKind
    answer: asyncio.Future[list[Opinion]]


class Gathering:
    """Judges in a thread of its own, one batch after the other; what arrives meanwhile is the next batch.

    For one event loop.

    Attributes:
        n_waiting: completions that are not answered yet.
        n_batches: batches so far.
    """

    def __init__(self, judge: Judge, *, most: int, most_waiting: int) -> None:
        """Start nothing yet; `run` does the work.

        Args:
            judge: blocks until the completions are judged.
            most: completions of one batch, unless one request alone has more.
            most_waiting: completions that may wait; more are refused.
        """
        self._judge, self._most, self._most_waiting = judge, most, most_waiting
        self._waiting: deque[_Asked] = deque()
        self._arrived = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, "guardrail-reward")
        self.n_waiting = self.n_batches = 0

    async def ask(self, completions: Sequence[Completion], kind: RewardKind) -> list[Opinion]:
        """Return the opinions on a request's completions, when their batch was judged.

        Raises:
            ServiceError: 503, too many wait.
        """
        if self.n_waiting + len(completions) > self._most_waiting:
            raise overloaded("too many completions wait to be judged")
        answer: asyncio.Future[list[Opinion]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(completions, kind, answer))
        self.n_waiting += len(completions)
        self._arrived.set()
        try:
            return await answer
        finally:
            self.n_waiting -= len(completions)

    async def run(self) -> None:
        """Judge what arrives, until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                while batch := self._take():
                    await self._answer(batch)
                self._arrived.clear()
        finally:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> list[_Asked]:
        """Return the next requests of one kind; those whose caller went away are left out."""
        batch: list[_Asked] = []
        n = 0
        while self._waiting:
            first = self._waiting[0]
            if first.answer.done():
                self._waiting.popleft()
                continue
            if batch and (first.kind != batch[0].kind or n + len(first.completions) > self._most):
                break
            batch.append(self._waiting.popleft())
            n += len(first.completions)
        return batch

    async def _answer(self, batch: Sequence[_Asked]) -> None:
        """Judge a batch; what is raised goes to each of its callers."""
        self.n_batches += 1
        completions = [one for asked in batch for one in asked.completions]
        loop = asyncio.get_running_loop()
        try:
            opinions = await loop.run_in_executor(self._worker, self._judge, completions, batch[0].kind)
        except Exception as error:  # noqa: BLE001  # the edge of the worker: the callers get it
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        start = 0
        for asked in batch:
            end = start + len(asked.completions)
            if not asked.answer.done():
                asked.answer.set_result(opinions[start:end])
            start = end
