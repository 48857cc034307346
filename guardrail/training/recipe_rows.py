"""The rows that a fine-tuning recipe trains on, for baselines that must learn from the same ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Row, parse_row
from guardrail.training.corpus import family_of, is_held_out
from guardrail.training.examples import Source, select_rows
from guardrail.training.settings import load_settings
from guardrail.training.sft import SftSettings


def training_rows(config: Path) -> Iterator[tuple[Row, int]]:
    """Yield each row that the recipe trains on and how often it is seen an epoch; where the recipe trains the user
    turn of an answer as a safe prompt, that prompt follows as a row of its own.

    Raises:
        ConfigurationError: the recipe or one of its files cannot be read.
    """
    settings = load_settings(config, SftSettings)
    for name, source in settings.sources.items():
        for row in source_rows(settings.data_dir / name, source, settings.seed):
            if is_held_out(family_of(row.messages)):
                continue
            yield row, source.repeat
            if source.prompt_is_safe and (prompt := row.user_turn()):
                yield prompt, source.repeat


def held_out_rows(config: Path) -> Iterator[Row]:
    """Yield the rows of the recipe's sources that it keeps for validation.

    Raises:
        ConfigurationError: the recipe or one of its files cannot be read.
    """
    settings = load_settings(config, SftSettings)
    for name, source in settings.sources.items():
        for row in source_rows(settings.data_dir / name, source, settings.seed):
            if is_held_out(family_of(row.messages)):
                yield row


def source_rows(path: Path, source: Source, seed: int) -> Iterator[Row]:
    """Yield the labelled rows of one file that a recipe trains on.

    Raises:
        ConfigurationError: the file cannot be read, or a row does not follow the schema.
    """
    for values in select_rows(path, replace(source, unlabelled=False), seed):
        yield _parse(path, values)


def _parse(path: Path, values: dict[str, Any]) -> Row:
    try:
        row = parse_row(values)
    except ValueError as error:
        raise ConfigurationError(f"{path.name}, row {values.get('id')!r}: {error}") from None
    if row is None:
        raise ConfigurationError(f"{path.name}, row {values.get('id')!r}: has no label")
    return row
