"""How `guard | llm | guard` becomes one gating chat model: the second guard joins the guarded LLM on its left."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableSerializable


class Joining(ABC):
    """A step that may become part of the guarded LLM on its left."""

    @abstractmethod
    def join(self, llm: Runnable[Any, Any]) -> RunnableSerializable[Any, Any]:
        """Return the guarded LLM with this step in it."""


class Absorbing(Runnable[Any, Any]):
    """A guarded LLM; `| guard` gives a guarded LLM again: in a sequence the core would drain a stopped LLM."""

    def __or__(self, other: Any) -> RunnableSerializable[Any, Any]:
        return other.join(self) if isinstance(other, Joining) else super().__or__(other)

    def pipe(self, *others: Any, name: str | None = None) -> RunnableSerializable[Any, Any]:
        if others and isinstance(others[0], Joining):
            joined = others[0].join(self)
            return joined.pipe(*others[1:], name=name) if others[1:] else joined
        return super().pipe(*others, name=name)


def holds_model(value: object) -> bool:
    """Whether an LLM that no guard gates is somewhere in a runnable."""
    if isinstance(value, Absorbing):
        return False
    if isinstance(value, BaseLanguageModel):
        return True
    if isinstance(value, Runnable):
        return holds_model(list(vars(value).values()))
    if isinstance(value, Mapping):
        return holds_model(list(value.values()))
    return isinstance(value, list | tuple) and any(map(holds_model, value))
