"""Runs what Optimum exported, so that its verdicts and its speed can be compared with those of our graph.

The graph is a plain one: it takes all past keys and values and returns them with the new ones behind, so each call
copies the whole cache, and it takes sessions one by one. Needs neither Optimum nor torch.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import HEADS, Feed, FloatArray, Logits, ModelInfo, Session, check_feeds, check_logits
from guardrail.engines.onnx import load_graph
from guardrail.engines.runtime import Runtime
from guardrail.errors import EngineError
from guardrail.onnx_export.optimum_folder import read_optimum

Past = dict[str, FloatArray]
"""Input name of the graph -> keys or values of the past, float32 [1, kv heads, length, head size]."""


class OptimumSession:
    """The keys and values of one conversation: one caller at a time, but any thread may close it.

    Attributes:
        engine: that opened it.
        past: keys and values.
        is_closed: whether they are gone.
    """

    def __init__(self, engine: "OptimumEngine", past: Past) -> None:
        self.engine = engine
        self.past = past
        self.is_closed = False

    @property
    def length(self) -> int:
        """Tokens held."""
        return _length(self.past)

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens; copies the rest."""
        self.past = self._first(length)

    def fork(self, length: int) -> "OptimumSession":
        """Return a session with a copy of the first `length` tokens; see `Session.fork`."""
        if self.is_closed:
            raise EngineError("the session is closed")
        return OptimumSession(self.engine, self._first(length))

    def close(self) -> None:
        """Free keys and values; closing twice is harmless."""
        self.is_closed = True
        self.past = self._first(0)

    def _first(self, length: int) -> Past:
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length} of {self.length} tokens")
        return {name: np.ascontiguousarray(array[:, :, :length]) for name, array in self.past.items()}


class OptimumEngine:
    """Runs an export of Optimum. Safe for many threads, each with its own sessions."""

    def __init__(self, folder: str | Path, *, runtime: Runtime | None = None) -> None:
        """Load the graph.

        Args:
            folder: written by `guardrail export --via optimum`.
            runtime: of it, the threads, the arena and the longest context count here.

        Raises:
            CheckpointError: the folder is no such export, is damaged, or onnxruntime cannot load the graph.
        """
        folder, settings = Path(folder), runtime or Runtime()
        manifest = read_optimum(folder)
        config = GuardConfig.from_json(read_json(folder / CONFIG_FILE))
        self._runtime: Any = load_graph(folder / manifest.model_file, settings)
        self._outputs = [output.name for output in self._runtime.get_outputs()]
        self._vocab_size = config.vocab_size
        shape = (1, config.n_kv_heads, 0, config.head_dim)
        places = [f"{i}.{kind}" for i in range(config.n_layers) for kind in ("key", "value")]
        self._nothing: Past = {f"past_key_values.{place}": np.zeros(shape, np.float32) for place in places}
        self._lock = threading.Lock()
        self._info = ModelInfo(
            manifest.name, manifest.sha256, "optimum", manifest.precision, settings.context_of(config.max_context),
            prompt_labels=config.prompt_labels, response_labels=config.response_labels,
            kv_bytes_per_token=4 * len(places) * config.n_kv_heads * config.head_dim,
        )  # fmt: skip

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        return self._info

    def open(self) -> OptimumSession:
        """Start an empty session."""
        return OptimumSession(self, dict(self._nothing))

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits; see `Engine.step`."""
        sessions = [self._own(feed.session) for feed in feeds]
        check_feeds(feeds, self._info.max_context, self._vocab_size)
        results, pasts = [], []
        with self._lock:
            for session, feed in zip(sessions, feeds, strict=True):
                logits, past = self._run(session.past, feed.ids)
                results.append(logits)
                pasts.append(past)
        for session, past in zip(sessions, pasts, strict=True):  # all or none
            if not session.is_closed:
                session.past = past
        return results

    def close(self) -> None:
        """Refuse further steps and free the weights."""
        self._runtime = None

    def _own(self, session: Session) -> OptimumSession:
        if not isinstance(session, OptimumSession) or session.engine is not self:
            raise EngineError("the session belongs to another engine")
        if session.is_closed:
            raise EngineError("the session is closed")
        return session

    def _run(self, past: Mapping[str, FloatArray], ids: Sequence[int]) -> tuple[Logits, Past]:
        """Run one feed; return its logits and the past with it."""
        runtime = self._runtime
        if runtime is None:
            raise EngineError("the engine was closed")
        start = _length(past)
        inputs: dict[str, Any] = {
            "input_ids": np.asarray(ids, np.int64)[None],
            "attention_mask": np.ones((1, start + len(ids)), np.int64),
            "position_ids": np.arange(start, start + len(ids), dtype=np.int64)[None],
        }
        try:
            outputs = dict(zip(self._outputs, runtime.run(self._outputs, inputs | dict(past)), strict=True))
        except Exception as error:  # the engine edge: onnxruntime's exceptions share no base class
            raise EngineError(f"onnxruntime failed: {type(error).__name__}") from error
        logits = Logits(**{head: outputs[head][0] for head in HEADS})
        check_logits(logits, len(ids), self._info)
        return logits, {name: outputs[name.replace("past_key_values", "present")] for name in past}


def _length(past: Mapping[str, FloatArray]) -> int:
    """Return how many tokens keys and values are of."""
    return int(next(iter(past.values())).shape[2])
