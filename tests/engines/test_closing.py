"""Closing is safe at any time: during a step, from another thread, in a forked child."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from guardrail.engines import packing
from guardrail.engines.base import Feed, Logits
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.torch import TorchEngine
from guardrail.errors import EngineError
from guardrail.onnx_export import export_checkpoint
from tests.conftest import open_onnx

IDS = list(range(100, 130))


@pytest.fixture(scope="module")
def exported(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder."""
    return export_checkpoint(tiny_checkpoint, tmp_path_factory.mktemp("closing") / "export", precision="fp32")


@pytest.fixture
def onnx_engine(exported: Path) -> Iterator[OnnxEngine]:
    """An engine with threads of its own, closed by the test."""
    engine = open_onnx(exported, threads=2)
    yield engine
    engine.close()


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def call_before(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: Callable[[], object]) -> None:
    """Make a method call something, in another thread, each time before its own work."""
    inner = getattr(owner, name)

    def wrapped(*arguments: Any) -> Any:
        in_a_thread(call)
        return inner(*arguments)

    monkeypatch.setattr(owner, name, wrapped)


def assert_equal(found: Logits, expected: Logits) -> None:
    for name in ("query_risk", "query_category", "response_risk", "response_category"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


@pytest.mark.parametrize("closed", ["session", "engine", "both"])
def test_an_onnx_step_under_way_ends_before_its_memory_goes(
    closed: str, onnx_engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed by another thread before each of its runs, it gives what it would have given; then the memory is free."""
    monkeypatch.setattr(packing, "RUN_TOKENS", 8)
    calm, session = onnx_engine.open(), onnx_engine.open()
    for each in (calm, session):
        onnx_engine.step([Feed(each, IDS[:9])])
    (expected,) = onnx_engine.step([Feed(calm, IDS)])
    n_free = onnx_engine.n_free

    def close() -> None:
        if closed != "engine":
            session.close()
        if closed != "session":
            onnx_engine.close()

    call_before(monkeypatch, onnxruntime.InferenceSession, "run_with_iobinding", close)
    (found,) = onnx_engine.step([Feed(session, IDS)])
    assert_equal(found, expected)
    assert onnx_engine.n_free == n_free + (closed != "engine")
    with pytest.raises(EngineError, match="closed"):
        onnx_engine.step([Feed(session, IDS[:1])])


def test_a_torch_step_under_way_keeps_its_cache(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache emptied between two layers would give logits of a text that nobody wrote."""
    engine = TorchEngine.from_checkpoint(tiny_checkpoint)
    calm, session = engine.open(), engine.open()
    for each in (calm, session):
        engine.step([Feed(each, IDS[:9])])
    (expected,) = engine.step([Feed(calm, IDS[:1])])
    call_before(monkeypatch, type(engine._network.model.layers[1]), "forward", session.close)
    (found,) = engine.step([Feed(session, IDS[:1])])
    assert_equal(found, expected)
    assert session.length == 0


def assert_child_ends(work: Callable[[], object]) -> None:
    """Run something in a forked child, which must end within 20 seconds."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("closes_first", [False, True], ids=["open in the parent", "closed in the parent"])
@pytest.mark.parametrize("way", ["close", "collect"])
def test_a_forked_child_can_let_an_engine_go(way: str, closes_first: bool, exported: Path) -> None:
    """The runtime's threads are not in the child: freeing it there would wait for them for ever."""
    held: list[Any] = [open_onnx(exported, threads=2)]
    held.append(held[0].open())
    held[0].step([Feed(held[1], IDS)])
    if closes_first:
        held[0].close()

    def work() -> None:
        if way == "close":
            for each in held:
                each.close()
        held.clear()
        gc.collect()

    assert_child_ends(work)
