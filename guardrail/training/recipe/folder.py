"""The output folder: one writer at a time, a folder a stage, and what another plan made there is set aside.

`<stage>/rows/` holds what a stage hands on, `<stage>/work/<step>/` the parts of its other steps, and
`<stage>/manifest.json` what they depend on. `<stage>.<digest>/` is what it had made by another plan; when that plan
comes back, so does the folder.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.training.recipe.manifest import Manifest, Plan, read_manifest, write_manifest
from guardrail.whole_files import write_whole

try:
    from filelock import FileLock, Timeout
except ModuleNotFoundError as error:
    raise MissingExtra("filelock", "train") from error

CACHE = "calls.sqlite"
"""Name of the call cache in the output folder."""

_LOCK, _HOLDER = ".lock", ".holder.json"
_LOCK_WAIT_S = 2.0
"""How long a start waits for the lock: longer than `is_held` ever holds it. Our choice."""


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Hold the output folder, which is made if need be, against other processes.

    Raises:
        ConfigurationError: another process holds it.
    """
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / _LOCK, timeout=_LOCK_WAIT_S):
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
            write_whole(output / _HOLDER, json.dumps(holder).encode())
            yield
    except Timeout:
        raise ConfigurationError(
            f"{output} is being written to by {_holder(output)}", hint="wait for it, or take another `output`"
        ) from None


def is_held(output: Path) -> bool:
    """Whether a process is at work in the output folder."""
    if not (output / _LOCK).exists():
        return False
    try:
        with FileLock(output / _LOCK, timeout=0):
            return False
    except Timeout:
        return True


def begin(output: Path, plan: Plan) -> tuple[Manifest, str]:
    """Make the stage's folder, or go on with the one that was made by the same plan.

    Returns:
        its manifest, and what was done with the folder of another plan: a sentence, empty when there was none.

    Raises:
        ConfigurationError: what stands in the folder's place is none of ours.
    """
    folder, said = output / plan.stage, ""
    found = read_manifest(folder)
    if found is not None and found.digest != plan.digest:
        aside = _aside(output, plan.stage, found.digest)
        if aside.exists():
            raise ConfigurationError(f"{aside} is in the way of what it is to hold", hint="move it away")
        folder.rename(aside)
        why = ", ".join(found.plan.differs_in(plan))
        said = f"{plan.stage}: another plan ({why}); what was there is kept in {aside.name}"
        found = None
    if found is None and (kept := _aside(output, plan.stage, plan.digest)).exists():
        kept.rename(folder)
        said = f"{said}; {kept.name} is taken back" if said else f"{plan.stage}: {kept.name} is taken back"
        found = read_manifest(folder)
    return found or _make(output, plan), said


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _make(output: Path, plan: Plan) -> Manifest:
    """Make a folder that never stands there without its manifest."""
    manifest = Manifest(plan=plan, digest=plan.digest, started=now())
    unfinished = output / f".{plan.stage}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    write_manifest(unfinished, manifest)
    unfinished.rename(output / plan.stage)
    return manifest


def _aside(output: Path, stage: str, digest: str) -> Path:
    return output / f"{stage}.{digest[:8]}"


def _holder(output: Path) -> str:
    try:
        holder = json.loads((output / _HOLDER).read_bytes())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
