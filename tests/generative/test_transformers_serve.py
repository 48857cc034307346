"""A server that we did not write: `transformers serve`, with the taught model. It tells no log probabilities."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from guardrail.generative.endpoint import Mode
from guardrail.guard import Guard
from tests.generative.conftest import Taught
from tests.generative.examples import EXAMPLES, Example
from tests.generative.tiny_gen import hugging_face_tokenizer

COMMAND = Path(sys.executable).with_name("transformers")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND.exists(), reason="needs the command line of transformers"),
]


@pytest.fixture(scope="module")
def served(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The base URL of a running server, and the name of its model."""
    folder = tmp_path_factory.mktemp("served") / "gen"
    shutil.copytree(taught.folder, folder)
    hugging_face_tokenizer(folder).save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [str(COMMAND), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)  # another process starts: there is no event to wait for
    raise AssertionError("the server did not start")


@pytest.mark.parametrize("mode", ["completions", "chat"])
@pytest.mark.parametrize("example", EXAMPLES[:3] + EXAMPLES[6:9], ids=lambda e: e.written.replace("\n", "|"))
def test_verdicts_are_read_in_both_modes(served: tuple[str, Path], mode: Mode, example: Example) -> None:
    """The labels that the model was taught, marked as no measurement."""
    url, folder = served
    with Guard.generative(url, model=str(folder), mode=mode) as guard:
        if example.response is None:
            decision = guard.check_prompt(example.prompt)
        else:
            decision = guard.check_response(example.prompt, example.response)
    assert decision.failure is None
    assert decision.verdict is not None
    assert decision.verdict.is_scored is False
    assert example.written.startswith(f"Safety: {decision.risk}\nCategories: {decision.category}")
