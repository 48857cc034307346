"""Requests on their way to an LLM: the prompt, and what tools brought back."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from guardrail.decision import Decision
from guardrail.screening import Screened
from guardrail.waiting import Steps, wait
from guardrail.wire.asked import Asked, Result
from guardrail.wire.exchange import Exchange, refuses

_KEPT_RESULTS = 1024
"""Screened tool results that are remembered: each request repeats those of its conversation. Our choice."""


@dataclass(slots=True)
class Admission:
    """What a request came to.

    Attributes:
        decisions: all that were made.
        refusal: the one that keeps the request back, if one does.
        has_replaced: whether poisoned tool results were replaced in the request.
    """

    decisions: list[Decision] = field(default_factory=list)
    refusal: Decision | None = None
    has_replaced: bool = False


class KeptResults:
    """Tool results that have been judged. Safe for many threads and tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._screened: OrderedDict[str, Screened] = OrderedDict()

    def screening(self, exchange: Exchange, result: Result, made: list[Decision]) -> Steps[Screened]:
        """Judge a result, unless it has been judged before; a new decision goes to `made`."""
        judge = exchange.guard.engine.info.sha256 + exchange.guard.policy.sha256
        key = sha256(
            f"{judge}{exchange.tenant}\0{result.tool}\0{result.unreadable}\0{result.text}".encode(
                "utf-8", "surrogatepass"
            )
        ).hexdigest()
        with self._lock:
            known = self._screened.get(key)
        if known:
            return known
        guard, before = exchange.guard, exchange.messages[: result.position]
        screened: Screened = yield wait(
            guard.screen_tool_result, guard.ascreen_tool_result, before, result.text, tool=result.tool,
            conversation_id=exchange.id, tenant=exchange.tenant, unreadable=result.unreadable,
        )  # fmt: skip
        made.append(screened.decision)
        decision = screened.decision
        if decision.failure:  # it says nothing of the result
            return screened
        text = screened.text if refuses(decision) else ""
        with self._lock:
            self._screened[key] = Screened(text, replace(decision, tokens=()))
            while len(self._screened) > _KEPT_RESULTS:
                self._screened.popitem(last=False)
        return screened


def admitting(exchange: Exchange, data: Mapping[str, Any], kept: KeptResults, *, replaces: bool) -> Steps[Admission]:
    """Judge a request.

    Args:
        exchange: that the request begins.
        data: the request.
        kept: results that have been judged.
        replaces: whether poisoned tool results are replaced in it; else they keep it back, as a failure does.
    """
    admission = Admission()
    for result in Asked.of(data).results:
        screened = yield from kept.screening(exchange, result, admission.decisions)
        if refuses(screened.decision):
            if screened.decision.failure or not replaces:  # what was not judged is not called poisoned
                admission.refusal = screened.decision
                return admission
            result.replace(screened.text)
            admission.has_replaced = True
    guard = exchange.guard
    if prompt := Asked.of(data).prompt(with_system=guard.policy.judge_system):
        decision = yield wait(
            guard.check_prompt, guard.acheck_prompt, prompt, conversation_id=exchange.id, tenant=exchange.tenant
        )
        admission.decisions.append(decision)
        admission.refusal = decision if refuses(decision) else None
    return admission
