"""Decisions as records of `logging`, for whoever collects logs already."""

import logging

from guardrail.decision import Decision
from guardrail.records.record import Record
from guardrail.records.signals import flat_fields, level_of

LOGGER = "guardrail.decisions"
PREFIX = "guardrail_"
"""Of every field in a log record: its own attributes have names such as `module` and `created`."""


class LogSink:
    """Logs each decision: INFO where text passed, WARNING for flag, ask and stop, also in shadow mode, ERROR for a
    failure. The record's fields stand on the log record as `guardrail_id`, `guardrail_action`,
    `guardrail_risk_probabilities_unsafe`, for formatters that write them; the message holds no word from outside.

    Handlers run where the decision is made, on an event loop too: put a `logging.handlers.QueueHandler` before one that
    may wait, such as a socket. Durable it is not; that is what the other sinks are for.
    """

    def __init__(self, logger: logging.Logger | str = LOGGER) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    def write(self, decision: Decision, text: str) -> None:  # noqa: ARG002  # the protocol's; never logged
        """Log the decision, if anybody listens at its level."""
        level = level_of(decision)
        if not self._logger.isEnabledFor(level):
            return
        record = Record.of(decision)
        extra = {PREFIX + name.replace(".", "_"): value for name, value in flat_fields(record).items()}
        self._logger.log(level, "%s", _said(record), extra=extra)

    def close(self) -> None:
        """Do nothing: loggers and handlers are their owner's."""


def _said(record: Record) -> str:
    """Return one line: what was done about what, why, and where to find it."""
    done = record.action if record.action is record.would_action else f"{record.action} (would {record.would_action})"
    failed = record.failure.kind if record.failure else None
    why = [record.reason, record.risk, record.category, failed]
    return f"{record.direction} {done}: {', '.join(filter(None, why))} [{record.id}]"
