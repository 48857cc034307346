"""`guardrail abilities`: safety, refusals and general ability of language models, as one table."""

import asyncio
import json as json_module
import sys
from pathlib import Path

from rich.console import Console

from guardrail.cli.evaluate_page import print_cells
from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.errors import ConfigurationError


def abilities(
    *,
    config: Path,
    run_model_code: Flag = False,
    unsafe_sandbox: Flag = False,
    max_calls: int | None = None,
    json: Flag = False,
) -> int:
    """Measure language models before and after training: safety, refusals, Arena-Hard-v2, AIME-25, LiveCodeBench, GPQA.

    ```sh
    guardrail abilities --config examples/abilities/models.toml
    guardrail abilities --config examples/abilities/models.toml --run-model-code
    ```

    Tables are printed, and written to the output folder as abilities.json, abilities.md and abilities.html. Answers are
    kept in its call cache: killed at any moment and started again, no model is asked again what it has answered.

    Exits with 5 when --max-calls was spent; the next start goes on.

    Args:
        config: TOML file with the models and the tasks; docs/abilities.md describes it.
        run_model_code: run programs that models write, in a sandbox; without it LiveCodeBench is left out.
        unsafe_sandbox: run them also where the kernel allows no namespaces, so that they can read this machine's files.
        max_calls: stop cleanly after this many calls of models; answers from the cache are free.
        json: print one JSON object instead of tables.
    """
    from guardrail.abilities.running import RunOptions, measure_all
    from guardrail.abilities.settings import load_abilities
    from guardrail.abilities.table import tables, to_json, write_all

    if max_calls is not None and max_calls < 1:
        raise ConfigurationError("--max-calls must be at least 1")
    if unsafe_sandbox and not run_model_code:
        raise ConfigurationError("--unsafe-sandbox goes with --run-model-code")
    settings = load_abilities(config)
    options = RunOptions(run_model_code, unsafe_sandbox, max_calls)
    shown = _Shown(Console(stderr=True))
    with shown.console.status("reading") as shown.status:
        found = asyncio.run(
            measure_all(settings, config.parent, options, on_step=shown.step, on_answer=shown.answer)
        )  # fmt: skip
    command = " ".join(["guardrail", *sys.argv[1:]])
    folder = write_all(found, command)
    for said in found.warnings:
        print(f"guardrail: {said}", file=sys.stderr)
    if json:
        print(json_module.dumps(to_json(found, command), default=str))
        return Exit.OK
    for cells in tables(found):
        print_cells(cells)
    print(f"{command}\nwritten to {folder}: abilities.json, abilities.md, abilities.html")
    return Exit.OK


class _Shown:
    """What is under way, in one line of a terminal."""

    def __init__(self, console: Console) -> None:
        self.console, self.status = console, console.status("")
        self._step, self._n = "", 0

    def step(self, name: str) -> None:
        """Show that a task of a model begins."""
        self._step, self._n = name, 0
        self.status.update(name)

    def answer(self) -> None:
        """Count an answer."""
        self._n += 1
        self.status.update(f"{self._step}, {self._n} answers")
