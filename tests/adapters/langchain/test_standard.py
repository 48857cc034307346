# ruff: noqa: ARG002 - signatures of the core
"""LangChain's own suite for chat models, run on a guarded one."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from guardrail import Guard
from guardrail.adapters.langchain import GuardedChatModel
from guardrail.testing import MarkerEngine, default_tokenizer

standard: Any = pytest.importorskip("langchain_tests.unit_tests", reason="langchain-tests is not installed")
Suite: Any = standard.ChatModelUnitTests


class Parrot(BaseChatModel):
    """Says hello, with the constructor arguments that the suite passes to every model."""

    temperature: float | None = None
    max_tokens: int | None = None
    timeout: int | None = None
    stop: list[str] | None = None
    max_retries: int | None = None

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = {"ls_provider": "parrot", "ls_model_name": kwargs.get("model", "p"), "ls_model_type": "chat"}
        return cast("LangSmithParams", {**params, "ls_temperature": 0.0, "ls_max_tokens": 100})

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hello"))])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(tools=tools, **kwargs)


class GuardedParrot(GuardedChatModel):
    """A guarded parrot that makes its own parts, as the suite wants it."""

    def __init__(self, **fields: Any) -> None:
        tokenizer = default_tokenizer()
        guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
        super().__init__(Parrot(**fields), guard)


@pytest.fixture
def snapshot() -> None:
    """Skip the suite's test of serialization."""
    pytest.skip("a guarded model holds a live guard, which is not serializable")


@pytest.fixture
def benchmark() -> Callable[[Callable[[], None]], None]:
    """Run what the suite would time with pytest-benchmark."""
    return lambda timed: timed()


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("kind", ["both", "sync", "whole"])
async def test_v3_events_of_a_stopped_answer_are_well_formed_and_gated(
    guard: Guard, script: Any, samples: Any, kind: str
) -> None:
    """The newest event protocol shows the prefix, the finish reason, and nothing that was withheld."""
    lifecycle = pytest.importorskip("langchain_tests.utils.stream_lifecycle")
    model = GuardedChatModel(script(kind=samples.kinds[kind]), guard)
    events = list(model.stream_events("How?", version="v3"))
    lifecycle.assert_valid_event_stream(events)
    stream = await model.astream_events("How?", version="v3")
    answer = await stream.output
    assert samples.secret not in repr(events) + repr(answer)
    assert answer.text == samples.answer.split("☠")[0]
    assert answer.response_metadata["finish_reason"] == "content_filter"


class TestGuardedChatModel(Suite):  # type: ignore[misc]
    """The whole standard suite of unit tests."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return GuardedParrot
