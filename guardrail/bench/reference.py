"""The other side of comparisons: the published network in torch, float32, with a KV cache, as anyone would run it."""

from pathlib import Path

from guardrail.bench.subject import Past
from guardrail.engines.torch import TorchEngine

import torch  # isort: skip  # after what names the extra when torch is missing


class Reference:
    """A torch engine and contexts of it.

    Attributes:
        engine: that reads.
        past: contexts of it.
        vocab_size: rows of its embedding.
    """

    def __init__(self, checkpoint: Path, threads: int) -> None:
        """Load a checkpoint; torch's threads are the whole process's, and stay set."""
        torch.set_num_threads(threads)
        self.engine = TorchEngine.from_checkpoint(checkpoint)
        self.vocab_size = self.engine.config.vocab_size
        self.past = Past(self.engine, self.vocab_size)

    def close(self) -> None:
        """Free it."""
        self.past.close()
        self.engine.close()
