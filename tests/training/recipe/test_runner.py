"""Work on parts: bounded, in order, and ended by the first failure."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import BudgetSpent, EngineError
from guardrail.training.recipe.calls import Ask, Call, Reply, Text
from guardrail.training.recipe.parts import cut
from guardrail.training.recipe.runner import ROWS_AT_ONCE, LoopRunner, MadePart, Piece, work_on
from guardrail.training.recipe.stage import Made
from tests.training.recipe_rows import prompt


async def echo(call: Call) -> Reply:
    """Answer with the question, later for some than for others."""
    await asyncio.sleep(0.001 * (len(call.prompt) % 3))
    return Reply((Text(call.prompt),))


async def work(item: int, ask: Ask) -> Made:
    """Make as many rows as the item says."""
    reply = await ask(Call("m", "completion", prompt="x" * item))
    return Made(tuple(prompt(f"{item}/{i}") for i in range(len(reply.text) % 4)), {"items": 1, "letters": item})


def made(items: list[int], part_items: int) -> dict[int, MadePart]:
    """Do the work, and return the parts by number."""
    parts: dict[int, MadePart] = {}
    pieces = (Piece(number, part) for number, part in enumerate(cut(items, part_items)))
    asyncio.run(work_on(pieces, work, echo, lambda part: parts.update({part.number: part}), lambda _: None))
    return parts


@given(items=st.lists(st.integers(0, 9), max_size=40), part_items=st.integers(1, 12))
def test_parts_hold_what_their_items_came_to_in_order(items: list[int], part_items: int) -> None:
    """Whatever order the answers come in, and however the items are cut."""
    parts = made(items, part_items)
    assert sorted(parts) == list(range(-(-len(items) // part_items)))
    ids = [row.id for number in sorted(parts) for row in parts[number].rows]
    assert ids == [f"{item}/{i}" for item in items for i in range(item % 4)]
    assert sum(part.counts["items"] for part in parts.values()) == len(items)


@pytest.mark.parametrize("part_items", [10, 400])
def test_a_bounded_number_of_rows_is_under_way(part_items: int) -> None:
    """However many there are, and in parts of whatever size."""
    now = most = 0

    async def ask(call: Call) -> Reply:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return Reply((Text(call.prompt),))

    pieces = (Piece(number, [1] * part_items) for number in range(2000 // part_items))
    asyncio.run(work_on(pieces, work, ask, lambda _: None, lambda _: None))
    assert most == ROWS_AT_ONCE


@pytest.mark.parametrize("part_items", [10, 400])
def test_rows_that_take_long_do_not_fill_the_memory(part_items: int) -> None:
    """With one such row in every part, few parts are begun: what the others came to is held until that row ends."""
    taken, waits = 0, asyncio.Event()

    def pieces() -> Iterator[Piece[int]]:
        nonlocal taken
        for number in range(8000 // part_items):
            taken += part_items
            yield Piece(number, [2] + [1] * (part_items - 1))

    async def ask(call: Call) -> Reply:
        if call.prompt == "xx":
            await waits.wait()
        return Reply((Text(call.prompt),))

    async def run() -> int:
        running = asyncio.create_task(work_on(pieces(), work, ask, lambda _: None, lambda _: None))
        before = -1
        while before != taken:  # until nothing moves any more
            before = taken
            for _ in range(1000):
                await asyncio.sleep(0)
        waits.set()
        await running
        return before

    assert asyncio.run(run()) <= ROWS_AT_ONCE + 3 * part_items
    assert taken == 8000


def test_a_part_is_finished_while_a_later_one_waits() -> None:
    """A row that takes long holds up its own part, not the one after it."""
    order: list[int] = []
    other = asyncio.Event()

    def finish(part: MadePart) -> None:
        order.append(part.number)
        other.set()

    async def ask(call: Call) -> Reply:
        if call.prompt == "xx":
            await other.wait()
        return Reply((Text(""),))

    asyncio.run(work_on([Piece(0, [1, 2]), Piece(1, [1, 1])], work, ask, finish, lambda _: None))
    assert order == [1, 0]


@pytest.mark.parametrize("error", [EngineError("down"), BudgetSpent("spent"), ZeroDivisionError()])
def test_the_first_failure_ends_the_run_and_is_raised(error: Exception) -> None:
    """Other rows are given up, those that wait among them; the parts that are finished stay."""
    parts: list[int] = []
    n_asked = 0

    async def ask(call: Call) -> Reply:
        nonlocal n_asked
        n_asked += 1
        if call.prompt == "xxx":
            raise error
        if call.prompt == "xx":
            await asyncio.Event().wait()  # for ever
        return Reply((Text(call.prompt),))

    pieces = [Piece(0, [1] * 20), Piece(1, [1, 2, 3]), *(Piece(n, [1] * 20) for n in range(2, 200))]
    with pytest.raises(type(error)):
        asyncio.run(work_on(pieces, work, ask, lambda part: parts.append(part.number), lambda _: None))
    assert 1 not in parts
    assert n_asked < 20 * 50


def test_a_part_that_cannot_be_written_ends_the_run() -> None:
    """A full disk is raised as what it is."""

    def full(_: MadePart) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        asyncio.run(work_on([Piece(0, [1])], work, echo, full, lambda _: None))


# long: three ways to end, told by one list
def test_models_are_opened_once_for_all_runs() -> None:
    """A stage in rounds does not read its weights again in each; what closes them is told how it ended."""
    said: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        said.append("opened")
        try:
            yield echo
        except BaseException as error:
            said.append(f"closed at {error}")
            raise
        said.append("closed")

    def run(runner: LoopRunner) -> None:
        runner.run([Piece(0, [1, 2])], work, lambda part: said.append(f"{len(part.rows)} rows"), lambda _: None)

    def interrupted() -> None:
        with LoopRunner(opened) as runner:
            run(runner)
            raise KeyboardInterrupt("by hand")

    with LoopRunner(opened) as runner:
        run(runner)
        run(runner)
    assert said == ["opened", "3 rows", "3 rows", "closed"]
    said.clear()
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        interrupted()
    assert said == ["opened", "3 rows", "closed at by hand"]
    said.clear()
    with LoopRunner(opened):
        pass
    assert not said
