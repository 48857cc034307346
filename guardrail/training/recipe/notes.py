"""How far a stage is, kept in its manifest while it runs, so that `guardrail train status` can tell from outside."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guardrail.training.recipe.counting import Calls
from guardrail.training.recipe.manifest import Manifest, write_manifest

_EVERY_S = 2.0
"""Seconds between two notes; what a kill loses of the counts of calls, never of the answers. Our choice."""


class Notes:
    """Writes a stage's manifest. For one thread.

    Attributes:
        manifest: as it is now.
    """

    def __init__(self, folder: Path, manifest: Manifest, calls: Callable[[], Calls]) -> None:
        """Note that the stage was started.

        Args:
            folder: of the stage.
            manifest: as the last start left it.
            calls: returns what was asked so far, by all starts.
        """
        self._folder, self._calls = folder, calls
        self._began, self._seconds_before = time.monotonic(), manifest.seconds
        self._written = 0.0
        self.manifest = manifest.model_copy(update={"n_starts": manifest.n_starts + 1, "stopped": None})
        self.note()

    def begin(self, step: str, n_done: int, n_parts: int) -> None:
        """Note that a step is under way; `n_parts` is 0 when they are not counted."""
        self.note(step=step, n_parts_done=n_done, n_parts=n_parts)

    def part_done(self) -> None:
        """Note that another part is finished."""
        changes = {"n_parts_done": self.manifest.n_parts_done + 1}
        if time.monotonic() - self._written < _EVERY_S:
            self.manifest = self.manifest.model_copy(update=changes)
        else:
            self.note(**changes)

    def now_and_then(self) -> None:
        """Note what was asked, unless that was done just now."""
        if time.monotonic() - self._written >= _EVERY_S:
            self.note()

    def note(self, **changes: Any) -> None:
        """Write the manifest with changes."""
        self._written = time.monotonic()
        seconds = self._seconds_before + self._written - self._began
        update = {"calls": self._calls(), "seconds": round(seconds, 3), **changes}
        self.manifest = self.manifest.model_copy(update=update)
        write_manifest(self._folder, self.manifest)
