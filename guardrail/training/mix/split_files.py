"""A file for each split, in the data schema, out of the rows that `mix` hands on."""

from functools import partial
from pathlib import Path

from guardrail.errors import MissingExtra
from guardrail.training.mix.splits import SPLITS
from guardrail.training.recipe.rows import SCHEMA
from guardrail.training.recipe.stage import OUTPUT
from guardrail.whole_files import make_whole

try:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "train") from error


def write_splits(folder: Path) -> None:
    """Write `train.parquet`, `validation.parquet` and `test.parquet`, each whole or not at all, one part in memory at a
    time; one that is empty has no rows.

    Args:
        folder: of the stage, whose rows are written.
    """
    for split in SPLITS:
        make_whole(folder / f"{split}.parquet", partial(_write, folder, split))


def _write(folder: Path, split: str, path: Path) -> None:
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for part in sorted((folder / OUTPUT).glob("*.parquet")):
            table = pq.read_table(part, schema=SCHEMA)
            chosen = table.filter(pc.equal(table["split"], split))
            if chosen.num_rows:
                writer.write_table(chosen)
