"""How the stages of a recipe stand, as a table and as values; read from their manifests, also while they run."""

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from guardrail.training.recipe.counting import total_of
from guardrail.training.recipe.manifest import Manifest
from guardrail.training.recipe.planning import StageState, states_of
from guardrail.training.recipe.settings import RecipeSettings

_COLUMNS = ("rows in", "out", "dropped", "calls", "cached", "tokens", "cost", "when")


def table_of(recipe: RecipeSettings, folder: Path) -> Table:
    """Return a table, a stage a line; see `planning.states_of`."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage")
    table.add_column("state", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for state in states_of(recipe, folder).values():
        table.add_row(state.name, _state_in_words(state), *_cells(state.manifest))
    return table


def as_values(recipe: RecipeSettings, folder: Path) -> dict[str, Any]:
    """Return the same as JSON values, by stage; see `planning.states_of`."""
    return {name: _values(state) for name, state in states_of(recipe, folder).items()}


def _state_in_words(state: StageState) -> str:
    manifest = state.manifest
    if state.why:
        return f"{state.state}: {state.why}"
    if manifest is None or manifest.finished or not manifest.step:
        return state.state
    if not manifest.n_parts:
        return f"{state.state}: {manifest.step}"
    return f"{state.state}: {manifest.step}, {manifest.n_parts_done} of {manifest.n_parts} parts"


def _cells(manifest: Manifest | None) -> tuple[str, ...]:
    if manifest is None:
        return ("",) * len(_COLUMNS)
    calls = total_of(manifest.calls)
    return (
        f"{manifest.n_in:,}", f"{manifest.rows.n_rows:,}" if manifest.rows else "",
        f"{manifest.n_dropped:,}" if manifest.rows else "", f"{calls.asked:,}", f"{calls.cached:,}",
        f"{calls.n_input + calls.n_output:,}", f"{calls.cost:.2f}", manifest.finished or f"since {manifest.started}",
    )  # fmt: skip


def _values(state: StageState) -> dict[str, Any]:
    values: dict[str, Any] = {"state": state.state, "why": state.why or None}
    manifest = state.manifest
    if manifest is None:
        return values
    return values | {
        "step": manifest.step or None,
        "parts_done": manifest.n_parts_done,
        "parts": manifest.n_parts,
        "rows_in": manifest.n_in,
        "rows_out": manifest.rows.n_rows if manifest.rows else None,
        "dropped": manifest.n_dropped,
        "counts": manifest.counts,
        "calls": {name: calls.model_dump() for name, calls in manifest.calls.items()},
        "seconds": manifest.seconds,
        "starts": manifest.n_starts,
        "started": manifest.started,
        "finished": manifest.finished,
        "warnings": manifest.warnings,
    }
