"""The files of examples/litellm, as they are: the embedded model behind a real proxy, and a mocked call of the SDK."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from guardrail import Guard
from tests.adapters.litellm.conftest import ROOT, Proxy, run_proxy
from tests.wire.upstream import Script, Upstream

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy of the example."""
    yield from run_proxy(ROOT / "examples/litellm/config.yaml", tmp_path_factory.mktemp("example"), upstream)


@pytest.mark.parametrize(("row", "stops"), [("travel", False), ("records", True)])
async def test_the_example_gates_as_the_embedded_model_says(
    example: Proxy, upstream: Upstream, row: str, stops: bool
) -> None:
    """What the proxy releases of an answer of the demo is what the guard releases of the same text."""
    rows = map(json.loads, (ROOT / "guardrail/assets/demo.jsonl").read_text("utf-8").splitlines())
    text = next(one["answer"] for one in rows if one["id"] == row)
    prompt = f"run {row}"
    upstream.plays(row, Script.of(text, size=4))
    decision = Guard.default(policy="balanced", threads=1).check_response(prompt, text)
    assert decision.stopped is stops
    async with openai.AsyncOpenAI(base_url=f"{example.url}/v1", api_key=example.key) as client:
        said: Any = [{"role": "user", "content": prompt}]
        stream = await client.chat.completions.create(model="chat", messages=said, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text[: decision.released_chars]
    assert (chunks[-1].choices[0].finish_reason == "content_filter") is stops


def test_the_example_of_the_sdk_runs() -> None:
    """It prints the answer and its end."""
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [sys.executable, str(ROOT / "examples/litellm/guarded_sdk.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "Mix flour, water, salt and yeast, and bake it hot.\nstop\n"
