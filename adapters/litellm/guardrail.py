# ruff: noqa: ARG002 - names and parameters are LiteLLM's
"""A guardrail of the LiteLLM gateway: prompts, answers, streams token by token, tool calls and tool results."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, ClassVar, Literal

from litellm.caching.dual_cache import DualCache
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.proxy._types import UserAPIKeyAuth
from litellm.types.guardrails import GuardrailEventHooks
from litellm.types.utils import GenericGuardrailAPIInputs

from guardrail.adapters.litellm.config import Settings
from guardrail.adapters.litellm.gateway import Gateway
from guardrail.guard import Guard

_HOOKS = (
    "async_pre_call_hook",
    "async_moderation_hook",
    "async_post_call_success_hook",
    "async_post_call_streaming_iterator_hook",
    "async_post_mcp_tool_call_hook",
    "async_logging_hook",
    "apply_guardrail",
)
_MODES = [
    GuardrailEventHooks.pre_call,
    GuardrailEventHooks.during_call,
    GuardrailEventHooks.post_call,
    GuardrailEventHooks.logging_only,
    GuardrailEventHooks.pre_mcp_call,
    GuardrailEventHooks.during_mcp_call,
    GuardrailEventHooks.post_mcp_call,
]


def _inherited_by(kind: type) -> frozenset[str]:
    found: frozenset[str] = kind.__dict__.get("_inherited_hooks", frozenset())
    return found


class StreamGuardrail(CustomGuardrail):
    """Guards what goes through a LiteLLM proxy; name it in `guardrails:` of its config.yaml.

    guardrails:
      - guardrail_name: guard
        litellm_params:
          guardrail: guardrail.adapters.litellm.StreamGuardrail
          mode: [pre_call, post_call]
          default_on: true
          policy: balanced

    The parameters are those of `Settings`. Subclasses keep every hook.

    Attributes:
        guard: judges.
    """

    use_native_lifecycle_hooks: ClassVar[bool] = True
    _inherited_hooks: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its own entries for all hooks: LiteLLM looks into the leaf class only, and would go on without
        an inherited one in silence.
        """
        cls._inherited_hooks = frozenset(name for name in _HOOKS if name not in cls.__dict__)
        for name in cls._inherited_hooks:
            owner = next(one for one in cls.__mro__ if name in one.__dict__ and name not in _inherited_by(one))
            setattr(cls, name, owner.__dict__[name])
        super().__init_subclass__(**kwargs)

    def __init__(self, **given: Any) -> None:
        """Read the parameters and load the guard.

        Raises:
            ConfigurationError: a parameter is unknown or impossible.
        """
        settings, base = Settings.read(given)
        super().__init__(**{**base, "supported_event_hooks": list(_MODES)})
        self.guard: Guard = settings.make_guard()
        self._gateway = Gateway(self, self.guard)

    @classmethod
    def get_supported_event_hooks(cls) -> list[GuardrailEventHooks]:
        """Return the modes."""
        return list(_MODES)

    async def async_pre_call_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        cache: DualCache,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Judge the prompt, or an MCP call; replace poisoned tool results.

        Raises:
            HTTPException: 400, it was stopped.
        """
        await self._gateway.admit(data, GuardrailEventHooks.pre_call)
        return data

    async def async_moderation_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: UserAPIKeyAuth,
        call_type: str,
    ) -> None:
        """As `async_pre_call_hook`, beside the call to the LLM; a poisoned tool result stops the request here.

        Raises:
            HTTPException: 400, it was stopped.
        """
        await self._gateway.admit(data, GuardrailEventHooks.during_call)

    async def async_post_call_success_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: UserAPIKeyAuth,
        response: Any,
    ) -> Any:
        """Judge a whole answer; return it as far as it may be seen.

        Raises:
            HTTPException: 400, it was stopped and the policy raises; 500, it cannot be read.
        """
        return await self._gateway.screen_answer(data, response)

    async def async_post_call_streaming_iterator_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        response: AsyncIterator[Any],
        request_data: dict[str, Any],
    ) -> AsyncGenerator[Any]:
        """Yield what may leave of a stream, token by token; at a stop the LLM's connection is closed.

        Raises:
            AnswerStopped: an answer was stopped, and the policy raises.
            NotUnderstood: the stream is of no format that the guard reads.
        """
        async for made in self._gateway.gate_stream(request_data, response):
            yield made

    async def async_post_mcp_tool_call_hook(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: Any,
        end_time: Any,
    ) -> Any:
        """Judge what an MCP tool brought back; return it, or what stands in its place."""
        if not self._event_hook_is_event_type(GuardrailEventHooks.post_mcp_call):
            return None
        return await self._gateway.screen_mcp_result(kwargs, response_obj)

    async def async_logging_hook(
        self, kwargs: dict[str, Any], result: Any, call_type: str
    ) -> tuple[dict[str, Any], Any]:
        """In the mode `logging_only`: judge what LiteLLM is about to log, and say what would have been stopped."""
        if not self._event_hook_is_event_type(GuardrailEventHooks.logging_only):
            return kwargs, result
        return await self._gateway.judge_logged(kwargs, result), result

    async def apply_guardrail(
        self,
        inputs: GenericGuardrailAPIInputs,
        request_data: dict[str, Any],
        input_type: Literal["request", "response"],
        logging_obj: Any = None,
    ) -> GenericGuardrailAPIInputs:
        """Judge single texts, as the gateway's test endpoint asks for.

        Raises:
            HTTPException: 400, one was stopped.
        """
        await self._gateway.judge_texts(inputs, request_data, input_type)
        return inputs
