"""Data sets that tests write, and what a scan makes of them."""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guardrail import Guard
from guardrail.scanning.columns import Columns
from guardrail.scanning.jobs import Subject, plan_jobs
from guardrail.scanning.judge import JudgedPart, Request, Runner, Work, judging_here
from guardrail.scanning.scan import FileReport, scan
from guardrail.testing import MarkerEngine, default_tokenizer

TOKENIZER = default_tokenizer()


def marker_guard(policy: str = "balanced") -> Guard:
    """A guard that stops what follows a skull, and keeps nothing between texts."""
    engine = MarkerEngine(TOKENIZER, {"☠": ("Unsafe", "Violent"), "☢": ("Controversial", "Unethical Acts")})
    return Guard(engine, TOKENIZER, policy=policy, kept_bytes=0)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | bytes]) -> Path:
    """Write rows, and lines that are none, as they are."""
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an output."""
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


class Watching:
    """A runner that remembers what it judged, and may stop after some parts as if it were killed."""

    def __init__(self, guard: Guard, *, killed_after: int | None = None) -> None:
        self._run: Runner = judging_here(guard)
        self._left = killed_after
        self.judged: list[int] = []

    def __call__(self, works: Sequence[Work]) -> Iterable[JudgedPart]:
        """Judge."""
        for part in self._run(works):
            if self._left is not None and len(self.judged) == self._left:
                raise KeyboardInterrupt
            self.judged.append(part.number)
            yield part


def scanned(
    paths: Sequence[Path],
    out: Path,
    *,
    columns: Columns = Columns(),
    guard: Guard | None = None,
    runner: Runner | None = None,
    **options: Any,
) -> list[FileReport]:
    """Scan files with the marker guard."""
    guard = guard or marker_guard()
    jobs = plan_jobs(paths, out, Request(columns, **options))
    out.mkdir(exist_ok=True)
    subject = Subject.of(guard)
    return scan(jobs, subject, runner or judging_here(guard), lambda _: None)
