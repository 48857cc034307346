# ruff: noqa: ARG002 - names and parameters are LiteLLM's
"""What the proxy of the tests loads by import path: guards that stop at a known character, and a logger to a file."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from guardrail import Action, Guard, OnStop, Policy, Rules, ToolRule, ToolRules
from guardrail.adapters.litellm import StreamGuardrail
from guardrail.records import JsonlSink
from guardrail.testing import MarkerEngine, default_tokenizer


@cache
def _engine() -> tuple[Any, Any]:
    tokenizer = default_tokenizer()
    return MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")}), tokenizer


def make_guard(**changes: Any) -> Guard:
    """Return a guard that stops at the marker; keywords change the policy."""
    engine, tokenizer = _engine()
    sinks = [JsonlSink(os.environ["TEST_RECORDS"])] if "TEST_RECORDS" in os.environ else []
    tools = ToolRules(names={"pay": ToolRule(call="ask")}, controversial=Action.ASK)  # type: ignore[arg-type]  # by name
    answers = Rules(controversial=Action.FLAG, debounce=2)
    return Guard(engine, tokenizer, policy=Policy(**{"tools": tools, "response": answers, **changes}), sinks=sinks)


def truncates() -> Guard:
    """Return a guard that cuts."""
    return make_guard()


def replaces() -> Guard:
    """Return a guard that says something at a stop."""
    return make_guard(on_stop=OnStop.REPLACE)


def raises() -> Guard:
    """Return a guard that raises at a stop."""
    return make_guard(on_stop=OnStop.RAISE)


def repairs() -> Guard:
    """Return a guard that lets the LLM try again."""
    return make_guard(on_stop=OnStop.REPAIR)


class Inherited(StreamGuardrail):
    """Defines nothing by itself: its hooks are all inherited."""


class FileLogger(CustomLogger):
    """Writes what LiteLLM logs of a call, as any integration would get it."""

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Write an answer."""
        self._write("success", kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Write a failure."""
        self._write("failure", kwargs)

    def _write(self, status: str, kwargs: Any) -> None:
        line = json.dumps({"status": status, "logged": kwargs["standard_logging_object"]}, default=str)
        with Path(os.environ["TEST_LOG"]).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


logger = FileLogger()
