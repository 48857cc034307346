# ruff: noqa: ARG002 - parameters are LiteLLM's
"""A provider that is faster than the guard: what has arrived is read in one call, and the chunks are the same."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import litellm
import pytest
from litellm.llms.custom_llm import CustomLLM

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.litellm import guarded_acompletion
from guardrail.testing import MarkerEngine
from tests.counting import CountingEngine
from tests.pacing import dawdle
from tests.wire.texts import BAD, CLEAN

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


class Provider(CustomLLM):
    """Streams the answer that its model is named for, in pieces of three characters, then calls a tool."""

    def __init__(self) -> None:
        super().__init__()
        self.n_closed = 0

    async def astreaming(self, model: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any]:  # type: ignore[override]  # typed there as a coroutine
        text = CLEAN + BAD if "bad" in model else CLEAN
        common = {"is_finished": False, "finish_reason": "", "index": 0, "usage": None, "tool_use": None}
        call = {"id": "c", "type": "function", "index": 0, "function": {"name": "look_up", "arguments": '{"a": 1}'}}
        pieces = [{**common, "text": text[i : i + 3]} for i in range(0, len(text), 3)]
        end = {"text": "", "is_finished": True, "finish_reason": "tool_calls", "usage": USAGE}
        try:
            for piece in (*pieces, {**common, "text": "", "tool_use": call}, {**common, **end}):
                yield piece
                if "slow" in model:
                    await dawdle()
        finally:
            self.n_closed += 1


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """The provider, registered."""
    made = Provider()
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "pace", "custom_handler": made}])
    monkeypatch.setattr(litellm, "_custom_providers", ["pace"])
    monkeypatch.setattr(litellm, "provider_list", [*litellm.provider_list, "pace"])
    return made


def essence(chunks: Iterable[Any]) -> list[Any]:
    """Return what two streams must agree on: texts as one for each run of them, all else chunk by chunk."""
    found: list[Any] = []
    for chunk in chunks:
        said = [choice.model_dump(exclude_none=True) for choice in chunk.choices]
        for choice in said:
            if record := (choice["delta"].get("provider_specific_fields") or {}).get("guardrail"):
                choice["delta"]["provider_specific_fields"] = record["action"], record["category"]
        text = "".join(choice["delta"].get("content") or "" for choice in said)
        if text and found and isinstance(found[-1], str):
            found[-1] += text
        else:
            found.append(text or (said, getattr(chunk, "usage", None)))
    return found


@pytest.mark.parametrize("answer", ["good", "bad"])
async def test_a_fast_provider_is_answered_in_few_calls(
    tokenizer: GuardTokenizer, provider: Provider, answer: str
) -> None:
    """What a slow one gets: text, calls, finish reason, usage, in their order."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, found = Guard(engine, tokenizer), []
    for pace in ("slow", "fast"):
        n_before = len(engine.fed)
        chunks = await guarded_acompletion(
            model=f"pace/{answer}-{pace}", messages=[{"role": "user", "content": "How?"}], stream=True, guard=guard,
            stream_options={"include_usage": True},
        )  # fmt: skip
        found.append((essence([chunk async for chunk in chunks]), len(engine.fed) - n_before))
    (slow, n_slow), (fast, n_fast) = found
    if answer == "bad":  # the usage, which comes last, counts what was written by the time of the stop
        slow, fast = slow[:-1], fast[:-1]
    assert fast == slow
    assert n_slow > 2 * n_fast
    assert provider.n_closed == 2
