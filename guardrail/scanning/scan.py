"""Scans files: judges what is left of them, joins the parts, counts what the rows came to."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import EngineError
from guardrail.file_hash import hash_file
from guardrail.scanning.folder import Output
from guardrail.scanning.jobs import Job, Subject
from guardrail.scanning.joining import Parts, join
from guardrail.scanning.judge import JudgedPart, Runner, Work
from guardrail.scanning.results import Tally
from guardrail.whole_files import make_whole

Advance = Callable[[int], None]
"""Is told how many more rows are done."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What a file came to.

    Attributes:
        input: name of the file.
        output: the file that was written.
        tally: of all its rows.
        n_judged: rows that were judged now; the others had been before.
        n_tokens: tokens that were judged now.
    """

    input: str
    output: Path
    tally: Tally
    n_judged: int
    n_tokens: int


def scan(jobs: Sequence[Job], subject: Subject, runner: Runner, advance: Advance) -> list[FileReport]:
    """Judge what is left of files and write their outputs, each as soon as its last row is judged.

    Raises:
        ConfigurationError: the output of another plan is in the place of one; then nothing is judged.
    """
    begun = [_Begun(job, subject) for job in jobs]
    for one in begun:
        advance(one.n_rows_done)
        one.finish_if_done()
    for part in runner([one.work(file) for file, one in enumerate(begun) if not one.is_finished]):
        begun[part.file].take(part)
        advance(part.n_rows)
    return [one.report() for one in begun]


class _Begun:
    """A file under way."""

    def __init__(self, job: Job, subject: Subject) -> None:
        self._job, self._subject = job, subject
        self._output = Output(job.output, job.plan_for(subject))
        self._done = {number for number in range(job.n_parts) if self.is_finished or self._output.has_part(number)}
        self._n_judged = self._n_tokens = 0

    @property
    def is_finished(self) -> bool:
        """Whether its output is written."""
        return self._output.is_finished

    @property
    def n_rows_done(self) -> int:
        """Rows that are judged."""
        return sum(map(self._job.rows_of, self._done))

    def work(self, file: int) -> Work:
        """Return what is left to do."""
        return Work(file, self._job.source.path, self._job.request, frozenset(self._done))

    def take(self, part: JudgedPart) -> None:
        """Write a part, and the output with the last one."""
        self._output.write_part(part.number, part.lines)
        self._done.add(part.number)
        self._n_judged += part.n_rows
        self._n_tokens += part.n_tokens
        self.finish_if_done()

    def finish_if_done(self) -> None:
        """Join the parts, if all are there."""
        job, output = self._job, self._output
        if output.is_finished or len(self._done) < job.n_parts:
            return
        tally = Tally()
        parts = _counted(output.read_parts(job.n_parts), tally)
        make_whole(job.output, lambda path: join(path, parts, job, self._subject))
        output.finish(tally, hash_file(job.output))

    def report(self) -> FileReport:
        """Return what it came to."""
        tally = self._output.manifest.tally
        if tally is None:
            raise EngineError(f"{self._job.source.path.name}: parts of it were not judged")
        return FileReport(self._job.source.path.name, self._job.output, tally, self._n_judged, self._n_tokens)


def _counted(parts: Parts, tally: Tally) -> Iterator[list[bytes]]:
    """Pass parts on, counting their rows."""
    for lines in parts:
        for line in lines:
            tally.add(json.loads(line))
        yield lines
