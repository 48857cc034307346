"""What the guard before an LLM saw, kept for the guard behind it in the same run of a plain sequence."""

from dataclasses import replace

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig

from guardrail.adapters.langchain.exchange import Exchange
from guardrail.adapters.langchain.recent import Recent
from guardrail.guard import Guard

# The run's id is all that the steps of a sequence share. Runs whose LLM failed never ask for their conversation.
_exchanges: Recent[Exchange] = Recent()


def chain_id(config: RunnableConfig) -> str | None:
    """Return the id of the run of the sequence that a step belongs to: unique for every call, batched ones too."""
    callbacks = config.get("callbacks")
    parent = callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None
    return str(parent) if parent else None


def remember(run: str | None, exchange: Exchange) -> None:
    """Keep a checked prompt for the guard behind the LLM."""
    if run is not None:
        _exchanges.keep(run, exchange)


def recall(run: str | None, guard: Guard) -> Exchange | None:
    """Return and forget this run's conversation, now under `guard`."""
    found = _exchanges.take(run) if run else None
    return replace(found, guard=guard) if found else None
