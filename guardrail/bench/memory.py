"""Memory and files: what a model takes, and what each token that is held takes besides."""

from dataclasses import dataclass

from guardrail.bench.fresh import Fresh, measure_fresh
from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject
from guardrail.bench.timing import Watch


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory and files.

    Attributes:
        kv_bytes_per_1000_tokens: by precision of the keys and values.
        process: a process of its own that loads the model and reads a short prompt.
        file_bytes: by file of the exported folder.
    """

    kv_bytes_per_1000_tokens: dict[str, int]
    process: Fresh
    file_bytes: dict[str, int]


def measure_memory(subject: Subject, sizes: Sizes, watch: Watch) -> Memory:
    """Start a process that loads the model, and look at the files."""
    info = subject.engine.info
    n_values = info.kv_bytes_per_token // (1 if info.kv_precision == "int8" else 4)
    lengths = watch((subject.fitting(sizes.memory_tokens),), "memory of a fresh process")
    (process,) = [measure_fresh(subject.source.folder, n, subject.runtime) for n in lengths]
    files = sorted(path for path in subject.source.folder.iterdir() if path.is_file())
    return Memory(
        {"fp32": 4000 * n_values, "int8": 1000 * n_values}, process, {path.name: path.stat().st_size for path in files}
    )
