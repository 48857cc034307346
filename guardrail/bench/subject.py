"""What is measured: a model found, exported if need be, and loaded as `Guard.load` loads it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guardrail.bench.shape_06b import SHAPE_06B, random_checkpoint
from guardrail.bench.timing import Watch
from guardrail.checkpoint import CONFIG_FILE, read_json
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine, Feed, Session
from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import ConfigurationError
from guardrail.exported import KV_MODEL_FILE, is_export
from guardrail.loader import EMBEDDED, cache_folder, embedded_folder, exported_folder, find_checkpoint, load_model

RANDOM_06B = "06b"

_READ_AT_ONCE = 512
_ROOM = 128
"""Tokens that every measurement at some context may add to it, at least."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model lies.

    Attributes:
        name: for people.
        folder: exported.
        checkpoint: that it was exported from; None where that is not known.
    """

    name: str
    folder: Path
    checkpoint: Path | None


class Past:
    """Contexts to measure at: one long session, read once, of which each is a copy."""

    def __init__(self, engine: Engine, vocab_size: int) -> None:
        """Open the session.

        Args:
            engine: that reads.
            vocab_size: tokens are drawn from [0, vocab_size).
        """
        self._engine, self._vocab_size = engine, vocab_size
        self._session = engine.open()

    def at(self, length: int) -> Session:
        """Return a new session that holds `length` tokens; the caller closes it."""
        while self._session.length < length:
            n = min(length - self._session.length, _READ_AT_ONCE)
            self._engine.step([Feed(self._session, random_ids(self._vocab_size, n))])
        return self._session.fork(length)

    @contextmanager
    def forked(self, length: int) -> Iterator[Session]:
        """As `at`, and close the session at the end."""
        session = self.at(length)
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        """Free the session."""
        self._session.close()


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded model.

    Attributes:
        source: where it lies.
        config: its sizes.
        tokenizer: of the model.
        engine: what users get: the model behind its scheduler.
        inner: the model itself, for calls of any length; one caller at a time, and none of `engine` meanwhile.
        runtime: how both run.
        past: contexts of `engine`.
    """

    source: Source
    config: GuardConfig
    tokenizer: GuardTokenizer
    engine: ScheduledEngine
    inner: Engine
    runtime: Runtime
    past: Past

    def fitting(self, length: int) -> int:
        """Return a length, or the most that leaves room in the model's context."""
        return max(1, min(length, self.engine.info.max_context - _ROOM))

    def bytes_per_token(self, context: int) -> int:
        """Return what reading one token must read from memory: all weights with their scales, and what is held.

        All of the data file but the embedding and the tables of the rotation, of which one row each is read.
        """
        config, info = self.config, self.engine.info
        row = 4 * config.hidden_size if info.precision == "fp32" else config.hidden_size + 4
        tables = 8 * config.max_context * (-(-config.head_dim // 16) * 8)
        weights = (self.source.folder / "model.onnx.data").stat().st_size - config.vocab_size * row - tables
        return weights + context * info.kv_bytes_per_token

    def operations(self, n_tokens: int) -> int:
        """Return the multiplications and additions of all weights with some tokens; attention comes on top."""
        shapes = tensor_shapes(self.config)
        del shapes["model.embed_tokens.weight"]
        return 2 * n_tokens * sum(int(np.prod(shape)) for shape in shapes.values() if len(shape) == 2)


def find_source(model: str, watch: Watch, *, kv_precision: KVPrecision = "fp32") -> Source:
    """Find a model; make, export and calibrate what is not there yet.

    Args:
        model: "06b" (random weights of that shape), "default" (embedded), or what `Guard.load` takes.
        watch: shows how far it is.
        kv_precision: that it will run with; the cached export of a checkpoint is calibrated for it.

    Raises:
        ConfigurationError: there is no such model, or the cache cannot be written.
        MissingExtra: the extra `export` is needed.
    """
    if model == EMBEDDED:
        return Source("embedded", embedded_folder(), None)
    if model == RANDOM_06B:
        checkpoint = _random_06b(watch)
        exported = _exported(checkpoint, RANDOM_06B, kv_precision, watch)
        return Source("0.6B shape, random weights", exported, checkpoint)
    found = find_checkpoint(model)
    if is_export(found):
        return Source(model, found, None)
    return Source(model, _exported(found, model, kv_precision, watch), found)


def _exported(checkpoint: Path, name: str, kv_precision: KVPrecision, watch: Watch) -> Path:
    folder = exported_folder(checkpoint, name=name)
    if kv_precision == "int8" and not (folder / KV_MODEL_FILE).exists():
        from guardrail.onnx_export.calibrate import calibrate_kv

        for made in watch((folder,), "calibrating the int8 KV cache, once"):
            calibrate_kv(made)
    return folder


def _random_06b(watch: Watch) -> Path:
    folder = cache_folder() / "bench" / RANDOM_06B
    if not folder.exists():
        import guardrail.onnx_export  # noqa: F401  # a missing extra is told before a gigabyte is written
    try:
        return random_checkpoint(folder, SHAPE_06B, watch)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to the cache: {error.strerror}", hint="set XDG_CACHE_HOME; 2 GB are needed"
        ) from error


@contextmanager
def opened(source: Source, runtime: Runtime) -> Iterator[Subject]:
    """Load a model, and free it at the end.

    Raises:
        CheckpointError: the export is damaged.
        ConfigurationError: a setting cannot be had.
    """
    loaded = load_model(source.folder, runtime=runtime)
    engine = loaded.engine
    if not isinstance(engine, ScheduledEngine):
        raise TypeError("the loader wraps every engine in a scheduler")
    config = GuardConfig.from_json(read_json(source.folder / CONFIG_FILE))
    past = Past(engine, config.vocab_size)
    try:
        yield Subject(source, config, loaded.tokenizer, engine, engine.inner, runtime, past)
    finally:
        past.close()
        engine.close()


def random_ids(vocab_size: int, n: int, seed: int = 0) -> list[int]:
    """Return token ids drawn from the whole vocabulary."""
    ids: list[int] = np.random.default_rng(seed + n).integers(0, vocab_size, n).tolist()
    return ids


def one_by_one_ms(engine: Engine, session: Session, vocab_size: int, n: int, *, warm_up: int = 1) -> list[float]:
    """Read tokens, one a call, and return the milliseconds of each; the session is as before afterwards.

    Args:
        engine: of the session.
        session: that the tokens are appended to.
        vocab_size: tokens are drawn from [0, vocab_size).
        n: tokens timed.
        warm_up: tokens read first: what was measured before has used the processor's caches.
    """
    length, found = session.length, []
    for token_id in random_ids(vocab_size, warm_up + n):
        feed = Feed(session, [token_id])
        started = time.perf_counter()
        engine.step([feed])
        found.append(1000 * (time.perf_counter() - started))
    session.rollback(length)
    return found[warm_up:]
