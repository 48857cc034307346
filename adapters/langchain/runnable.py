# ruff: noqa: A002, ARG002 - names of the core's signatures
"""The guard as a step of a chain: `guard = GuardRunnable(Guard.default())`, then `guard | llm | guard`."""

import operator
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import reduce
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence, RunnableSerializable, ensure_config

from guardrail.adapters.langchain.absorbing import Joining, holds_model
from guardrail.adapters.langchain.chat_model import guarded
from guardrail.adapters.langchain.exchange import Exchange, checked_guard
from guardrail.adapters.langchain.gating import agate_chunks, agate_generation, gate_chunks, gate_generation
from guardrail.adapters.langchain.memory import chain_id, recall, remember
from guardrail.adapters.langchain.messages import chain_messages
from guardrail.adapters.langchain.passing import achunks_of, atraced, chunks_of, generation_of, like, traced
from guardrail.decision import Decision
from guardrail.errors import ConfigurationError, ContentStopped
from guardrail.guard import Guard

Position = Literal["auto", "prompt", "response"]


class RawCallbacksWarning(UserWarning):
    """A guard stands behind an LLM in a plain sequence, where the LLM's own callbacks and traces see raw text."""


class GuardRunnable(Joining, Runnable[Any, Any]):
    """A guard in a chain. Safe for many threads and tasks.

    `guard | llm` gives the LLM guarded on both sides (`GuardedChatModel`); a following `| guard` joins it. It works
    with any chat model, also with bound tools, retries and fallbacks. Put parsers after the second guard.

    Elsewhere the core builds its own sequence (`prompt | guard | llm | guard`, `llm | guard`), and the guard is a
    plain step. Before the LLM it passes a prompt on or raises `ContentStopped`; behind it, it passes on what may be
    released, and closes what stands directly before it at a stop. Both steps of one sequence share a conversation.
    What a plain sequence cannot promise: the LLM's own callbacks, events and traces see raw text
    (`RawCallbacksWarning`), a parser between LLM and guard makes the core read a stopped LLM to its end, and
    `on_stop = "repair"` is as "replace", since the guard cannot ask the LLM again. `prompt | guard.wrap(llm)` has none
    of these faults.
    """

    def __init__(self, guard: Guard, *, position: Position = "auto", name: str | None = None) -> None:
        """Make a step.

        Args:
            guard: judges.
            position: "prompt" or "response" where it cannot be told from what comes in: "auto" takes AI messages for
                answers and everything else for prompts, text too: judging text as an answer needs "response".
            name: of the step in traces.

        Raises:
            ConfigurationError: `guard` is no Guard.
        """
        self.guard: Guard = checked_guard(guard)
        self.position = position
        self.name = name
        self._has_warned = False

    def wrap(self, llm: Runnable[Any, Any]) -> RunnableSerializable[Any, Any]:
        """Return `llm` guarded on both sides, for use in any chain.

        Raises:
            ConfigurationError: it is no chat model, bare, bound, or with retries or fallbacks.
        """
        found = guarded(llm, self.guard)
        if found is None:
            raise ConfigurationError(f"{type(llm).__name__} is no chat model", hint="wrap the chat model itself")
        return found

    def join(self, llm: Runnable[Any, Any]) -> RunnableSerializable[Any, Any]:
        """Become part of a guarded LLM; another guard than its own judges what that one releases."""
        return guarded(llm, self.guard, checks_prompt=False) or RunnableSequence(llm, self)

    def __or__(self, other: Any) -> RunnableSerializable[Any, Any]:
        steps: list[Any] = other.steps if isinstance(other, RunnableSequence) else [other]
        llm = guarded(steps[0], self.guard)
        if llm is None:
            if not any(isinstance(step, Joining) for step in steps) and any(map(holds_model, steps)):
                raise ConfigurationError(
                    f"{type(steps[0]).__name__} holds an LLM that a guard in front of it cannot gate",
                    hint="put guard.wrap(llm) in the LLM's place",
                )
            return super().__or__(other)
        chain: RunnableSerializable[Any, Any] = llm
        for step in steps[1:]:
            chain = chain | step
        return chain

    def pipe(self, *others: Any, name: str | None = None) -> RunnableSerializable[Any, Any]:
        if not others:
            return super().pipe(name=name)
        chain: RunnableSerializable[Any, Any] = self | others[0]
        return chain.pipe(*others[1:], name=name) if others[1:] else chain

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Return the prompt unchanged, or the answer as far as it is released.

        Raises:
            ContentStopped: the prompt was stopped, or the answer was and the policy raises.
            ConversationError: the input is neither a prompt nor an answer.
        """
        config = ensure_config(config)
        run = chain_id(config)
        return self._call_with_config(lambda value: self._pass(value, run), input, config, run_type="chain")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`, without blocking the event loop."""
        config = ensure_config(config)
        run = chain_id(config)

        async def passed(value: Any) -> Any:
            return await self._apass(value, run)

        return await self._acall_with_config(passed, input, config, run_type="chain")

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Yield the prompt unchanged, or what is released of the answer."""
        yield from self.transform(iter([input]), config)

    async def astream(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """As `stream`, without blocking the event loop."""

        async def single() -> AsyncIterator[Any]:
            yield input

        async for item in self.atransform(single(), config):
            yield item

    def transform(
        self,
        input: Iterator[Any],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the prompt unchanged once it is whole, or what is released of the answer as it comes.

        The core's own `_transform_stream_with_config` would read a stopped LLM to its end for the trace, so the run
        is opened by hand.
        """
        config = ensure_config(config)
        yield from traced(self, config, self._pass_on(input, chain_id(config)))

    async def atransform(
        self,
        input: AsyncIterator[Any],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """As `transform`, without blocking the event loop."""
        config = ensure_config(config)
        items = atraced(self, config, self._apass_on(input, chain_id(config)))
        async with aclosing(items):
            async for item in items:
                yield item

    def _pass(self, value: Any, run: str | None) -> Any:
        if not self._is_answer(value):
            exchange = self._prompt(value)
            self._stop_if(exchange.check_prompt())
            remember(run, exchange)
            return value
        return like(value, gate_generation(self._answer(run), generation_of(value)))

    async def _apass(self, value: Any, run: str | None) -> Any:
        if not self._is_answer(value):
            exchange = self._prompt(value)
            self._stop_if(await exchange.acheck_prompt())
            remember(run, exchange)
            return value
        return like(value, await agate_generation(self._answer(run), generation_of(value)))

    def _pass_on(self, items: Iterator[Any], run: str | None) -> Iterator[Any]:
        for first in items:
            if not self._is_answer(first):
                yield self._pass(reduce(operator.add, items, first), run)
                return
            for chunk in gate_chunks(self._answer(run), chunks_of(first, items)):
                if (item := like(first, chunk)) != "":
                    yield item
            return

    async def _apass_on(self, items: AsyncIterator[Any], run: str | None) -> AsyncIterator[Any]:
        async for first in items:
            if not self._is_answer(first):
                rest = [item async for item in items]
                yield await self._apass(reduce(operator.add, rest, first), run)
                return
            chunks = agate_chunks(self._answer(run), achunks_of(first, items))
            async with aclosing(chunks):
                async for chunk in chunks:
                    if (item := like(first, chunk)) != "":
                        yield item
            return

    def _is_answer(self, value: Any) -> bool:
        if self.position != "auto":
            return self.position == "response"
        return isinstance(value, AIMessage | AIMessageChunk)

    def _prompt(self, value: Any) -> Exchange:
        return Exchange.of(self.guard, chain_messages(value))

    def _answer(self, run: str | None) -> Exchange:
        """Return the conversation that the guard before the LLM saw, under this guard; an empty one if none did."""
        if not self._has_warned:
            self._has_warned = True
            text = "a guard behind an LLM in a plain sequence: the LLM's own callbacks and traces see raw text"
            warnings.warn(
                f"{text}; use GuardedChatModel (`prompt | guard.wrap(llm)`)", RawCallbacksWarning, stacklevel=2
            )
        return recall(run, self.guard) or Exchange.of(self.guard, [])

    def _stop_if(self, decision: Decision | None) -> None:
        if decision and decision.stopped:
            raise ContentStopped(decision)
