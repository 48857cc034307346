# ruff: noqa: ARG002 - names of the core's signatures
"""The two LLMs of the demo: recorded answers, and any OpenAI-compatible endpoint."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from guardrail.errors import ConfigurationError, MissingExtra

try:
    import httpx
    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
except ModuleNotFoundError as error:
    raise MissingExtra("langchain-core", "langchain") from error

_PIECE = re.compile(r"\s*\w{1,6}|\s*\W", re.ASCII)
"""Pieces about as long as an LLM's tokens."""

_TIMEOUT_S = 60.0


class _StreamingModel(BaseChatModel):
    """A chat model that has nothing but `_pieces`."""

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[str]:
        raise NotImplementedError

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self._pieces(messages))))])


class RecordedModel(_StreamingModel):
    """Gives the recorded answer to each prompt, piece by piece.

    Attributes:
        answers: prompt -> answer.
        pace: seconds between two pieces.
        n_asked: how often it was asked; a stopped prompt never reaches it.
    """

    answers: Mapping[str, str]
    pace: float = 0.0
    n_asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[str]:
        self.n_asked += 1
        for piece in _PIECE.findall(self.answers[str(messages[-1].text)]):
            time.sleep(self.pace)
            yield piece


class EndpointModel(_StreamingModel):
    """Asks an OpenAI-compatible endpoint; a stop of the guard closes the connection.

    Attributes:
        base_url: such as http://localhost:11434/v1.
        llm: name of the model there.
    """

    base_url: str
    llm: str

    @property
    def _llm_type(self) -> str:
        return "openai-compatible"

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[str]:
        url = self.base_url.rstrip("/") + "/chat/completions"
        body = {"model": self.llm, "messages": convert_to_openai_messages(messages), "stream": True}
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with httpx.stream("POST", url, json=body, headers=headers, timeout=_TIMEOUT_S) as response:
                response.raise_for_status()
                yield from _deltas(response.iter_lines())
        except httpx.HTTPStatusError as error:
            raise ConfigurationError(f"{url}: HTTP {error.response.status_code}", hint=_HINT) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ConfigurationError(f"{url}: {type(error).__name__}", hint=_HINT) from error


_HINT = "check --base-url, --llm and OPENAI_API_KEY"


def _deltas(lines: Iterator[str]) -> Iterator[str]:
    """Yield the text of a server-sent event stream of chat completion chunks."""
    for line in lines:
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        choices = json.loads(data).get("choices") or [{}]
        if text := (choices[0].get("delta") or {}).get("content"):
            yield text
