"""What the guard before an LLM saw, kept for the guard behind it in the same run of a plain sequence."""

import threading
from collections import OrderedDict
from dataclasses import replace

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig

from guardrail.adapters.langchain.gating import Exchange
from guardrail.guard import Guard

_MOST_RUNS = 4096
"""Runs whose LLM failed never ask for their conversation; the oldest are forgotten. Our own choice."""

_lock = threading.Lock()
_exchanges: OrderedDict[str, Exchange] = OrderedDict()


def chain_id(config: RunnableConfig) -> str | None:
    """Return the id of the run of the sequence that a step belongs to: unique for every call, batched ones too."""
    callbacks = config.get("callbacks")
    parent = callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None
    return str(parent) if parent else None


def remember(run: str | None, exchange: Exchange) -> None:
    """Keep a checked prompt for the guard behind the LLM."""
    if run is None:
        return
    with _lock:
        _exchanges[run] = exchange
        while len(_exchanges) > _MOST_RUNS:
            _exchanges.popitem(last=False)


def recall(run: str | None, guard: Guard) -> Exchange | None:
    """Return and forget this run's conversation, now under `guard`."""
    with _lock:
        found = _exchanges.pop(run, None) if run else None
    return replace(found, guard=guard) if found else None
