"""The exception tree. A failure is never a verdict, and `except GuardError` can never swallow a stop.

Messages hold ids, offsets and lengths, never user text.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.decision import Decision


def _again(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class _Sent(Exception):
    """An exception that another process can be handed: Python would call the constructor with the message alone, and
    the pool that waits for it would break.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


class GuardError(_Sent):
    """Everything that failed.

    Attributes:
        hint: what the reader can do about it; may be empty.
        retryable: whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


_MOST_CHARS = 2000
"""Longest message about a value that somebody gave: files and callers can hold words of any length. Our choice."""


class ConfigurationError(GuardError):
    """Something was set up or called with values that cannot work; a message that quotes too much of them is cut."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        if len(message) > _MOST_CHARS:  # what is wrong stands at the end more often than not
            message = f"{message[: _MOST_CHARS // 2]} ... {message[-_MOST_CHARS // 2 :]}"
        super().__init__(message, hint=hint)


class PolicyError(ConfigurationError):
    """A policy has an unknown key or an impossible value."""


class CheckpointError(ConfigurationError):
    """A checkpoint or exported folder is missing, truncated, foreign or contradicts itself."""


class ConversationError(ConfigurationError):
    """Messages cannot be rendered or hold nothing to judge."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", hint=f'pip install "guardrail-stream[{extra}]"')


class EngineError(GuardError):
    """The model did not produce usable logits."""


class EngineTimeout(EngineError):
    """The engine did not answer in time."""

    retryable = True


class EngineOverloaded(EngineError):
    """The engine's queue is full."""

    retryable = True


class ContextOverflow(EngineError):
    """A session would grow beyond the model's context."""


class InvalidLogits(EngineError):
    """The engine answered with NaN, infinities or arrays of the wrong shape."""


class UnparsableVerdict(EngineError):
    """A generative guard's answer does not follow its format."""


class CallRefused(EngineError):
    """A model's server will never answer this call: it is malformed, too long, or filtered."""


class BudgetSpent(GuardError):
    """A run has made as many calls, or used as many tokens, as it was allowed; started again it goes on."""


class StreamError(GuardError):
    """A stream was used in a way that is always the caller's bug."""


class StreamClosed(StreamError):
    """Text was fed to a stream that had been finished."""


class RecordError(GuardError):
    """Records could not be stored or read; this never changes a decision.

    Attributes:
        retryable: whether the same call may succeed later: a full disk, a database that is away.
    """

    def __init__(self, message: str, *, hint: str = "", retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class ContentStopped(_Sent):
    """Raised only where a framework or `on_stop = "raise"` needs an exception for a stop.

    Attributes:
        decision: the decision that stopped the content.
    """

    def __init__(self, decision: "Decision") -> None:
        what = f"stopped: {decision.risk or 'failure'} {decision.category or ''}".rstrip()
        super().__init__(f"{decision.direction} {'needs a person' if decision.asks else what}")
        self.decision = decision
