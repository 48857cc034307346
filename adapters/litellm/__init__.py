"""LiteLLM: a guardrail for the proxy, guarded calls for the SDK, and a callback that records."""

from typing import TYPE_CHECKING, Any

try:
    import litellm as _litellm  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("litellm", "litellm") from error

from guardrail.adapters.litellm.callback import GuardCallback
from guardrail.adapters.litellm.sdk import guarded_acompletion, guarded_completion
from guardrail.wire.errors import AnswerStopped, NotUnderstood

if TYPE_CHECKING:
    from guardrail.adapters.litellm.guardrail import StreamGuardrail

__all__ = [
    "AnswerStopped",
    "GuardCallback",
    "NotUnderstood",
    "StreamGuardrail",
    "guarded_acompletion",
    "guarded_completion",
]


def __getattr__(name: str) -> Any:
    """Load the proxy's guardrail when it is asked for: it needs what the proxy needs."""
    if name != "StreamGuardrail":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from guardrail.adapters.litellm.guardrail import StreamGuardrail
    except ModuleNotFoundError as error:
        from guardrail.errors import MissingExtra

        raise MissingExtra(error.name or "fastapi", "litellm") from error
    return StreamGuardrail
