"""Parts on the disk: what cannot be read is named, with what to do about it, and never with a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.rows import counts_of, n_rows_of, read_part, write_part
from tests.training.recipe_rows import prompt

READERS: dict[str, Callable[[Path], Any]] = {
    "rows": lambda path: list(read_part(path)),
    "counts": counts_of,
    "number": n_rows_of,
}


def part_in(folder: Path, n_rows: int = 300) -> Path:
    """Write a part where a stage has it."""
    path = folder / "out" / "relabel" / "rows" / "00003.parquet"
    path.parent.mkdir(parents=True)
    write_part(path, (prompt(f"r{i}") for i in range(n_rows)))
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "foreign"])
def test_a_part_that_cannot_be_read_is_named(tmp_path: Path, reader: str, damage: str) -> None:
    """With its stage's folder, which is made again once it is gone."""
    path = part_in(tmp_path)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": path.read_bytes()[:-300], "empty": b"", "foreign": b"PAR1 nothing PAR1"}[damage])
    with pytest.raises(ConfigurationError) as caught:
        READERS[reader](path)
    why = "is missing" if damage == "missing" else "is damaged, or no part of a recipe"
    assert f"{path} {why}" in str(caught.value)
    assert f"move {tmp_path / 'out' / 'relabel'} away and run" in caught.value.hint


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5])
def test_a_part_that_rots_within_is_named(tmp_path: Path, place: float) -> None:
    """Its end says that all is well; its rows cannot be unpacked."""
    path = part_in(tmp_path)
    data = bytearray(path.read_bytes())
    start = 4 + int(place * pq.read_metadata(path).row_group(0).column(0).total_compressed_size)
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    assert n_rows_of(path) == 300
    with pytest.raises(ConfigurationError, match=r"relabel/rows/00003\.parquet is damaged.*away and run"):
        list(read_part(path))


def test_a_table_of_something_else_is_no_part(tmp_path: Path) -> None:
    """It can be read, and holds no rows of ours."""
    path = part_in(tmp_path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(ConfigurationError, match="no part of a recipe"):
        list(read_part(path))
