"""What a scan is about to do: which file, which columns, how many rows, judged by whom."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from guardrail.context import identify
from guardrail.decision import Identity
from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.guard import Guard
from guardrail.scanning.columns import Columns
from guardrail.scanning.folder import Plan
from guardrail.scanning.judge import Request
from guardrail.scanning.sources import Source, open_source


@dataclass(frozen=True, slots=True)
class Subject:
    """Who judges.

    Attributes:
        identity: model and policy.
        risks: names of the risk levels.
        categories: names of all categories.
        runtime: of the engine, as far as it changes verdicts.
    """

    identity: Identity
    risks: tuple[str, ...]
    categories: tuple[str, ...]
    runtime: dict[str, str | int]

    @classmethod
    def of(cls, guard: Guard) -> Self:
        """Describe a guard."""
        info = guard.engine.info
        labels = [labels for one in guard.models for labels in (one.prompt_labels, one.response_labels)]
        return cls(
            identify(guard.engine, guard.policy),
            tuple(dict.fromkeys(level.value for label in labels for level in label.risks)),
            tuple(dict.fromkeys(name for label in labels for name in label.categories)),
            {"kv_precision": info.kv_precision, "max_context": info.max_context},
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One file that is scanned.

    Attributes:
        source: the file.
        request: with the columns as they are in it.
        n_rows: how many are judged.
        output: where the results go.
    """

    source: Source
    request: Request
    n_rows: int
    output: Path

    @property
    def n_parts(self) -> int:
        """How many parts it has."""
        return -(-self.n_rows // self.request.part_rows)

    def plan_for(self, subject: Subject) -> Plan:
        """Return all that the output depends on."""
        request = asdict(self.request)
        return Plan(
            input=self.source.path.name,
            input_sha256=hash_file(self.source.path),
            identity=asdict(subject.identity),
            runtime=subject.runtime,
            **request,
        )

    def rows_of(self, part: int) -> int:
        """Return how many rows a part has."""
        return min(self.request.part_rows, self.n_rows - part * self.request.part_rows)


def plan_jobs(files: Sequence[Path], out: Path, request: Request) -> list[Job]:
    """Return the jobs, without a model: what can be wrong with files and columns is said before it is loaded.

    Raises:
        ConfigurationError: a file cannot be read, has no column to judge, or two outputs have one name.
    """
    jobs = [_job(open_source(path), out, request) for path in files]
    outputs = [job.output for job in jobs]
    if twice := {path.name for path in outputs if outputs.count(path) > 1}:
        raise ConfigurationError(f"two files would be written to {', '.join(sorted(twice))}", hint="scan them apart")
    return jobs


def _job(source: Source, out: Path, request: Request) -> Job:
    output = out / source.path.name
    if output.exists() and output.samefile(source.path):
        raise ConfigurationError(f"{output} would overwrite its input", hint="take another --out")
    n_rows = source.count()
    if n_rows:
        request = replace(request, columns=_columns(source, request.columns))
    return Job(source, request, n_rows if request.limit is None else min(n_rows, request.limit), output)


def _columns(source: Source, asked: Columns) -> Columns:
    try:
        return asked.among(source.names())
    except ConfigurationError as error:
        raise ConfigurationError(f"{source.path.name}: {error}") from error
