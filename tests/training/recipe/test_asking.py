# long: one scripted model for all its tests
"""Asking: the cache first, each question once, within limits and budget, and nothing that failed is kept."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import BudgetSpent, CallRefused, ConfigurationError, EngineError
from guardrail.training.recipe.asking import Asking, open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.settings import ModelSettings

CODE = '''
"""A model that writes down what it is asked, and answers once it may."""

import asyncio

from guardrail.errors import CallRefused, EngineError

asked = []
most = now = 0
may_go = asyncio.Event()
may_go.set()


async def answer(call):
    global now, most
    asked.append(call.prompt)
    now += 1
    most = max(most, now)
    try:
        await may_go.wait()
        await asyncio.sleep(0)
        if call.prompt.startswith("refuse"):
            raise CallRefused("never")
        if call.prompt.startswith("fail"):
            raise ValueError(call.prompt)
        return call.prompt.upper() if call.n == 1 else [f"{call.prompt} {i}" for i in range(call.n)]
    finally:
        now -= 1
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe's folder, with the code of a model."""
    (tmp_path / "models.py").write_text(f"{CODE}\n# {tmp_path}\n")  # another file than that of other tests
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CallCache]:
    """An empty cache."""
    with CallCache(tmp_path / "calls.sqlite") as cache:
        yield cache


MODEL = ModelSettings("function", function="models.py:answer")


def prompt(text: str, **values: Any) -> Call:
    return Call("m", "completion", prompt=text, **values)


def code_of(asking: Asking) -> Any:
    """The module of the model, once it was asked."""
    function: Any = asking._lanes["m"]._model
    return sys.modules[function._function.__module__]


async def run(
    folder: Path,
    cache: CallCache,
    work: Callable[[Asking], Awaitable[None]],
    *,
    model: ModelSettings = MODEL,
    budget: Budget | None = None,
) -> Asking:
    async with open_asking({"m": model}, cache, budget or Budget(), folder) as asking:
        await work(asking)
        return asking


async def test_a_question_is_asked_once(folder: Path, cache: CallCache) -> None:
    """By this start, by the next one, and under another name of the same model."""

    async def work(ask: Asking) -> None:
        assert (await ask(prompt("a"))).text == "A"
        assert (await ask(prompt("a"))).text == "A"
        assert (await ask(prompt("a", sample=1))).text == "A"

    first = await run(folder, cache, work)
    assert (first.tallies["m"].asked, first.tallies["m"].cached) == (2, 1)
    second = await run(folder, cache, work)
    assert (second.tallies["m"].asked, second.tallies["m"].cached) == (0, 3)
    async with open_asking({"other": MODEL}, cache, Budget(max_calls=0), folder) as ask:
        assert (await ask(replace(prompt("a"), model="other"))).text == "A"


async def test_changed_code_is_another_model(folder: Path, cache: CallCache) -> None:
    """Its old answers are not its own."""

    async def work(ask: Asking) -> None:
        await ask(prompt("a"))

    await run(folder, cache, work)
    with (folder / "models.py").open("a") as file:
        file.write("# changed\n")
    assert (await run(folder, cache, work)).tallies["m"].asked == 1


async def test_equal_questions_at_once_are_one(folder: Path, cache: CallCache) -> None:
    """All get its answer."""

    async def work(ask: Asking) -> None:
        replies = await asyncio.gather(*(ask(prompt("a")) for _ in range(20)))
        assert {reply.text for reply in replies} == {"A"}
        assert code_of(ask).asked == ["a"]

    asking = await run(folder, cache, work)
    assert (asking.tallies["m"].asked, asking.tallies["m"].cached) == (1, 19)


async def test_no_more_calls_are_under_way_than_allowed(folder: Path, cache: CallCache) -> None:
    """And as many as allowed."""

    async def work(ask: Asking) -> None:
        await ask(prompt("first"))
        code_of(ask).may_go.clear()
        tasks = [asyncio.create_task(ask(prompt(str(i)))) for i in range(40)]
        await asyncio.sleep(0.1)
        assert code_of(ask).now == 3
        code_of(ask).may_go.set()
        await asyncio.gather(*tasks)
        assert code_of(ask).most == 3

    await run(folder, cache, work, model=replace(MODEL, concurrency=3))


async def test_no_more_requests_a_minute_are_sent_than_allowed(folder: Path, cache: CallCache) -> None:
    """Evenly: of two a minute, the second waits for its half."""

    async def work(ask: Asking) -> None:
        tasks = [asyncio.create_task(ask(prompt(str(i)))) for i in range(3)]
        done, waiting = await asyncio.wait(tasks, timeout=0.5)
        assert (len(done), len(waiting)) == (1, 2)
        assert len(code_of(ask).asked) == 1
        raise EngineError("that is all")

    with pytest.raises(EngineError, match="that is all"):
        await run(folder, cache, work, model=replace(MODEL, requests_per_minute=2))


async def test_what_failed_is_asked_again_and_never_served(folder: Path, cache: CallCache) -> None:
    """Failed, or refused by a model that has answered nothing: noted with its kind, without a word of the text."""

    async def work(ask: Asking) -> None:
        for _ in range(2):
            with pytest.raises(CallRefused):
                await ask(prompt("refuse me"))
            with pytest.raises(EngineError, match=r"^function models.py:answer failed: ValueError at models.py:\d+$"):
                await ask(prompt("fail me"))

    tally = (await run(folder, cache, work)).tallies["m"]
    assert (tally.asked, tally.refused, tally.failed, tally.cached) == (4, 2, 2, 0)
    assert cache.failures() == {("m", "CallRefused", 0): 2, ("m", "EngineError", 0): 2}
    assert cache.counts() == {}


async def test_a_refused_call_is_not_asked_again(folder: Path, cache: CallCache) -> None:
    """By a model that answers others, it is an answer about that call: free, at this start and at all later ones."""

    async def work(ask: Asking) -> None:
        await ask(prompt("a"))
        for _ in range(2):
            with pytest.raises(CallRefused):
                await ask(prompt("refuse me"))
        with pytest.raises(EngineError):
            await ask(prompt("fail me"))

    first = (await run(folder, cache, work)).tallies["m"]
    assert (first.asked, first.refused, first.failed, first.cached) == (3, 1, 1, 1)
    second = (await run(folder, cache, work, budget=Budget(max_calls=1))).tallies["m"]
    assert (second.asked, second.refused, second.failed, second.cached) == (1, 0, 1, 3)


async def test_a_small_budget_gets_past_refused_calls(folder: Path, cache: CallCache) -> None:
    """Each start goes on behind them."""

    async def work(ask: Asking) -> None:
        await ask(prompt("a"))
        for i in range(6):
            with pytest.raises(CallRefused):
                await ask(prompt(f"refuse {i}"))
        await ask(prompt("b"))

    for _ in range(3):
        with pytest.raises(BudgetSpent):
            await run(folder, cache, work, budget=Budget(max_calls=2))
    assert (await run(folder, cache, work, budget=Budget(max_calls=2))).tallies["m"].asked == 2


async def test_refusals_before_the_first_answer_are_asked_again(folder: Path, cache: CallCache) -> None:
    """They may be due to settings that were mended since."""

    async def work(ask: Asking) -> None:
        for text in ("refuse 0", "refuse 1"):
            with pytest.raises(CallRefused):
                await ask(prompt(text))
        await ask(prompt("a"))

    assert [(await run(folder, cache, work)).tallies["m"].asked for _ in range(3)] == [3, 2, 0]


@pytest.mark.parametrize("is_changed", [False, True])
async def test_what_a_model_answered_at_earlier_starts_counts(folder: Path, cache: CallCache, is_changed: bool) -> None:
    """A run that goes on may meet refused calls alone; another model under the same name has to answer first."""
    kinds: list[type[Exception]] = []

    async def begin(ask: Asking) -> None:
        await ask(prompt("a"))

    async def go_on(ask: Asking) -> None:
        for i in range(25):
            with pytest.raises(EngineError) as raised:
                await ask(prompt(f"refuse {i}"))
            kinds.append(raised.type)

    await run(folder, cache, begin)
    if is_changed:
        with (folder / "models.py").open("a") as file:
            file.write("# changed\n")
    await run(folder, cache, go_on)
    assert kinds == ([CallRefused] * 19 + [EngineError] * 6 if is_changed else [CallRefused] * 25)


async def test_an_answer_that_another_process_kept_first_stands(folder: Path, cache: CallCache) -> None:
    """Rows are made of what a later start finds."""
    kept = Reply((Text("the first"),))

    async def work(ask: Asking) -> None:
        await ask(prompt("first"))
        code_of(ask).may_go.clear()
        task = asyncio.create_task(ask(prompt("a")))
        await asyncio.sleep(0.05)
        await cache.put(prompt("a").key(ask._lanes["m"].identity), "m", kept)
        code_of(ask).may_go.set()
        assert await task == kept

    await run(folder, cache, work)


@pytest.mark.parametrize("has_answered", [False, True])
async def test_a_model_that_refuses_everything_ends_the_stage(
    folder: Path, cache: CallCache, has_answered: bool
) -> None:
    """Rather than leaving out all rows; one that has answered before may refuse as often as it likes."""
    kinds: list[type[Exception]] = []

    async def work(ask: Asking) -> None:
        if has_answered:
            await ask(prompt("a"))
        for i in range(25):
            with pytest.raises(EngineError) as raised:
                await ask(prompt(f"refuse {i}"))
            kinds.append(raised.type)

    await run(folder, cache, work)
    assert kinds == [CallRefused] * 25 if has_answered else kinds == [CallRefused] * 19 + [EngineError] * 6


async def test_answers_from_the_cache_are_free(folder: Path, cache: CallCache) -> None:
    """A spent budget still serves them; the next start goes on behind them."""

    async def work(ask: Asking) -> None:
        for i in range(5):
            await ask(prompt(str(i)))

    for n_kept in (2, 4):
        with pytest.raises(BudgetSpent, match="run the same command again"):
            await run(folder, cache, work, budget=Budget(max_calls=2))
        assert cache.counts() == {"m": n_kept}
    await run(folder, cache, work, budget=Budget(max_calls=2))
    assert cache.counts() == {"m": 5}


@pytest.mark.parametrize("is_grouped", [False, True])
async def test_calls_under_way_are_kept_when_the_budget_ends(folder: Path, cache: CallCache, is_grouped: bool) -> None:
    """They are paid for: also when a group of tasks has given them up."""

    async def work(ask: Asking) -> None:
        await ask(prompt("first"))
        code_of(ask).may_go.clear()
        asyncio.get_running_loop().call_later(0.2, code_of(ask).may_go.set)
        if is_grouped:
            async with asyncio.TaskGroup() as group:
                for i in range(6):
                    group.create_task(_asked(ask, str(i)))
        await asyncio.gather(*(ask(prompt(str(i))) for i in range(6)))

    with pytest.raises((BudgetSpent, BaseExceptionGroup)):
        await run(folder, cache, work, budget=Budget(max_calls=4))
    assert cache.counts() == {"m": 4}


async def test_calls_under_way_are_given_up_when_something_fails(folder: Path, cache: CallCache) -> None:
    """Nobody waits for a server that may be down."""

    async def work(ask: Asking) -> None:
        await ask(prompt("first"))
        code_of(ask).may_go.clear()
        task = asyncio.create_task(ask(prompt("hangs")))
        await asyncio.sleep(0.05)
        assert not task.done()
        raise EngineError("down")

    with pytest.raises(EngineError, match="down"):
        await asyncio.wait_for(run(folder, cache, work), 10)
    assert cache.counts() == {"m": 1}


async def test_an_answer_is_kept_though_whoever_asked_has_gone(folder: Path, cache: CallCache) -> None:
    """And others that wait for it get it."""

    async def work(ask: Asking) -> None:
        await ask(prompt("first"))
        code_of(ask).may_go.clear()
        gone, waits = asyncio.create_task(ask(prompt("a"))), asyncio.create_task(ask(prompt("a")))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        code_of(ask).may_go.set()
        assert (await waits).text == "A"
        assert gone.cancelled()

    await run(folder, cache, work)
    assert cache.counts() == {"m": 2}


async def test_another_number_of_samples_is_a_failure(folder: Path, cache: CallCache) -> None:
    """As many as were asked for come back, in order."""

    async def work(ask: Asking) -> None:
        assert [text.text for text in (await ask(prompt("a", n=3))).texts] == ["a 0", "a 1", "a 2"]

    await run(folder, cache, work)


async def test_an_unknown_model_is_named(folder: Path, cache: CallCache) -> None:
    """With those that there are."""

    async def work(ask: Asking) -> None:
        await ask(Call("x", prompt="a"))

    with pytest.raises(ConfigurationError, match=r"no model 'x' \(there are: m\)"):
        await run(folder, cache, work)


async def test_every_change_of_a_tally_is_told(folder: Path, cache: CallCache) -> None:
    """So that progress can be shown."""
    seen = []
    async with open_asking(
        {"m": MODEL}, cache, Budget(), folder, on_change=lambda: seen.append(ask.tallies["m"].asked)
    ) as ask:
        for text in "aab":
            await ask(prompt(text))
    assert seen == [1, 1, 2]


async def _asked(ask: Asking, text: str) -> None:
    await ask(prompt(text))
