"""The run: rows checked and split, the heads fine-tuned, the model exported, measured, and written about.

Each step can be done again: a killed run does over what was not finished, and the fine-tuning goes on at its last
checkpoint.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from guardrail.checkpoint import TOKENIZER_FILE
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.judges import GuardJudge
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import Run
from guardrail.evaluation.runner import run as judge_rows
from guardrail.guard import Guard
from guardrail.onnx_export import export_checkpoint
from guardrail.policy import Policy
from guardrail.policy_file import load_policy
from guardrail.policy_text import render_policy
from guardrail.training import sft
from guardrail.training.corpus import family_of, is_held_out
from guardrail.training.own.measuring import Measured, measured
from guardrail.training.own.mixing import mixed
from guardrail.training.own.page import write_page
from guardrail.training.own.problems import Problem
from guardrail.training.own.reading import Found, read_file, to_line
from guardrail.training.own.settings import OwnSettings, begin
from guardrail.training.own.splitting import Part, split
from guardrail.training.own.starting import write_start
from guardrail.training.own.survey import Survey
from guardrail.training.own.thresholds import described, own_policy
from guardrail.whole_files import write_whole

BASE_POLICY = "balanced"
LEAST_AGREEMENT = 0.9
"""Share of the held-out rows on which the export must decide as the trained network does. Our choice."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file of rows, read and counted.

    Attributes:
        found: its rows, and what is wrong with it.
        survey: counts and doubts.
    """

    found: Found
    survey: Survey

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong, by line."""
        return [*self.found.problems, *self.survey.problems]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        n_rows: rows by part.
        figures: of the held-out rows, by direction.
        before: of the start on the same rows, which knows nothing of the policy.
        agreement: share of the held-out rows that the export and the trained network decide alike.
        facts: what the thresholds rest on.
        categories: of the rows, by direction.
    """

    n_rows: dict[str, int]
    figures: list[Measured]
    before: list[Measured]
    agreement: float
    facts: list[str]
    categories: dict[Direction, tuple[str, ...]]

    @property
    def passed(self) -> bool:
        """Whether the export says what was trained."""
        return self.agreement >= LEAST_AGREEMENT

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        figures, before = ([one.to_json() for one in side] for side in (self.figures, self.before))
        return {**asdict(self), "figures": figures, "before": before, "categories": _by_name(self.categories)}


def _by_name(categories: dict[Direction, tuple[str, ...]]) -> dict[str, list[str]]:
    return {side.value: list(names) for side, names in categories.items()}


def check(rows: Path) -> Checked:
    """Return what a file of rows holds; nothing is started.

    Raises:
        ConfigurationError: it cannot be read at all.
    """
    found = read_file(rows)
    return Checked(found, Survey.of(found.rows))


def prepare(
    rows: Path, output: Path, settings: OwnSettings, checked: Checked, *, resume: bool, console: Console
) -> Path:
    """Begin a run and end before its training; return the settings of that, for `guardrail train sft`. `run` with
    `resume` goes on once it is done.

    Args and errors are those of `run`.
    """
    return _begun(rows, output, settings, checked, resume=resume, console=console).prepare()


def run(
    rows: Path, output: Path, settings: OwnSettings, checked: Checked, *, resume: bool, console: Console
) -> Outcome:
    """Train, export and measure a model; the folder holds it all.

    Args:
        rows: file that was checked.
        output: folder of the run.
        settings: of it.
        checked: the file's rows; those with problems are left out.
        resume: go on with the run that the folder holds.
        console: for progress.

    Raises:
        ConfigurationError: the folder holds another run, the start cannot be found, or too few rows remain.
    """
    job = _begun(rows, output, settings, checked, resume=resume, console=console)
    job.train()
    with console.status("exporting"):
        export_checkpoint(job.checkpoint, job.model, precision=settings.precision, name=output.name)
    policy, facts = job.choose()
    write_whole(output / "policy.toml", render_policy(policy, "\n".join((*_HEAD, *facts))).encode())
    outcome = job.measure(policy, facts)
    write_whole(output / "report.json", json.dumps(outcome.to_json(), indent=1).encode() + b"\n")
    write_page(output, rows.name, settings, checked.survey, outcome)
    shutil.rmtree(job.start)
    return outcome


def _begun(
    rows: Path, output: Path, settings: OwnSettings, checked: Checked, *, resume: bool, console: Console
) -> "_Job":
    begin(output, rows, settings, resume=resume)
    shares = {Part.HELD_OUT: settings.held_out, Part.THRESHOLDS: settings.thresholds}
    job = _Job(output, settings, split(checked.found.rows, shares, settings.seed), checked.survey.categories, console)
    if not job.parts[Part.HELD_OUT] or not job.parts[Part.TRAINING]:
        raise ConfigurationError(
            "no rows are left to measure on, since those of one question, and near duplicates, stay together",
            hint="add rows that are worded differently, or a larger --held-out, and give a new --output",
        )
    return job


_HEAD = (
    "Made by `guardrail train own` from the ready policy `balanced`. Each category has a rule of its own below: allow,",
    "flag or stop, for Controversial and for Unsafe texts.",
)


@dataclass(frozen=True, slots=True)
class _Job:
    """The steps of a run, and what they share."""

    output: Path
    settings: OwnSettings
    parts: dict[Part, list[Row]]
    categories: dict[Direction, tuple[str, ...]]
    console: Console

    @property
    def start(self) -> Path:
        """Checkpoint that the training starts from; gone when the run is done."""
        return self.output / "start"

    @property
    def checkpoint(self) -> Path:
        """What was trained."""
        return self.output / "training" / "checkpoint"

    @property
    def model(self) -> Path:
        """Its export."""
        return self.output / "model"

    def prepare(self) -> Path:
        """Write all that the training reads, and return its settings."""
        for part, its in self.parts.items():
            write_rows(self.output / "rows" / f"{part.value}.jsonl", its)
        if self.settings.mix:
            # not of the few that the fine-tuning holds out for its curves
            trained = [row for row in self.parts[Part.TRAINING] if not is_held_out(family_of(row.messages))]
            write_rows(self.output / "rows" / "mixed.jsonl", mixed(trained, self.settings.seed))
        if not (self.start / TOKENIZER_FILE).exists():  # written last, here and in the training
            write_start(self.settings.start, self.start, self.categories, only_own=self.settings.only_own)
        config = self.output / "sft.toml"
        write_whole(config, self.settings.sft(self.output).encode())
        return config

    def train(self) -> None:
        """Make the checkpoint, unless it is there."""
        config = self.prepare()
        if not (self.checkpoint / TOKENIZER_FILE).exists():
            sft.main(config, resume=(self.output / "training" / "settings.toml").exists())

    def choose(self) -> tuple[Policy, list[str]]:
        """Return the policy with its thresholds, and what they rest on."""
        base, target = load_policy(BASE_POLICY), self.settings.target_fpr
        judged = self._judged(self.model, base, self.parts[Part.THRESHOLDS], "choosing thresholds")
        policy = own_policy(base, judged, target, self.categories)
        return policy, described(policy, judged, target)

    def measure(self, policy: Policy, facts: list[str]) -> Outcome:
        """Return the figures of the held-out rows, of the export, the network and the start."""
        rows = self.parts[Part.HELD_OUT]
        own = self._judged(self.model, policy, rows, "measuring")
        exact = self._judged(self.checkpoint, policy, rows, "comparing with the network", engine="torch")
        before = self._judged(self.start, load_policy(BASE_POLICY), rows, "measuring the start", engine="torch")
        pairs = zip(own.judgements, exact.judgements, strict=True)
        agreement = sum(a.action is b.action for a, b in pairs) / len(rows)
        n_rows = {part.value: len(its) for part, its in self.parts.items()}
        figures = measured(own, self.categories), measured(before, self.categories)
        return Outcome(n_rows, *figures, agreement, facts, self.categories)

    def _judged(self, model: Path, policy: Policy, rows: Sequence[Row], what: str, engine: str = "onnx") -> Run:
        with Guard.load(model, policy=policy, engine=engine) as guard:
            return judge_rows(GuardJudge(guard, name=what), rows, console=self.console)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as lines of the data schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(to_line(row), ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, "".join(lines).encode("utf-8", "surrogatepass"))
