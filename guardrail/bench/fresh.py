"""What a process of its own needs: it loads the model, reads a prompt, and tells seconds and memory.

Run as `python -m guardrail.bench.fresh FOLDER N_TOKENS THREADS KV_PRECISION`; prints one JSON object.
"""

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from guardrail.bench.subject import Source, opened, random_ids
from guardrail.bench.timing import seconds_of
from guardrail.engines.base import Feed
from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.errors import EngineError


@dataclass(frozen=True, slots=True)
class Fresh:
    """A process that loaded a model and read a prompt.

    Attributes:
        n_tokens: of the prompt.
        load_s: seconds until the model was loaded.
        read_s: seconds for the prompt.
        before_bytes: memory of the process before, resident; None where the system does not tell.
        loaded_bytes: the same with the model.
        read_bytes: the same with the prompt held.
        peak_bytes: the most at any time.
    """

    n_tokens: int
    load_s: float
    read_s: float
    before_bytes: int | None
    loaded_bytes: int | None
    read_bytes: int | None
    peak_bytes: int | None


def measure_fresh(folder: Path, n_tokens: int, runtime: Runtime) -> Fresh:
    """Start a process that loads an exported folder and reads n tokens.

    Raises:
        EngineError: it failed.
    """
    settings = [str(folder), str(n_tokens), str(runtime.threads or 0), runtime.kv_precision]
    command = [sys.executable, "-P", "-m", "guardrail.bench.fresh", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(f"the process that measures memory failed: {last}")
    return Fresh(**json.loads(done.stdout))


def read_once(folder: Path, n_tokens: int, runtime: Runtime) -> Fresh:
    """Load and read in this process."""
    before = resident_bytes()
    started = time.perf_counter()
    with opened(Source("fresh", folder, None), runtime) as subject:
        load_s, loaded = time.perf_counter() - started, resident_bytes()
        session = subject.engine.open()
        ids = random_ids(subject.config.vocab_size, n_tokens)
        read_s = seconds_of(lambda: subject.engine.step([Feed(session, ids)]))
        return Fresh(n_tokens, load_s, read_s, before, loaded, resident_bytes(), resident_bytes(peak=True))


def resident_bytes(*, peak: bool = False) -> int | None:
    """Return this process's resident memory, files mapped into it included; None where there is no /proc."""
    name = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


def main() -> None:
    """Read the arguments, measure, print."""
    folder, n_tokens, threads, name = sys.argv[1:]
    precision: KVPrecision = next(known for known in get_args(KVPrecision) if known == name)
    found = read_once(Path(folder), int(n_tokens), Runtime(threads=int(threads) or None, kv_precision=precision))
    sys.stdout.write(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
