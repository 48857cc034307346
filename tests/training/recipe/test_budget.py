"""The budget: never gone beyond, whoever asks at once, and what it says when it is spent."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.encoding import GuardTokenizer
from guardrail.errors import BudgetSpent
from guardrail.json_text import well_formed
from guardrail.training.recipe.budget import Budget, most_tokens
from guardrail.training.recipe.calls import Call
from guardrail.training.recipe.sent import guard_prompt
from tests.strategies import texts


@dataclass(frozen=True)
class Ask:
    """A call of a simulation: what is set aside for it, what it uses, and for how many turns of the loop."""

    n_reserved: int
    n_used: int
    n_turns: int


ASKS = st.builds(
    lambda most, share, turns: Ask(most, most * share // 10, turns),
    st.integers(0, 50), st.integers(0, 10), st.integers(0, 5),
)  # fmt: skip


@given(st.lists(ASKS, max_size=30), st.integers(0, 12) | st.none(), st.integers(0, 200) | st.none())
def test_no_order_of_calls_goes_beyond_it(asks: list[Ask], max_calls: int | None, max_tokens: int | None) -> None:
    """Calls of random sizes at once: all are let in or turned away, none waits for ever."""
    budget, under_way = Budget(max_calls, max_tokens), 0

    async def call(ask: Ask) -> bool:
        nonlocal under_way
        try:
            await budget.take(ask.n_reserved)
        except BudgetSpent:
            return False
        under_way += ask.n_reserved
        assert max_tokens is None or budget.n_tokens + under_way <= max_tokens
        for _ in range(ask.n_turns):
            await asyncio.sleep(0)
        under_way -= ask.n_reserved
        await budget.settle(ask.n_reserved, ask.n_used)
        return True

    async def run() -> list[bool]:
        return await asyncio.wait_for(asyncio.gather(*map(call, asks)), 10)

    was_let_in = asyncio.run(run())
    assert budget.n_calls == sum(was_let_in) <= (len(asks) if max_calls is None else max_calls)
    assert budget.n_tokens == sum(ask.n_used for ask, was in zip(asks, was_let_in, strict=True) if was)
    assert budget.is_spent is not all(was_let_in)
    if max_calls is None and max_tokens is None:
        assert all(was_let_in)


async def test_a_call_waits_for_what_others_may_give_back() -> None:
    """Tokens that were set aside and not used are there for the next."""
    budget = Budget(max_tokens=100)
    await budget.take(80)
    waiting = asyncio.create_task(budget.take(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.settle(80, 10)
    await asyncio.wait_for(waiting, 5)
    assert (budget.n_calls, budget.is_spent) == (2, False)


async def test_a_call_that_no_longer_fits_is_turned_away_while_it_waits() -> None:
    """Once the others have used too much."""
    budget = Budget(max_tokens=100)
    await budget.take(80)
    waiting = asyncio.create_task(budget.take(60))
    await asyncio.sleep(0)
    await budget.settle(80, 70)
    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(waiting, 5)


async def test_a_spent_budget_turns_all_away() -> None:
    """Also smaller calls, and those that wait: the stage ends."""
    budget = Budget(max_tokens=100)
    await budget.take(80)
    waiting = asyncio.create_task(budget.take(60))
    await asyncio.sleep(0)
    for n_tokens in (200, 1):
        with pytest.raises(BudgetSpent):
            await budget.take(n_tokens)
    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(waiting, 5)


async def test_a_call_that_is_cancelled_while_it_waits_takes_nothing() -> None:
    """Nobody waits for it."""
    budget = Budget(max_tokens=100)
    await budget.take(80)
    waiting = asyncio.create_task(budget.take(60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await budget.settle(80, 0)
    await budget.take(100)
    assert budget.n_calls == 2


@pytest.mark.parametrize(("values", "option"), [({"max_calls": 1}, "calls"), ({"max_tokens": 15}, "tokens")])
async def test_it_says_what_to_do(values: dict[str, int], option: str) -> None:
    """The same command again, or more of what ran out."""
    budget = Budget(**values)
    await budget.take(10)
    await budget.settle(10, 10)
    with pytest.raises(BudgetSpent, match=f"1 calls, 10 tokens .run the same command again.* a larger --max-{option}"):
        await budget.take(10)


async def test_a_bound_below_a_single_call_is_said_to_be_so() -> None:
    """The same command again would not get further."""
    with pytest.raises(BudgetSpent, match="one call may take 10 tokens: set a larger --max-tokens"):
        await Budget(max_tokens=9).take(10)


def test_one_budget_serves_one_event_loop_after_the_other() -> None:
    """A stage has one for each of its steps."""
    budget = Budget(max_tokens=100)

    async def step() -> None:
        await budget.take(60)
        waiting = asyncio.create_task(budget.take(60))
        await asyncio.sleep(0)
        await budget.settle(60, 10)
        await waiting
        await budget.settle(60, 10)

    asyncio.run(step())
    asyncio.run(step())
    assert (budget.n_calls, budget.n_tokens) == (4, 40)


@given(texts(), texts(), st.integers(1, 4))
def test_more_is_set_aside_than_any_text_takes(tokenizer: GuardTokenizer, question: str, answer: str, n: int) -> None:
    """Whatever the script, and with the task that stands around a guard's conversation."""
    messages = (Message(Role.USER, question), Message(Role.ASSISTANT, answer))
    guard = Call("m", "guard", messages, max_tokens=128)
    assert len(tokenizer.encode_plain(guard_prompt(messages)).ids) + 128 <= most_tokens(guard)
    plain = Call("m", "completion", prompt=question, n=n, max_tokens=7)
    read = len(tokenizer.encode_plain(well_formed(question)).ids)
    assert n * (read + 7) <= most_tokens(plain)
