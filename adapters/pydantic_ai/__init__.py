"""pydantic-ai: a capability that guards a whole agent, and a model that guards prompts and answers alone."""

try:
    import pydantic_ai as _pydantic_ai  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("pydantic-ai-slim", "pydantic-ai") from error

from guardrail.adapters.pydantic_ai.capability import GuardCapability
from guardrail.adapters.pydantic_ai.model import GuardedModel

__all__ = ["GuardCapability", "GuardedModel"]
