"""OpenAI Agents SDK: a model that gates answers token by token, and the SDK's own guardrails from the same guard."""

try:
    import agents as _agents  # noqa: F401 - asked for here so that its absence is told in one place
except ImportError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra("openai-agents", "openai-agents") from error

from guardrail.adapters.openai_agents.guardrails import input_guardrail, output_guardrail
from guardrail.adapters.openai_agents.model import GuardedModel
from guardrail.adapters.openai_agents.tools import tool_guardrails

__all__ = ["GuardedModel", "input_guardrail", "output_guardrail", "tool_guardrails"]
