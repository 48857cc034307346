# ruff: noqa: A002, ARG002 - names of the core's signatures
"""Retrieved documents: read before an LLM sees them; the stopped ones are left out."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from guardrail.adapters.langchain.exchange import called_with, conversation_id
from guardrail.adapters.langchain.sources import silence
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.records import record_values


class GuardedRetriever(BaseRetriever):
    """A retriever whose documents pass a guard, each read by itself as a tool's result is. Safe for many threads.

    Stopped documents are left out; a flagged one says so under "guardrail" in its metadata. The inner retriever's
    callbacks are silent: they would show what is left out.

    Attributes:
        retriever: finds documents: a retriever, or any step from a query to a list of documents.
        guard: judges.
    """

    retriever: Runnable[str, list[Document]]
    guard: Guard

    def __init__(self, retriever: Runnable[str, list[Document]], guard: Guard, **fields: Any) -> None:
        super().__init__(**{**fields, "retriever": retriever, "guard": guard})

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents for a query that are not stopped; the conversation's id in `config` is recorded."""
        with called_with(config):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """As `invoke`, without blocking the event loop."""
        with called_with(config):
            return await super().ainvoke(input, config, **kwargs)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        with silence():
            found = self.retriever.invoke(query)
        decisions = self.guard.check_documents(_texts(found), query, conversation_id=conversation_id())
        return _passed(found, decisions)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        with silence():
            found = await self.retriever.ainvoke(query)
        decisions = await self.guard.acheck_documents(_texts(found), query, conversation_id=conversation_id())
        return _passed(found, decisions)


def guard_documents(guard: Guard) -> Runnable[Sequence[Document], list[Document]]:
    """Return a step that takes documents and passes those on that are not stopped.

    The step's own input shows in traces; where that must not be, use `GuardedRetriever`.
    """

    def passing(documents: Sequence[Document], config: RunnableConfig) -> list[Document]:
        decisions = guard.check_documents(_texts(documents), conversation_id=conversation_id(config))
        return _passed(documents, decisions)

    async def apassing(documents: Sequence[Document], config: RunnableConfig) -> list[Document]:
        decisions = await guard.acheck_documents(_texts(documents), conversation_id=conversation_id(config))
        return _passed(documents, decisions)

    return RunnableLambda(passing, apassing, name="guard_documents")


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _passed(documents: Sequence[Document], decisions: Sequence[Decision]) -> list[Document]:
    both = zip(documents, decisions, strict=True)
    return [_marked(document, decision) for document, decision in both if not decision.stopped]


def _marked(document: Document, decision: Decision) -> Document:
    if not decision.flagged:
        return document
    return document.model_copy(update={"metadata": {**document.metadata, "guardrail": record_values(decision)}})
