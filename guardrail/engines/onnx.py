"""The ONNX engine: a CPU, no torch. All contact with onnxruntime is in this file.

Each session owns its KV buffers; past and present are bound to the same memory, so appending is in place and rolling
back means setting the length back. A batch of several sessions runs them one after the other: the graph takes ragged
batches, but that needs the sessions' buffers in one place, which is the scheduler's to come.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Feed, FloatArray, Logits, ModelInfo, Session, check_feeds, check_logits
from guardrail.errors import CheckpointError, ConfigurationError, EngineError
from guardrail.exported import MODEL_FILE, Manifest

FIRST_CAPACITY = 256
"""Positions a new session's buffers hold; they double when full. Our choice."""

RUN_TOKENS = 512
"""Most tokens of one run; longer feeds are cut, so that activations stay small. Our choice."""

_CPU = ("cpu", 0)

_loaded: WeakSet[Any] = WeakSet()
_inherited: list[Any] = []


def _keep_inherited() -> None:
    """Keep every runtime in a forked child: freeing one waits for its threads, which stayed behind in the parent."""
    _inherited.extend(_loaded)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_keep_inherited)


@dataclass(frozen=True, slots=True)
class _Memory:
    """KV buffers, float32 [1, kv heads, capacity, size] by name, and their binding to a runtime.

    A run holds it, so that a session or an engine closed meanwhile takes nothing away from under the run.
    """

    runtime: Any
    binding: Any
    buffers: dict[str, FloatArray]
    capacity: int


class OnnxSession:
    """KV buffers of one conversation: one caller at a time, but any thread may close it.

    Attributes:
        length: tokens held.
        is_closed: whether the buffers are gone, or go with the end of the step under way.
    """

    def __init__(self, engine: "OnnxEngine") -> None:
        self.engine = engine
        self.length = 0
        self.is_closed = False
        self._memory: _Memory | None = None

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens; costs nothing."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length} of {self.length} tokens")
        self.length = length

    def close(self) -> None:
        """Free the buffers, after the step under way if there is one; closing twice is harmless."""
        self.is_closed = True
        self._memory = None

    def reserve(self, runtime: Any, n_tokens: int) -> _Memory:
        """Return room for `n_tokens` positions, keeping what is held."""
        old = self._memory
        if self.is_closed:
            raise EngineError("the session is closed")
        if old is not None and n_tokens <= old.capacity:
            return old
        capacity = old.capacity if old else FIRST_CAPACITY
        while capacity < n_tokens:
            capacity *= 2
        capacity = min(capacity, self.engine.info.max_context)
        binding, buffers = runtime.io_binding(), {}
        for name, (n_heads, size) in self.engine.cache_shapes.items():
            buffer = np.zeros((1, n_heads, capacity, size), np.float32)  # the system pages it in as it is written
            if old:
                buffer[:, :, : self.length] = old.buffers[name][:, :, : self.length]
            place = (*_CPU, np.float32, buffer.shape, buffer.ctypes.data)
            binding.bind_input(f"past_{name}", *place)
            binding.bind_output(f"present_{name}", *place)
            buffers[name] = buffer
        self._memory = _Memory(runtime, binding, buffers, capacity)
        return self._memory


class OnnxEngine:
    """Runs an exported folder. Safe for many threads, each with its own sessions."""

    def __init__(
        self, folder: str | Path, manifest: Manifest, config: GuardConfig, *, threads: int | None = None
    ) -> None:
        """Load the graph.

        Args:
            folder: exported folder, already checked against its manifest.
            manifest: of that folder.
            config: of that folder.
            threads: threads of one run; None takes one for each physical core. Threads do not spin while idle.

        Raises:
            CheckpointError: onnxruntime cannot load the graph.
            ConfigurationError: fewer than one thread.
        """
        if threads is not None and threads < 1:
            raise ConfigurationError(f"threads must be at least 1, not {threads}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(Path(folder) / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the engine edge: onnxruntime's exceptions share no base class
            raise CheckpointError(f"onnxruntime cannot load the model: {type(error).__name__}") from error
        _loaded.add(self._session)
        past = {value.name.removeprefix("past_"): value.shape for value in self._session.get_inputs()}
        self.cache_shapes: dict[str, tuple[int, int]] = {
            name: (shape[1], shape[3]) for name, shape in past.items() if name.startswith(("key_", "value_"))
        }
        self._vocab_size = config.vocab_size
        self._pid = os.getpid()
        self._info = ModelInfo(
            manifest.name, manifest.sha256, "onnx", manifest.precision, config.max_context,
            prompt_labels=config.prompt_labels, response_labels=config.response_labels,
            kv_bytes_per_token=sum(4 * n_heads * size for n_heads, size in self.cache_shapes.values()),
        )  # fmt: skip
        risks, categories = len(config.prompt_labels.risks), len(config.prompt_labels.categories)
        self._widths = {"query_risk": risks, "query_category": categories}
        risks, categories = len(config.response_labels.risks), len(config.response_labels.categories)
        self._widths |= {"response_risk": risks, "response_category": categories}

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        return self._info

    def open(self) -> OnnxSession:
        """Start an empty session; its buffers come with the first step."""
        return OnnxSession(self)

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits; see `Engine.step`."""
        runtime = self._session  # closed by another thread, the engine drops it, and this step goes on
        if runtime is None or os.getpid() != self._pid:
            reason = "closed" if runtime is None else "loaded before a fork; load it in each process"
            raise EngineError(f"the engine was {reason}")
        sessions = [self._own(feed.session) for feed in feeds]
        check_feeds(feeds, self._info.max_context, self._vocab_size)
        lengths = [session.length for session in sessions]
        try:
            return [self._feed(runtime, session, feed.ids) for session, feed in zip(sessions, feeds, strict=True)]
        except BaseException:
            for session, length in zip(sessions, lengths, strict=True):
                session.length = length
            raise

    def close(self) -> None:
        """Refuse further steps; the weights go with the last session that is still open."""
        self._session = None

    def _own(self, session: Session) -> OnnxSession:
        if not isinstance(session, OnnxSession) or session.engine is not self:
            raise EngineError("the session belongs to another engine")
        if session.is_closed:
            raise EngineError("the session is closed")
        return session

    def _feed(self, runtime: Any, session: OnnxSession, ids: Sequence[int]) -> Logits:
        memory = session.reserve(runtime, session.length + len(ids))
        logits = Logits(**{name: np.empty((len(ids), width), np.float32) for name, width in self._widths.items()})
        row = np.asarray(ids, np.int64)
        for start in range(0, len(ids), RUN_TOKENS):
            self._run(memory, session, row[start : start + RUN_TOKENS], logits, start)
        if session.is_closed:  # by another thread, perhaps before its memory was reserved
            session.close()
        check_logits(logits, len(ids), self._info)
        return logits

    def _run(self, memory: _Memory, session: OnnxSession, ids: NDArray[np.int64], logits: Logits, start: int) -> None:
        """Run one chunk, int64 [token], and write its logits into the rows from `start` on."""
        n_tokens = len(ids)
        total = session.length + n_tokens
        inputs = {
            "input_ids": ids[None],
            "seqlens_k": np.array([total - 1], np.int32),
            "total_sequence_length": np.array(total, np.int32),
            "query_seqlens": np.array([n_tokens], np.int32),
        }
        binding = memory.binding
        try:
            for name, array in inputs.items():
                binding.bind_cpu_input(name, array)
            for name, width in self._widths.items():  # anew for each run: an output bound before has its old shape
                rows = getattr(logits, name)[start : start + n_tokens]
                binding.bind_output(name, *_CPU, np.float32, (1, n_tokens, width), rows.ctypes.data)
            memory.runtime.run_with_iobinding(binding)
        except Exception as error:  # the engine edge: onnxruntime's exceptions share no base class
            raise EngineError(f"onnxruntime failed: {type(error).__name__}") from error
        session.length = total
