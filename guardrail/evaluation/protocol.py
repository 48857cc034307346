"""Which rows are measured: a TOML file that names data files and benchmarks, or both from the command line."""

import random
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets import load_dataset
from guardrail.evaluation.left_out import group_of, is_left_out
from guardrail.evaluation.rows import Row, Tally, read_rows

_SEED = 11


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class FileUse(_Strict):
    """How one file is read.

    Attributes:
        langs: only these languages; empty takes all.
        left_out: only the groups of rows that a recipe leaves out with the same share; 0 takes all.
        group: key of `meta` whose value groups rows; empty: the first message does.
        user_turns: judge also the prompt that each harmless answer answers, as a Safe row of its own.
    """

    langs: tuple[str, ...] = ()
    left_out: Annotated[float, Field(ge=0, le=1)] = 0.0
    group: str = ""
    user_turns: bool = False


class DatasetUse(_Strict):
    """Where a public benchmark is read from.

    Attributes:
        path: its published file or folder, relative to the protocol's `data_dir`; None takes it from the hub.
        langs: only these languages; empty takes all.
    """

    path: Path | None = None
    langs: tuple[str, ...] = ()


class Protocol(_Strict):
    """What is measured.

    Attributes:
        files: data files, relative to `data_dir`.
        datasets: public benchmarks by name.
        data_dir: their folder.
        limit: most rows of a file or benchmark, a seeded sample; None takes all.
        ordinary: sources of ordinary requests, whose false positives are reported together.
    """

    files: dict[str, FileUse] = {}
    datasets: dict[str, DatasetUse] = {}
    data_dir: Path = Path()
    limit: Annotated[int | None, Field(ge=1)] = None
    ordinary: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, path: Path) -> "Protocol":
        """Read a protocol.

        Raises:
            ConfigurationError: the file cannot be read, or holds an unknown key or an impossible value.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except ValidationError as error:
            raise ConfigurationError(f"{path.name}: {'; '.join(map(_explain, error.errors()))}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"cannot read {path.name}: {error}") from error

    def read(self, tally: Tally, *, skip_bad: bool = False) -> list[Row]:
        """Return the rows of all files, then those of all benchmarks.

        Raises:
            ConfigurationError: a file cannot be read, or holds a bad line and `skip_bad` is False.
        """
        rows: list[Row] = []
        for name, use in self.files.items():
            found = [
                row for row in read_rows(self.data_dir / name, tally=tally, skip_bad=skip_bad) if _is_measured(row, use)
            ]
            sample = _sample(found, self.limit)
            rows += sample
            if use.user_turns:
                rows += [prompt for row in sample if (prompt := row.user_turn())]
        for name, dataset in self.datasets.items():
            rows += self._benchmark(name, dataset, tally, skip_bad)
        return rows

    def _benchmark(self, name: str, use: DatasetUse, tally: Tally, skip_bad: bool) -> list[Row]:
        path = self.data_dir / use.path if use.path else None
        read = load_dataset(name, path, tally, skip_bad=skip_bad)
        found = [row for row in read if not use.langs or row.lang in use.langs]
        return _sample(found, self.limit)


def _is_measured(row: Row, use: FileUse) -> bool:
    if use.langs and row.lang not in use.langs:
        return False
    return not use.left_out or is_left_out(group_of(row.messages, row.meta, use.group), use.left_out)


def _explain(error: Any) -> str:
    """Say what is wrong at which key; for one that does not exist, which do."""
    where = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}"
    tables: dict[str, type[_Strict]] = {"files": FileUse, "datasets": DatasetUse}
    valid = tables.get(error["loc"][0], Protocol)
    return f"{where}: unknown key; valid: {', '.join(valid.model_fields)}"


def _sample(rows: list[Row], most: int | None) -> list[Row]:
    return rows if most is None or len(rows) <= most else random.Random(_SEED).sample(rows, most)
