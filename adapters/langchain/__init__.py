"""LangChain: `guard | llm | guard`, and the gating chat model on which it rests. Needs langchain-core only.

`GuardMiddleware`, for agents, needs langchain and langgraph too; it is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

try:
    import langchain_core as _langchain_core  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("langchain-core", "langchain") from error

from guardrail.adapters.langchain.chat_model import GuardedChatModel
from guardrail.adapters.langchain.retriever import GuardedRetriever, guard_documents
from guardrail.adapters.langchain.runnable import GuardRunnable, RawCallbacksWarning

if TYPE_CHECKING:
    from guardrail.adapters.langchain.middleware import GuardMiddleware

__all__ = [
    "GuardMiddleware",
    "GuardRunnable",
    "GuardedChatModel",
    "GuardedRetriever",
    "RawCallbacksWarning",
    "guard_documents",
]


def __getattr__(name: str) -> Any:
    if name != "GuardMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from guardrail.adapters.langchain.middleware import GuardMiddleware

    return GuardMiddleware
