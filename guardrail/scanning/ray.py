"""Parts judged on a Ray cluster: the same function as here, in actors that each hold a model; needs the extra `ray`.

read (a task for each file) -> judge (actors) -> write (here, part by part: if this process is killed, the next start
goes on with what is left)
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from guardrail.errors import MissingExtra
from guardrail.guard import Guard
from guardrail.scanning.judge import JudgedPart, Part, Runner, Work, judge_part, read_parts

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise MissingExtra("ray", "ray") from error

Load = Callable[[], AbstractContextManager[Guard]]
"""Loads a guard that keeps nothing between texts, on whatever node it is called."""

Batch = dict[str, Sequence[Any]]
"""A column, and what stands in it: one piece of work, one part."""

_READER_CPUS = 0
"""What a reading task asks for: it waits for the actors most of the time. Where they take every core, it would wait for
one for ever."""


def judging_on_ray(load: Load, n_actors: int, *, threads: int = 1) -> Runner:
    """Return a runner that judges in actors, on the cluster at RAY_ADDRESS or on this machine.

    The files must be readable on every node under the same path.

    Args:
        load: called once in each actor.
        n_actors: models.
        threads: CPU cores that each of them asks for.
    """

    def run(works: Sequence[Work]) -> Iterator[JudgedPart]:
        with _ray():
            pieces = ray.data.from_items([{"work": work} for work in works], override_num_blocks=max(1, len(works)))
            judged = pieces.map_batches(_read, batch_size=1, num_cpus=_READER_CPUS).map_batches(
                _Judge,
                fn_constructor_args=(load,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=n_actors),
                num_cpus=threads,
            )
            for row in judged.iter_rows():
                yield row["judged"]

    return run


def _ray() -> ExitStack:
    """Connect to Ray, quietly, and leave it at the end; a connection that stands already is used and left."""
    stack = ExitStack()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        stack.callback(ray.shutdown)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every part is a block of its own, so that actors get them while others are read
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return stack


def _read(batch: Batch) -> Iterator[Batch]:
    for work in batch["work"]:
        for part in read_parts(work):
            yield {"work": [work], "part": [part]}


class _Judge:
    """An actor: one model, one part after the other."""

    def __init__(self, load: Load) -> None:
        self._loaded = load()  # held for as long as the actor lives: who forgets it closes the guard
        self._guard = self._loaded.__enter__()

    def __call__(self, batch: Batch) -> Batch:
        parts: Iterator[tuple[Work, Part]] = zip(batch["work"], batch["part"], strict=True)
        return {"judged": [judge_part(self._guard, work, part) for work, part in parts]}
