"""What stands beside a stage's rows: all that they depend on, and what the stage came to."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.training.recipe.rows import n_rows_of
from guardrail.whole_files import write_whole

FILE = "manifest.json"

Stopped = Literal["budget", "error", "interrupt"]
"""Why a start ended before the stage was finished."""


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class RowsNote(_Strict):
    """Rows by their content.

    Attributes:
        n_rows: how many.
        sha256: of the hashes of their parts.
    """

    n_rows: int
    sha256: str


class Plan(_Strict):
    """All that the rows of a stage depend on, apart from the versions of packages.

    Attributes:
        stage: its name.
        stage_version: of its logic.
        settings: its section of the recipe.
        models: identity by name of the models that it asks.
        materials: SHA-256 by name of the files that it goes by.
        inputs: what it reads, by name: the stage before it, or the files that the recipe names.
        seed: of the recipe.
        limit: most input rows; None for all.
        part_rows: rows of a part.
    """

    schema_version: Literal[1] = 1
    stage: str
    stage_version: int
    settings: dict[str, Any]
    models: dict[str, str]
    materials: dict[str, str]
    inputs: dict[str, RowsNote]
    seed: int
    limit: int | None
    part_rows: int

    @property
    def digest(self) -> str:
        """What tells this plan from every other one: SHA-256, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def differs_in(self, other: "Plan") -> list[str]:
        """Return the names of the fields in which another plan is not this one."""
        return [name for name in Plan.model_fields if getattr(self, name) != getattr(other, name)]


class Part(_Strict):
    """One file of rows.

    Attributes:
        name: of the file.
        n_rows: in it.
        n_bytes: its size.
        sha256: of its bytes.
    """

    name: str
    n_rows: int
    n_bytes: int
    sha256: str


class CallCounts(BaseModel):
    """What one model was asked; in a manifest by one stage, all its starts together.

    Attributes:
        asked: calls that went to the model and have ended, whatever came of them.
        cached: calls that were answered without it: from the cache, refusals too, or with an equal call.
        refused: of those asked, calls that it will never answer.
        failed: of those asked, calls that it could not answer then.
        n_input: tokens read.
        n_output: tokens written.
        cost: of these tokens, by the prices in the recipe.
        seconds: for which calls waited for it, all together.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    asked: int = 0
    cached: int = 0
    refused: int = 0
    failed: int = 0
    n_input: int = 0
    n_output: int = 0
    cost: float = 0
    seconds: float = 0

    def plus(self, other: "CallCounts") -> "CallCounts":
        """Return the sums."""
        return CallCounts(**{name: getattr(self, name) + getattr(other, name) for name in CallCounts.model_fields})

    def minus(self, other: "CallCounts") -> "CallCounts":
        """Return the differences."""
        return CallCounts(**{name: getattr(self, name) - getattr(other, name) for name in CallCounts.model_fields})

    def __bool__(self) -> bool:
        """Whether anything was asked."""
        return bool(self.asked or self.cached)


class Manifest(_Strict):
    """A stage, under way or finished. Whatever here depends on the clock or on how often it was started stands in no
    data file.

    Attributes:
        plan: what its rows depend on.
        digest: of the plan.
        versions: of Python and the packages that had a hand in it, at the last start.
        started: when the stage was begun, UTC, ISO 8601.
        finished: when it was finished; None while it is not.
        n_starts: how often it was started.
        seconds: of all starts, without what a killed one had done since its last note.
        stopped: why the last start ended early; None while one is under way, or when it was killed.
        step: name of the step under way.
        n_parts_done: its finished parts.
        n_parts: its parts; 0 while it is none of `map`'s.
        parts: of the rows that are handed on, once finished.
        rows: these, by their content.
        counts: what was counted while they were made; `dropped: <reason>` for rows that were left out.
        calls: by name of the model, as of the last note.
        summary: values that the stage reports.
        warnings: its warnings.
    """

    schema_version: Literal[1] = 1
    plan: Plan
    digest: str
    versions: dict[str, str] = {}
    started: str
    finished: str | None = None
    n_starts: int = 0
    seconds: float = 0
    stopped: Stopped | None = None
    step: str = ""
    n_parts_done: int = 0
    n_parts: int = 0
    parts: list[Part] = []
    rows: RowsNote | None = None
    counts: dict[str, int] = {}
    calls: dict[str, CallCounts] = {}
    summary: dict[str, Any] = {}
    warnings: list[str] = []

    @property
    def n_in(self) -> int:
        """Input rows."""
        n_rows = sum(note.n_rows for note in self.plan.inputs.values())
        return n_rows if self.plan.limit is None else min(n_rows, self.plan.limit)

    @property
    def n_dropped(self) -> int:
        """Rows that were left out, for whatever reason."""
        return sum(n for name, n in self.counts.items() if name.startswith("dropped"))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it, whole or not at all."""
    write_whole(folder / FILE, (manifest.model_dump_json(indent=2) + "\n").encode(errors="surrogatepass"))


def read_manifest(folder: Path) -> Manifest | None:
    """Return what stands in a stage's folder; None if there is no such folder.

    Raises:
        ConfigurationError: the folder is none of ours, or was made by another version of this program.
    """
    if not folder.exists():
        return None
    try:
        return Manifest.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(
            f"{folder} holds no manifest of a stage ({type(error).__name__})",
            hint="move it away, or take another `output`",
        ) from error


def rows_note(parts: Sequence[Part]) -> RowsNote:
    """Return what tells these rows from others."""
    digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return RowsNote(n_rows=sum(part.n_rows for part in parts), sha256=digest)


def note_parts(paths: Iterable[Path]) -> list[Part]:
    """Return what tells files of rows from others."""
    return [
        Part(name=path.name, n_rows=n_rows_of(path), n_bytes=path.stat().st_size, sha256=hash_file(path))
        for path in paths
    ]


def damage_in(folder: Path, parts: Iterable[Part]) -> str:
    """Return what is wrong with the first part that is not there as it was noted, "00003.parquet is missing"; empty
    when all are. Names and sizes are looked at, not what is in the files.
    """
    for part in parts:
        try:
            n_bytes = (folder / part.name).stat().st_size
        except FileNotFoundError:
            return f"{folder.name}/{part.name} is missing"
        if n_bytes != part.n_bytes:
            return f"{folder.name}/{part.name} has {n_bytes} bytes, not {part.n_bytes}"
    return ""
