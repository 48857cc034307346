"""`guardrail train own`: a guard for one's own policy, from a file of rows to an exported model."""

import json as json_module
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from guardrail.audit.wording import shown
from guardrail.cli.exits import Exit
from guardrail.cli.options import EMBEDDED, Flag, Precision
from guardrail.cli.show import figures, table_console
from guardrail.errors import ConfigurationError

if TYPE_CHECKING:
    from guardrail.training.own.settings import OwnSettings
    from guardrail.training.own.stage import Checked, Outcome

_PIPED_WIDTH = 140


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OwnOptions:
    """How a model is made.

    Attributes:
        start: model to start from: "default" (embedded), a hub id, a checkpoint folder or an exported folder.
        only_own: give up the start's categories that the rows do not name. Its risk levels stay.
        tune: train all weights ("full"), small matrices beside them ("lora"), or the heads alone ("heads"); the less,
            the more is kept of what the start knew.
        epochs: passes over the training rows; unset takes 6.
        learning_rate: peak, of the backbone; unset takes 1e-3, which suits the small embedded model. 1e-5 to 1e-4 suit
            larger ones.
        head_learning_rate: peak, of the heads; unset takes 3e-3.
        no_mix: do not train besides on rows that join halves of two rows of one kind, which keep few rows from being
            learned by heart.
        batch_tokens: tokens a step; unset takes 512. More for larger models on a GPU.
        max_length: most tokens of a row; unset takes 512.
        held_out: share of the rows that the result is measured on, below 0.5; unset takes 0.2.
        target_fpr: share of harmless rows that may be flagged; unset takes 0.05.
        precision: of the exported weights.
        seed: of the split and of the training.
        threads: of the training; unset takes 2.
    """

    start: str = EMBEDDED
    only_own: Flag = False
    tune: Literal["full", "lora", "heads"] = "full"
    epochs: float | None = None
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    no_mix: Flag = False
    batch_tokens: int | None = None
    max_length: int | None = None
    held_out: float | None = None
    target_fpr: float | None = None
    precision: Precision = "int8"
    seed: int = 1
    threads: int | None = None

    def settings(self) -> "OwnSettings":
        """Return the settings of the run; what is unset takes its default.

        Raises:
            ConfigurationError: a value is beyond its range.
        """
        from guardrail.training.own.settings import OwnSettings

        given = {name: value for name, value in vars(self).items() if value is not None and name != "no_mix"}
        return replace(OwnSettings(), **given, mix=not self.no_mix).checked()


def own(
    rows: Path,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    resume: Flag = False,
    skip_bad: Flag = False,
    dry_run: Flag = False,
    prepare: Flag = False,
    json: Flag = False,
    options: OwnOptions = OwnOptions(),
) -> int:
    """Teach a guard your own policy: from a file of labelled rows to an exported model, on a laptop.

    ```sh
    guardrail train own rows.csv --dry-run
    guardrail train own rows.csv --output runs/mine
    guardrail train own rows.csv --output runs/mine --start Qwen/Qwen3Guard-Stream-0.6B
    ```

    A CSV file's first line names the columns: `text` (judged as a prompt and as an answer), or `prompt`, or `prompt`
    and `response` (the response is judged); `label` (safe, controversial or unsafe); `category`, any name of yours,
    empty where safe; and if you like `id`, `lang`, `refusal` (yes or no), `unsafe_start_char`. JSON lines and Parquet
    files may hold the same columns, or rows of the data schema.

    The file is checked first: everything wrong with it is told by line, and nothing is started unless `--skip-bad`
    leaves such rows out. A part of the rows is held out, and what is printed at the end is measured on it.

    Exits with 0; with 2 when the rows or options cannot be used; with 1 when the export does not say what was trained.

    Args:
        rows: CSV, TSV, JSON lines or Parquet file.
        output: folder for everything: model, policy, checkpoint, page.
        resume: go on with the run that was begun there.
        skip_bad: leave out rows that cannot be used.
        dry_run: check and count the rows, and end.
        prepare: end before the training, for `train sft` on several GPUs; --resume goes on when that is done.
        json: print one JSON object instead of tables.
        options: how.
    """
    if output is None and not dry_run:
        raise ConfigurationError("no --output for the model", hint="--dry-run only checks the rows")
    settings = options.settings()
    from guardrail.training.own import stage

    console = Console(stderr=True)
    checked = stage.check(rows)
    _print_checked(checked, table_console(_PIPED_WIDTH, stderr=True))
    bad = checked.survey.problems if skip_bad else checked.problems
    if bad:
        hint = "they cannot be left out" if skip_bad else "mend them, or leave such rows out with --skip-bad"
        raise ConfigurationError(f"{rows.name}: {len(bad)} problem{'s' * (len(bad) > 1)}, listed above", hint=hint)
    if dry_run or output is None:
        return Exit.OK
    if prepare:
        config = stage.prepare(rows, output, settings, checked, resume=resume, console=console)
        print(f"accelerate launch -m guardrail.cli train sft --config {quote(str(config))}")
        return Exit.OK
    outcome = stage.run(rows, output, settings, checked, resume=resume, console=console)
    if json:
        print(json_module.dumps(outcome.to_json()))
    else:
        _print_outcome(output, outcome)
    return Exit.OK if outcome.passed else Exit.FAILED


def _print_checked(checked: "Checked", console: Console) -> None:
    from guardrail.training.own.survey import SAID

    found, survey = checked.found, checked.survey
    for problem in checked.problems:
        where = f"line {problem.line}" if problem.line else "the file"
        print(f"{where}: {shown(problem.what)}; {shown(problem.todo)}", file=sys.stderr)
    table = figures("rows", "label", "category", "n")
    for (target, risk, name), n in sorted(survey.by_kind.items()):
        table.add_row(SAID[target], risk.value.lower(), shown(name) or "-", f"{n:,}")
    console.print(table)
    if found.n_repeats:
        console.print(f"{found.n_repeats:,} rows stood there before and are left out.")
    for note in (*found.notes, *survey.warnings):
        console.print(f"note: {shown(note)}", highlight=False, markup=False, soft_wrap=True)


def _print_outcome(output: Path, outcome: "Outcome") -> None:
    from guardrail.training.own.page import FIGURES, confusion_rows, figure_rows, usage

    console = table_console(_PIPED_WIDTH)
    table = figures(*FIGURES)
    for row in figure_rows(outcome):
        table.add_row(*row)
    console.print(table)
    for one in outcome.figures:
        if one.confusion:
            header, cells = confusion_rows(one)
            table = figures(*map(shown, header))
            for row in cells:
                table.add_row(*map(shown, row))
            console.print(table)
    lines = [
        *outcome.facts,
        f"The export decides {outcome.agreement:.1%} of the held-out rows as the trained network does.",
        f"The page: {output / 'README.md'}",
        *usage(output),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
