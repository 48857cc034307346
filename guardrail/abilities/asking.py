"""Asks the models that are measured: through the recipe's client and call cache, so that nothing is asked twice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail.abilities.settings import AbilitiesSettings, Candidate, Server
from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused

if TYPE_CHECKING:
    from guardrail.training.recipe.calls import Ask
    from guardrail.training.recipe.manifest import CallCounts
    from guardrail.training.recipe.settings import ModelSettings

T = TypeVar("T")

CACHE = "calls.sqlite"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Attributes:
        text: its answer without the thinking; empty when there is none.
        thinking: what it thought before.
        is_cut: whether it was cut off at the most tokens.
        is_refused: whether the server refused to be asked this.
    """

    text: str
    thinking: str = ""
    is_cut: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it is put to a model.

    Attributes:
        prompt: the user's turn.
        sample: number of the sample: equal questions with other numbers are other questions.
        system: system prompt of the task; empty for none.
        max_tokens: bound of this task; 0 takes the model's.
        earlier: turns before it.
    """

    prompt: str
    sample: int = 0
    system: str = ""
    max_tokens: int = 0
    earlier: tuple[Message, ...] = ()


class Asker:
    """Asks models by name, and counts. For one event loop.

    Attributes:
        tallies: what was asked of each model so far, by its name.
    """

    def __init__(self, ask: "Ask", tallies: "dict[str, CallCounts]", on_answer: Callable[[], None]) -> None:
        """Wrap what asks; `on_answer` is called with every answer."""
        self._ask, self._on_answer, self.tallies = ask, on_answer, tallies

    async def answers(self, model: Candidate, asked: Sequence[Asked]) -> list[Answer]:
        """Return an answer to each question, in order.

        Raises:
            EngineError: the model cannot be asked now; the next start goes on.
            BudgetSpent: no more calls are allowed; likewise.
        """
        return await together(self._answer(model, one) for one in asked)

    async def continued(
        self, name: str, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0, top_p: float = 1.0,
        sample: int = 0,
    ) -> tuple[str, str | None, bool]:  # fmt: skip
        """Return what a model says next: its text, its thinking, and whether it was cut off.

        Raises:
            CallRefused: the server refuses this call for good.
            EngineError: the model cannot be asked now.
        """
        from guardrail.training.recipe.calls import Call

        reply = await self._ask(
            Call(name, messages=tuple(messages), sample=sample, max_tokens=max_tokens, temperature=temperature,
                 top_p=top_p)
        )  # fmt: skip
        self._on_answer()
        text = reply.texts[0]
        return text.text, text.thinking, text.is_cut

    async def _answer(self, model: Candidate, asked: Asked) -> Answer:
        system = "\n\n".join(filter(None, (model.system, asked.system)))
        messages = [Message(Role.SYSTEM, system)] if system else []
        messages += [*asked.earlier, Message(Role.USER, asked.prompt + model.suffix)]
        try:
            text, thinking, is_cut = await self.continued(
                model.name, messages, max_tokens=asked.max_tokens or model.max_tokens, temperature=model.temperature,
                top_p=model.top_p, sample=asked.sample,
            )  # fmt: skip
        except CallRefused:
            self._on_answer()
            return Answer("", is_refused=True)
        # a template may have opened the thinking, so that text without any tag is thinking that never ended
        is_unfinished = model.thinks and is_cut and thinking is None
        return Answer("", text, is_cut) if is_unfinished else Answer(text, thinking or "", is_cut)


@asynccontextmanager
async def opened(
    settings: AbilitiesSettings, folder: Path, *, max_calls: int | None = None, on_answer: Callable[[], None]
) -> AsyncIterator[Asker]:
    """Ask the models and judges of the settings for as long as the block runs.

    Args:
        settings: name them.
        folder: of the settings file; functions are looked for there.
        max_calls: bound of calls that reach a model; None for none.
        on_answer: called with every answer.

    Raises:
        ConfigurationError: the settings of a model cannot work.
        MissingExtra: the extra `train` is not installed.
    """
    from guardrail.training.recipe.asking import open_asking
    from guardrail.training.recipe.budget import Budget
    from guardrail.training.recipe.cache import CallCache

    models = {one.name: recipe_model(one) for one in settings.models}
    models |= {name: recipe_model(one) for name, one in settings.judges.items()}
    with CallCache(settings.output / CACHE) as cache:
        async with open_asking(models, cache, Budget(max_calls), folder) as ask:
            yield Asker(ask, ask.tallies, on_answer)


def recipe_model(server: Server) -> "ModelSettings":
    """Return a model's settings as the recipe's client reads them."""
    from guardrail.training.recipe.settings import ModelSettings

    return ModelSettings(
        kind=server.kind, model=server.model, base_urls=server.base_urls, function=server.function,
        revision=server.revision, api_key_env=server.api_key_env, concurrency=server.concurrency,
        timeout_s=server.timeout_s, retries=server.retries,
    )  # fmt: skip


async def together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what all jobs bring, in order; when one fails, the others are not waited for."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
