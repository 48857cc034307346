"""How an engine runs: threads, memory, queues. Everything that changes speed or memory, nothing that changes verdicts
but for the rounding of an int8 KV cache.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from guardrail.errors import ConfigurationError

KVPrecision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """Settings of an engine.

    Attributes:
        threads: threads of one model call; None takes one for each physical core.
        kv_precision: of the keys and values that are held. "int8" takes a quarter of the memory, is faster with long
            contexts and many streams, slower at long prompts, and needs scales that were calibrated at the export.
        max_context: most tokens of one session; None takes the model's own limit, and more than that is refused.
        max_sessions: sessions that may be open at once, those kept for reuse included. Memory is taken only for tokens
            that are held.
        max_waiting: requests that may wait for the model; more are refused with `EngineOverloaded`.
        step_tokens: most tokens of one model call, unless more streams wait than that: the bound on how long a stream
            waits for another one's long prompt. 64 costs a prompt 5 % against 128 and 256 (docs/performance.md).
        timeout_s: seconds from asking to answering after which a request fails with `EngineTimeout`; None waits.
        arena: whether onnxruntime keeps the memory of past calls for the next ones: faster, and a little larger.
        device: of the torch engine, such as "cuda"; the onnx engine runs on the CPU.
    """

    threads: int | None = None
    kv_precision: KVPrecision = "fp32"
    max_context: int | None = None
    max_sessions: int = 256
    max_waiting: int = 1024
    step_tokens: int = 64
    timeout_s: float | None = None
    arena: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigurationError: naming the setting.
        """
        for name in ("threads", "max_context", "max_sessions", "max_waiting", "step_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {value}")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be more than 0, not {self.timeout_s}")
        if self.kv_precision not in get_args(KVPrecision):
            raise ConfigurationError(
                f"unknown kv_precision {self.kv_precision!r}; valid: {', '.join(get_args(KVPrecision))}"
            )

    def context_of(self, limit: int) -> int:
        """Return the most tokens of a session of a model whose own limit is `limit`.

        Raises:
            ConfigurationError: more was asked for.
        """
        if self.max_context is not None and self.max_context > limit:
            raise ConfigurationError(f"max_context {self.max_context} is more than the model's {limit}")
        return self.max_context or limit
