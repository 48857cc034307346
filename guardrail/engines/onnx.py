"""The ONNX engine: a CPU, no torch. All contact with onnxruntime is in this file.

Every session has a slot in one pool of keys and values; past and present are bound to the same memory, so appending is
in place and rolling back means setting the length back. A run takes the new tokens of any sessions at once, each as
many as it likes: the graph packs them, and sessions of the pool that have none cost nothing.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Feed, FloatArray, Logits, ModelInfo, Session, check_feeds, check_logits
from guardrail.engines.packing import RUN_TOKENS, Part, Reading, next_run, pack
from guardrail.engines.pool import KVPool
from guardrail.engines.runtime import Runtime
from guardrail.errors import CheckpointError, ConfigurationError, EngineError
from guardrail.exported import Manifest

DEFAULT_THREADS = 0
"""Threads where a runtime names none; 0 is one for each physical core. Tests, which share the cores, set it to 1."""

_CPU = ("cpu", 0)
_MOST_BINDINGS = 64

_loaded: WeakSet[Any] = WeakSet()
_inherited: list[Any] = []


def _keep_inherited() -> None:
    """Keep every runtime in a forked child: freeing one waits for its threads, which stayed behind in the parent."""
    _inherited.extend(_loaded)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_keep_inherited)


class OnnxSession:
    """A slot of the engine's pool: one caller at a time, but any thread may close it.

    Attributes:
        engine: that opened it.
        slot: number in the pool.
        length: tokens held.
        is_closed: whether the slot is given back, or goes back with the end of the work under way.
    """

    def __init__(self, engine: "OnnxEngine", pool: KVPool) -> None:
        self.engine = engine
        self.slot = pool.take()
        self.length = 0
        self.is_closed = False
        self._pool = pool
        self._lock = threading.Lock()
        self._is_busy = False
        self._give_back = finalize(self, pool.give_back, self.slot)
        self._give_back.atexit = False

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens; costs nothing."""
        self._check(length)
        self.length = length

    def fork(self, length: int) -> "OnnxSession":
        """Return a session with a copy of the first `length` tokens; see `Session.fork`."""
        self._check(length)
        with self.used():
            other = OnnxSession(self.engine, self._pool)
            self._pool.copy(self.slot, other.slot, length)
        other.length = length
        return other

    def cached(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what is held: `key_i` and `value_i`, [kv heads, length, size], keys after rotation."""
        return {name: buffer[self.slot, :, : self.length].copy() for name, buffer in self._pool.buffers.items()}

    def close(self) -> None:
        """Give the slot back, after the work under way if there is any; closing twice is harmless."""
        with self._lock:
            self.is_closed = True
            if not self._is_busy:
                self._give_back()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the slot while something reads or writes it.

        Raises:
            EngineError: the session is closed, or in use.
        """
        with self._lock:
            if self.is_closed or self._is_busy:
                raise EngineError(f"the session is {'closed' if self.is_closed else 'in use by another caller'}")
            self._is_busy = True
        try:
            yield
        finally:
            with self._lock:
                self._is_busy = False
                if self.is_closed:
                    self._give_back()

    def _check(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length} of {self.length} tokens")


class OnnxEngine:
    """Runs an exported folder. Safe for many threads, each with its own sessions; runs take turns."""

    def __init__(
        self, folder: str | Path, manifest: Manifest, config: GuardConfig, *, runtime: Runtime | None = None
    ) -> None:
        """Load the graph.

        Args:
            folder: exported folder, already checked against its manifest.
            manifest: of that folder.
            config: of that folder.
            runtime: threads and memory.

        Raises:
            CheckpointError: onnxruntime cannot load the graph.
            ConfigurationError: a setting cannot be had.
        """
        self._settings = runtime or Runtime()
        if self._settings.device != "cpu":
            raise ConfigurationError("the onnx engine runs on the CPU", hint='load with engine="torch" for a GPU')
        kv_precision = self._settings.kv_precision
        self._session: Any = load_graph(Path(folder) / manifest.graph_file(kv_precision), self._settings)
        _loaded.add(self._session)
        self._vocab_size = config.vocab_size
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._bindings: dict[tuple[int, int], Any] = {}
        max_context = self._settings.context_of(config.max_context)
        inputs = self._session.get_inputs()
        if not {"spread", "packed"} <= {value.name for value in inputs}:
            raise CheckpointError("the graph is of an older version", hint="export the checkpoint again")
        past = [value for value in inputs if value.name.startswith("past_")]
        shapes = {value.name.removeprefix("past_"): (value.shape[1], value.shape[3]) for value in past}
        dtype = np.int8 if kv_precision == "int8" else np.float32
        # a row may stand in a batch with rows of many more tokens: the kernel wants room for as many in each
        capacity = max_context + RUN_TOKENS
        self._pool = KVPool(shapes, dtype, n_slots=self._settings.max_sessions, capacity=capacity)
        self._info = ModelInfo(
            manifest.name, manifest.identity(kv_precision), "onnx", manifest.precision, max_context,
            prompt_labels=config.prompt_labels, response_labels=config.response_labels,
            kv_bytes_per_token=sum(np.dtype(dtype).itemsize * n_heads * size for n_heads, size in shapes.values()),
            kv_precision=kv_precision,
        )  # fmt: skip
        risks, categories = len(config.prompt_labels.risks), len(config.prompt_labels.categories)
        self._widths = {"query_risk": risks, "query_category": categories}
        risks, categories = len(config.response_labels.risks), len(config.response_labels.categories)
        self._widths |= {"response_risk": risks, "response_category": categories}

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        return self._info

    @property
    def n_free(self) -> int:
        """Sessions that could still be opened."""
        return self._pool.n_free

    def open(self) -> OnnxSession:
        """Start an empty session.

        Raises:
            EngineOverloaded: as many are open as may be.
        """
        return OnnxSession(self, self._pool)

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits; see `Engine.step`."""
        runtime = self._session  # closed by another thread, the engine drops it, and this step goes on
        if runtime is None or os.getpid() != self._pid:
            reason = "closed" if runtime is None else "loaded before a fork; load it in each process"
            raise EngineError(f"the engine was {reason}")
        sessions = [self._own(feed.session) for feed in feeds]
        check_feeds(feeds, self._info.max_context, self._vocab_size)
        with self._lock, ExitStack() as used:
            for session in sessions:
                used.enter_context(session.used())
            try:
                results = self._read(runtime, sessions, feeds)
            finally:
                if self._session is None:
                    self._bindings.clear()
            for session, feed in zip(sessions, feeds, strict=True):
                session.length += len(feed.ids)
        return results

    def close(self) -> None:
        """Refuse further steps and free the weights, after the step under way if there is one."""
        self._session = None
        if self._lock.acquire(blocking=False):
            self._bindings.clear()
            self._lock.release()

    def _own(self, session: Session) -> OnnxSession:
        if not isinstance(session, OnnxSession) or session.engine is not self:
            raise EngineError("the session belongs to another engine")
        return session

    def _read(self, runtime: Any, sessions: Sequence[OnnxSession], feeds: Sequence[Feed]) -> list[Logits]:
        """Read all feeds in as many runs as it takes; return their logits."""
        readings = [
            Reading(session.slot, session.length, np.asarray(feed.ids, np.int64), self._empty(len(feed.ids)))
            for session, feed in zip(sessions, feeds, strict=True)
        ]
        while parts := next_run(readings):
            outputs, at = self._run(runtime, parts), 0
            for part in parts:
                part.reading.take_in(outputs, at, part.size)
                at += part.size
        for one in readings:
            check_logits(one.logits, len(one.ids), self._info)
        return [one.logits for one in readings]

    def _empty(self, n_tokens: int) -> Logits:
        return Logits(**{name: np.empty((n_tokens, width), np.float32) for name, width in self._widths.items()})

    def _run(self, runtime: Any, parts: Sequence[Part]) -> dict[str, FloatArray]:
        """Run one ragged batch; return the logits of all its tokens, float32 [packed token, n] by name."""
        first, last = min(part.reading.slot for part in parts), max(part.reading.slot for part in parts)
        inputs = pack(parts, first, last + 1)
        n_tokens = len(inputs["input_ids"])
        outputs = {name: np.empty((n_tokens, width), np.float32) for name, width in self._widths.items()}
        try:
            binding = self._binding(runtime, first, last + 1)
            for name, array in inputs.items():
                binding.bind_cpu_input(name, array)
            for name, array in outputs.items():  # anew for each run: an output bound before has its old shape
                binding.bind_output(name, *_CPU, np.float32, array.shape, array.ctypes.data)
            runtime.run_with_iobinding(binding)
        except Exception as error:  # the engine edge: onnxruntime's exceptions share no base class
            raise EngineError(f"onnxruntime failed: {type(error).__name__}") from error
        return outputs

    def _binding(self, runtime: Any, start: int, stop: int) -> Any:
        """Return a binding of the slots from `start` to before `stop`; a few are kept: one takes 0.1 ms to make."""
        found = self._bindings.pop((start, stop), None)
        if found is None:
            found = runtime.io_binding()
            for name, buffer in self._pool.buffers.items():
                slots = buffer[start:stop]
                place = (*_CPU, slots.dtype.type, slots.shape, slots.ctypes.data)
                found.bind_input(f"past_{name}", *place)
                found.bind_output(f"present_{name}", *place)
        self._bindings[start, stop] = found  # the last used stands last
        if len(self._bindings) > _MOST_BINDINGS:
            del self._bindings[next(iter(self._bindings))]
        return found


def load_graph(file: Path, settings: Runtime) -> Any:
    """Return an onnxruntime session of a graph, on the CPU.

    Raises:
        CheckpointError: onnxruntime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or DEFAULT_THREADS
    options.log_severity_level = 4  # what goes wrong is raised
    options.enable_cpu_mem_arena = settings.arena
    # Threads spin between the 250 short operations of a call (waking them takes a fifth of a token's time), and sleep
    # when it ends.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine edge: onnxruntime's exceptions share no base class
        raise CheckpointError(f"onnxruntime cannot load the model: {type(error).__name__}") from error
