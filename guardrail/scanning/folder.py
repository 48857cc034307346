"""What lies in the output folder: finished parts, what they were made from, and finished files. Every file is whole.

`x.jsonl.parts/00000.jsonl` are the parts of `x.jsonl`, `x.jsonl.scan.json` says what they depend on and, in the end,
what they came to. Whoever is killed at any moment leaves nothing half written.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.scanning.results import Tally
from guardrail.whole_files import write_whole


class Plan(BaseModel):
    """All that the output of a file depends on.

    Attributes:
        input: name of the file.
        input_sha256: hash of its bytes.
        columns: which are judged, and the target.
        keep_columns: whether the input's columns stand in the output.
        limit: most rows; None takes all.
        part_rows: rows of a part.
        at_once: rows under way at once.
        call_tokens: most tokens of a call of the model that several rows share.
        identity: who decides.
        runtime: of the engine, as far as it changes verdicts.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    input: str
    input_sha256: str
    columns: dict[str, str | None]
    keep_columns: bool
    limit: int | None
    part_rows: int
    at_once: int
    call_tokens: int
    identity: dict[str, str]
    runtime: dict[str, str | int]


class Manifest(BaseModel):
    """Stands beside an output.

    Attributes:
        plan: what it depends on.
        output_sha256: hash of the finished file; None while it is under way.
        tally: what its rows came to; None while it is under way.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    plan: Plan
    output_sha256: str | None = None
    tally: Tally | None = None


class Output:
    """The output of one file, finished or under way. One scan at a time writes to it."""

    def __init__(self, path: Path, plan: Plan) -> None:
        """Begin, or go on with what was begun from the same plan.

        Raises:
            ConfigurationError: the folder holds the output of another plan.
        """
        self.path = path
        self._parts = path.with_name(f"{path.name}.parts")
        self._manifest_path = path.with_name(f"{path.name}.scan.json")
        self.manifest = self._begin(plan)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.manifest.output_sha256 is not None and self.path.exists()

    def has_part(self, number: int) -> bool:
        """Whether a part is finished."""
        return self._part(number).exists()

    def write_part(self, number: int, lines: bytes) -> None:
        """Write a part, whole or not at all."""
        write_whole(self._part(number), lines)

    def read_parts(self, n_parts: int) -> Iterator[list[bytes]]:
        """Yield the lines of each part."""
        for number in range(n_parts):
            yield self._part(number).read_bytes().splitlines(keepends=True)

    def finish(self, tally: Tally, output_sha256: str) -> None:
        """Note what the finished file is, and remove the parts."""
        self.manifest = Manifest(plan=self.manifest.plan, output_sha256=output_sha256, tally=tally)
        write_whole(self._manifest_path, to_bytes(self.manifest))
        self._clear()

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:05}.jsonl"

    def _begin(self, plan: Plan) -> Manifest:
        if not self._manifest_path.exists():
            if self.path.exists():
                raise ConfigurationError(f"{self.path} exists already", hint="take another --out")
            self._clear()  # parts of nobody knows which plan
            write_whole(self._manifest_path, to_bytes(Manifest(plan=plan)))
        found = read_manifest(self._manifest_path)
        if differs := [name for name in Plan.model_fields if getattr(found.plan, name) != getattr(plan, name)]:
            raise ConfigurationError(
                f"{self.path} was made with another {', '.join(differs)}", hint="take another --out, or remove it"
            )
        if found.output_sha256 and self.path.exists():
            self._clear()
        else:
            self._parts.mkdir(exist_ok=True)
        return found

    def _clear(self) -> None:
        if self._parts.is_dir():
            shutil.rmtree(self._parts)


def to_bytes(manifest: Manifest) -> bytes:
    """Return what is written of a manifest."""
    return (manifest.model_dump_json(indent=2) + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """Return what stands beside an output.

    Raises:
        ConfigurationError: it is no such file.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{path} is no manifest of a scan", hint="take another --out") from error
