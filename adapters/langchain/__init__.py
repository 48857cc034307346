"""LangChain: `guard | llm | guard`, and the gating chat model on which it rests. Needs langchain-core only."""

try:
    import langchain_core as _langchain_core  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("langchain-core", "langchain") from error

from guardrail.adapters.langchain.chat_model import GuardedChatModel
from guardrail.adapters.langchain.runnable import GuardRunnable, RawCallbacksWarning

__all__ = ["GuardRunnable", "GuardedChatModel", "RawCallbacksWarning"]
