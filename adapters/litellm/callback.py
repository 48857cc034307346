# ruff: noqa: ARG002 - names and parameters are LiteLLM's
"""A plain callback of LiteLLM's: it records and flags."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from guardrail.adapters.litellm.logged import judging_logged, shadow_of
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.waiting import arun, run


class GuardCallback(CustomLogger):
    """Judges what LiteLLM has sent and received, and records it: `litellm.callbacks = [GuardCallback(guard)]`.

    It stops nothing, and cannot: LiteLLM calls it when an answer is complete, runs no output hook while one streams,
    and swallows what it raises. Its decisions therefore say what would have been stopped (`would_action`).
    `guarded_completion` and the proxy's `StreamGuardrail` stop.

    Attributes:
        guard: judges, and records in its sinks.
    """

    def __init__(self, guard: Guard, on_flag: Callable[[Decision], None] | None = None) -> None:
        """Watch.

        Args:
            guard: judges, and records in its sinks.
            on_flag: told of each decision that is flagged, or would have been a stop.
        """
        super().__init__()
        self.guard: Guard = shadow_of(guard)
        self._on_flag = on_flag

    def log_success_event(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: datetime,
        end_time: datetime,
    ) -> None:
        """Judge a call that is complete."""
        self._tell(run(judging_logged(self.guard, kwargs, response_obj)))

    async def async_log_success_event(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: datetime,
        end_time: datetime,
    ) -> None:
        """As `log_success_event`, without blocking the event loop."""
        self._tell(await arun(judging_logged(self.guard, kwargs, response_obj)))

    def _tell(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if self._on_flag and decision.flagged:
                self._on_flag(decision)
