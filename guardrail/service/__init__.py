"""The HTTP service: OpenAI-compatible moderation, a guarding proxy, token streams, and what operators need."""

try:
    import fastapi  # noqa: F401  # the extra is whole or missing
    import limits  # noqa: F401
    import prometheus_client  # noqa: F401
    import pydantic_settings  # noqa: F401
except ModuleNotFoundError as error:
    from guardrail.errors import MissingExtra

    raise MissingExtra(error.name or "fastapi", "service") from error

from guardrail.service.app import create_app
from guardrail.service.errors import ServiceError
from guardrail.service.settings import Settings, load_settings

__all__ = ["ServiceError", "Settings", "create_app", "load_settings"]
