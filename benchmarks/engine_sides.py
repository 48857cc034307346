"""The engines of `engines_compare.py`: how each is loaded, and how it is timed, here or in a process of its own."""

import multiprocessing
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np
from openvino_model import OpenVinoEngine, Settings

from guardrail.bench.machine import cores
from guardrail.bench.timing import seconds_of
from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Engine, Feed, ModelInfo, Session
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.runtime import Runtime
from guardrail.exported import read_manifest

OURS, TORCH = "ours, int8", "torch, fp32"

OPENVINO: dict[str, Settings] = {
    "OpenVINO int8, as it comes": {},
    "OpenVINO int8, f32, groups of 128": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128},
    "OpenVINO int8, bf16, groups of 128": {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128},
}
"""As it comes it computes in bf16 where the processor has it, quantises activations in groups of 32, and holds keys and
values in 8 bits. Larger groups are faster; without quantised activations it takes 1.6 to 2 times as long."""


@dataclass(frozen=True, slots=True)
class Case:
    """Calls that are timed: `n_new` tokens behind `context` others, `repeat` times on end."""

    name: str
    n_new: int
    context: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What every process must know.

    Attributes:
        checkpoint: of the weights.
        exported: our export of it.
        graph: OpenVINO's graph of it.
        runtime: threads and KV precision of ours; the threads are everyone's.
    """

    checkpoint: Path
    exported: Path
    graph: Path
    runtime: Runtime

    @property
    def threads(self) -> int:
        """Threads of every engine."""
        return self.runtime.threads or cores()

    def load(self, name: str) -> Engine:
        """Load the engine of that name."""
        if name == TORCH:
            import torch

            from guardrail.engines.torch import TorchEngine

            torch.set_num_threads(self.threads)
            return TorchEngine.from_checkpoint(self.checkpoint)
        config = GuardConfig.from_json(read_json(self.exported / CONFIG_FILE))
        if name == OURS:
            return OnnxEngine(self.exported, read_manifest(self.exported), config, runtime=self.runtime)
        info = ModelInfo("openvino", "", name, "int8", config.max_context, config.prompt_labels, config.response_labels)
        return OpenVinoEngine(self.graph, info, threads=self.threads, settings=OPENVINO[name])


class Side(Protocol):
    """One engine, here or in another process."""

    def times_ms(self, case: Case) -> list[float]:
        """Return the milliseconds of each call of a case."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Here:
    """An engine in this process, with a session for each context."""

    def __init__(self, plan: Plan, name: str) -> None:
        self._engine = plan.load(name)
        self._ids = np.random.default_rng(0).integers(0, 8192, 2048).tolist()  # rows of every embedding
        self._sessions: dict[int, Session] = {}

    def times_ms(self, case: Case) -> list[float]:
        """See `Side`; a call that is not timed comes first, since rolling back makes OpenVINO's next one slow."""
        session = self._sessions.get(case.context) or self._opened(case.context)
        found, at = [], case.context
        for i in range(case.repeat + (case.context > 0)):
            feed = Feed(session, self._ids[at + i * case.n_new :][: case.n_new])
            found.append(1000 * seconds_of(partial(self._engine.step, [feed])))
        session.rollback(case.context)
        return found[-case.repeat :]

    def close(self) -> None:
        """See `Side`."""
        self._engine.close()

    def _opened(self, n_tokens: int) -> Session:
        session = self._sessions[n_tokens] = self._engine.open()
        if n_tokens:
            self._engine.step([Feed(session, self._ids[:n_tokens])])
        return session


class Elsewhere:
    """An engine in a process of its own, which sleeps while it is not asked."""

    def __init__(self, plan: Plan, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, plan, name), daemon=True)
        self._process.start()
        theirs.close()

    def times_ms(self, case: Case) -> list[float]:
        """See `Side`."""
        self._connection.send(case)
        found: list[float] = self._connection.recv()
        return found

    def close(self) -> None:
        """See `Side`."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, plan: Plan, name: str) -> None:
    side = Here(plan, name)
    try:
        while True:
            connection.send(side.times_ms(connection.recv()))
    except EOFError:  # the other end is closed
        side.close()
