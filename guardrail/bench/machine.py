"""The machine: what it is, how fast it reads memory and multiplies bytes. Every limit in the table comes from here."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from guardrail.bench.timing import Watch, seconds_of
from guardrail.checkpoint_config import GuardConfig

if TYPE_CHECKING:  # loads onnxruntime, which `guardrail doctor` must be able to do without
    from guardrail.bench.int8_rate import Int8Product

_PARTS = 8
"""Parts of the array a thread: one that is held up leaves the rest to the others."""

PACKAGES = ("guardrail-stream", "onnxruntime", "numpy", "tokenizers", "torch")


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory bandwidth with some threads, in 10^9 bytes a second."""

    threads: int
    gb_per_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What a table was measured on.

    Attributes:
        cpu: model of the processor.
        system: operating system and architecture.
        cores: that this process may use, hardware threads included.
        python: version.
        versions: package -> version, of those that are installed.
        bandwidth: by number of threads.
        int8_gop_per_s: rate of a large int8 product, in 10^9 multiplications and additions a second.
    """

    cpu: str
    system: str
    cores: int
    python: str
    versions: dict[str, str]
    bandwidth: tuple[Reading, ...]
    int8_gop_per_s: float


class Bandwidth:
    """Reads a large array with some threads at once.

    The largest of all numbers is sought: that reads every byte once, and numpy does it as fast as C code does.
    """

    def __init__(self, n_bytes: int, *, threads: int) -> None:
        """Fill the array.

        Args:
            n_bytes: of the array.
            threads: that read it.
        """
        self._array = np.ones(n_bytes // 4, np.float32)
        self._threads = threads

    def gb_per_s(self, passes: int = 3, *, threads: int | None = None) -> float:
        """Return the best rate of a few passes, in 10^9 bytes a second."""
        n_threads = threads or self._threads
        parts = np.array_split(self._array, n_threads * _PARTS)
        with ThreadPoolExecutor(n_threads) as pool:
            taken = [seconds_of(lambda: list(pool.map(np.max, parts))) for _ in range(passes)]
        return self._array.nbytes / min(taken) / 1e9


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure_machine(bandwidth: Bandwidth, product: "Int8Product", threads: int, watch: Watch) -> Machine:
    """Measure with 1, 2, 4, ... and all threads."""
    steps = sorted({*(2**i for i in range(threads.bit_length())), threads})
    read = tuple(Reading(n, bandwidth.gb_per_s(5, threads=n)) for n in watch(steps, "memory bandwidth"))
    return Machine(
        cpu=cpu_name(),
        system=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        python=platform.python_version(),
        versions={name: version for name in PACKAGES if (version := _version(name))},
        bandwidth=read,
        int8_gop_per_s=product.gop_per_s(5),
    )


def described(config: GuardConfig, packages: Sequence[str]) -> str:
    """Return what is measured on what, in a line: a model's sizes, the machine, and the packages that are installed."""
    return (
        f"{config.n_layers} layers of {config.hidden_size}, vocabulary {config.vocab_size}; "
        f"{cpu_name()}, {cores()} cores, "
        f"{', '.join([f'Python {platform.python_version()}', *installed(packages)])}"
    )


def installed(packages: Sequence[str]) -> list[str]:
    """Return the packages that are installed, each with its version."""
    return [f"{name} {version}" for name in packages if (version := _version(name))]


def cpu_name() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
