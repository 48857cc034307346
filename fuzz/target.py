"""Runs one harness under atheris: `python -m fuzz.target NAME`, then libFuzzer's options and corpus folders."""

import importlib
import re
import resource
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # it has none, and is in an environment of its own

HEADROOM_BYTES = 2 * 2**30
"""Address space that a harness may take beyond what it has when it begins: more is an allocation without bound."""


def main() -> None:
    """Fuzz until libFuzzer's options end it, or an input breaks the harness."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["guardrail"]):
        harness = importlib.import_module(f"fuzz.fuzz_{name}")
    bound_memory()
    atheris.Setup([sys.argv[0], *options], harness.one_input)
    atheris.Fuzz()


def bound_memory() -> None:
    """Limit the address space, where the system says how much of it is taken."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmSize:\s+(\d+) kB", status.read_text())):
        limit = int(found[1]) * 1024 + HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
