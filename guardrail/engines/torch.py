"""The torch engine: the reference. Plain, float32 on a CPU; on a GPU by `Runtime.device`, in bfloat16 if asked for."""

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from guardrail.checkpoint import Checkpoint
from guardrail.checkpoint_config import GuardConfig
from guardrail.engines.base import Feed, Logits, ModelInfo, Session, check_feeds
from guardrail.engines.runtime import Runtime
from guardrail.errors import ConfigurationError, EngineError

from guardrail.network import GuardNetwork, GuardOutput, KVCache  # isort: skip  # names the extra when torch is missing

import torch  # isort: skip


PRECISIONS = ("fp32", "bf16")


class TorchSession:
    """The cache of one conversation: one caller at a time, but any thread may close it.

    Attributes:
        cache: keys and values; another one once closed, so that a step under way keeps its own.
        is_closed: whether the cache is gone.
    """

    def __init__(self, engine: "TorchEngine", n_layers: int) -> None:
        self.engine = engine
        self.cache = KVCache(n_layers)
        self.is_closed = False

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.cache.length

    def rollback(self, length: int) -> None:
        """Forget what follows the first `length` tokens."""
        self.cache.crop(length)

    def fork(self, length: int) -> "TorchSession":
        """Return a session with the first `length` tokens; their tensors are shared, since no step writes into them."""
        if self.is_closed:
            raise EngineError("the session is closed")
        other = TorchSession(self.engine, self.engine.config.n_layers)
        other.cache = self.cache.copy()
        other.cache.crop(length)
        return other

    def close(self) -> None:
        """Free the cache; closing twice is harmless."""
        self.is_closed = True
        self.cache = KVCache(self.engine.config.n_layers)


class TorchEngine:
    """Runs a `GuardNetwork`. Safe for many threads: steps take turns."""

    def __init__(
        self,
        network: GuardNetwork,
        *,
        name: str = "network",
        sha256: str = "",
        precision: str = "fp32",
        runtime: Runtime | None = None,
    ) -> None:
        """Take a network.

        Args:
            network: put on the device and into evaluation mode.
            name: of the model in records.
            sha256: hash of its weights; empty computes it.
            precision: "fp32", or "bf16" for the backbone; heads stay fp32.
            runtime: of it, the device and the longest context count here.

        Raises:
            ConfigurationError: torch has no such device, unknown precision, or an int8 KV cache was asked for.
        """
        settings = runtime or Runtime()
        if precision not in PRECISIONS or settings.kv_precision != "fp32":
            raise ConfigurationError(
                f"the torch engine runs in {' or '.join(PRECISIONS)} with a KV cache of the same kind",
                hint="int8 and int4 are the onnx engine's",
            )
        self._device = settings.device
        try:
            self._network = network.to(self._device).eval()
            if precision == "bf16":
                self._network.model.to(torch.bfloat16)
        except (RuntimeError, AssertionError) as error:  # what torch raises for devices it does not have
            raise ConfigurationError(
                f"torch has no device {self._device!r} here", hint='leave device at "cpu", or install a CUDA build'
            ) from error
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False
        self.config: GuardConfig = network.config
        n_values = 2 * self.config.n_layers * self.config.n_kv_heads * self.config.head_dim
        self._info = ModelInfo(
            name, sha256 or _hash(network), "torch", precision, settings.context_of(self.config.max_context),
            prompt_labels=self.config.prompt_labels, response_labels=self.config.response_labels,
            kv_bytes_per_token=n_values * (4 if precision == "fp32" else 2), kv_precision=precision,
        )  # fmt: skip

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | Path,
        *,
        name: str | None = None,
        precision: str = "fp32",
        runtime: Runtime | None = None,
    ) -> Self:
        """Load a checkpoint folder.

        Raises:
            CheckpointError: as `Checkpoint.open`.
        """
        sha256 = Checkpoint.open(folder).sha256()
        network = GuardNetwork.from_checkpoint(folder)
        name = name or Path(folder).resolve().name
        return cls(network, name=name, sha256=sha256, precision=precision, runtime=runtime)

    @property
    def info(self) -> ModelInfo:
        """Identity and limits of the model."""
        return self._info

    def open(self) -> TorchSession:
        """Start an empty session."""
        return TorchSession(self, self.config.n_layers)

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Append each feed's ids to its session and return their logits; see `Engine.step`."""
        if self._is_closed or os.getpid() != self._pid:
            reason = "closed" if self._is_closed else "loaded before a fork; load it in each process"
            raise EngineError(f"the engine was {reason}")
        caches = [self._own(feed.session) for feed in feeds]
        check_feeds(feeds, self._info.max_context, self.config.vocab_size)
        lengths = [cache.length for cache in caches]
        try:
            return [self._feed(cache, feed.ids) for cache, feed in zip(caches, feeds, strict=True)]
        except BaseException as error:
            for cache, length in zip(caches, lengths, strict=True):
                cache.crop(length)
            if isinstance(error, RuntimeError):  # what torch raises
                raise EngineError(f"torch failed: {type(error).__name__}") from error
            raise

    def close(self) -> None:
        """Refuse further steps."""
        self._is_closed = True

    def _own(self, session: Session) -> KVCache:
        if not isinstance(session, TorchSession) or session.engine is not self:
            raise EngineError("the session belongs to another engine")
        cache = session.cache
        if session.is_closed:
            raise EngineError("the session is closed")
        return cache

    def _feed(self, cache: KVCache, ids: Sequence[int]) -> Logits:
        with self._lock, torch.inference_mode():
            return _to_logits(self._network(torch.tensor([list(ids)], device=self._device), cache))


def _to_logits(output: GuardOutput) -> Logits:
    query_risk, query_category = output.query_risk_level_logits, output.query_category_logits
    arrays = (query_risk, query_category, output.risk_level_logits, output.category_logits)
    return Logits(*(array[0].float().cpu().numpy() for array in arrays))


def _hash(network: GuardNetwork) -> str:
    digest = hashlib.sha256()
    for name, parameter in network.named_parameters():
        digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
