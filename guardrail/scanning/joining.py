"""Joins the parts of a file to its output, which is of the same kind as the input."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from guardrail.scanning.jobs import Job, Subject

Parts = Iterable[list[bytes]]
"""The lines of each part, in order."""


def join(target: Path, parts: Parts, job: Job, subject: Subject) -> None:
    """Write an output from its parts: the same bytes from the same parts.

    Args:
        target: the file.
        parts: of the job.
        job: says what is kept of the input, and of which kind it is.
        subject: names the columns of a Parquet file.
    """
    if job.source.suffix == ".parquet":
        _join_parquet(target, parts, job, subject)
        return
    with target.open("wb") as file:
        if job.source.suffix.endswith(".gz"):
            # neither a time nor a name in its header: they would differ from run to run
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                _copy(parts, cast(IO[bytes], packed))
        else:
            _copy(parts, file)


def _copy(parts: Parts, file: IO[bytes]) -> None:
    for lines in parts:
        file.writelines(lines)


def _join_parquet(target: Path, parts: Parts, job: Job, subject: Subject) -> None:
    from guardrail.scanning.parquet import ParquetSource, schema_of, write_parquet

    kept = ParquetSource(job.source.path) if job.request.keep_columns else None
    schema = schema_of((subject.risks, subject.categories), kept.fields if kept else None)
    results = ([json.loads(line) for line in lines] for lines in parts)
    write_parquet(target, results, schema, kept)
