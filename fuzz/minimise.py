"""Chooses the few smallest inputs that together run as much of the code as all: `python -m fuzz.minimise HARNESS ...`.

Reads fuzz/grown/ and the corpus of the tests, and writes that corpus anew.
"""

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz.run import GROWN, HARNESSES, SEEDS

MOST_INPUTS = 24
MOST_BYTES = 160
"""Of a harness's corpus, and of each input in it: a few kB in all. Our choice."""

Passage = tuple[str, int, int, int]
"""A file, two of its lines of which the second runs behind the first, and how often: 1, 2 or 3 (more than twice)."""


class Trace:
    """Notes what runs of the package."""

    def __init__(self) -> None:
        self._n: Counter[tuple[str, int, int]] = Counter()

    def of(self, harness: Any, data: bytes) -> frozenset[Passage]:
        """Return what an input runs."""
        self._n.clear()
        sys.settrace(self._enter)
        try:
            harness.one_input(data)
        finally:
            sys.settrace(None)
        return frozenset((*lines, min(n, 3)) for lines, n in self._n.items())

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        parts = Path(name).parts
        if not {"guardrail", "adapters"}.intersection(parts) or "site-packages" in parts:
            return None
        before = 0

        def note(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal before
            if event == "line":
                self._n[name, before, frame.f_lineno] += 1
                before = frame.f_lineno
            return note

        return note


def main() -> None:
    """Minimise the harnesses that were named, all by default."""
    for name in sys.argv[1:] or HARNESSES:
        kept, n_run = minimise(name)
        print(f"{name}: {len(kept)} inputs of {sum(map(len, kept))} bytes, {n_run} passages between lines")


def minimise(name: str) -> tuple[list[bytes], int]:
    """Write a harness's corpus; return its inputs and how much they run."""
    harness, trace = importlib.import_module(f"fuzz.fuzz_{name}"), Trace()
    folders = (GROWN / name, SEEDS / name)
    inputs = {path.read_bytes() for folder in folders if folder.exists() for path in folder.iterdir()}
    small = sorted((data for data in inputs if len(data) <= MOST_BYTES), key=lambda data: (len(data), data))
    for data in small[:1]:
        trace.of(harness, data)  # what runs once only belongs to no input
    left = {data: trace.of(harness, data) for data in small}
    kept: list[bytes] = []
    run: set[Passage] = set()
    while left and len(kept) < MOST_INPUTS:
        best = max(left, key=lambda data: (len(left[data] - run), -len(data)))
        if not left[best] - run:
            break
        kept.append(best)
        run |= left.pop(best)
    write(SEEDS / name, kept)
    return kept, len(run)


def write(folder: Path, inputs: list[bytes]) -> None:
    """Put inputs into a folder, in place of those that it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for i, data in enumerate(inputs):
        (folder / f"{i:02d}").write_bytes(data)


if __name__ == "__main__":
    main()
