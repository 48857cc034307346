"""What the proxy of the tests loads by import path: guards that stop at a known character, and a logger to a file."""

import json
import os
from collections.abc import Callable
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

    def __init__(self) -> None:
        super().__init__()
        self._write: Callable[[str], Any] = Path(os.environ.get("TEST_LOG", os.devnull)).open("a", buffering=1).write

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write(json.dumps({"status": "success", "logged": kwargs["standard_logging_object"]}, default=str) + "\n")

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write(json.dumps({"status": "failure", "logged": kwargs["standard_logging_object"]}, default=str) + "\n")


logger = FileLogger()
