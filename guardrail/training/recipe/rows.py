"""Rows of the recipe: the data schema, and what a stage must know of where a row comes from.

Kept as Parquet, in parts: a part is there whole or not at all, and the same rows give the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.evaluation.rows import judged_text
from guardrail.taxonomy import RiskLevel
from guardrail.whole_files import make_whole

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("pyarrow", "train") from error

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("reasoning", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False), pa.field("root", pa.string(), nullable=False),
        ("source", pa.string()), ("lang", pa.string()), ("messages", pa.list_(_MESSAGE)), ("target", pa.string()),
        ("risk", pa.string()), ("category", pa.list_(pa.string())), ("refusal", pa.bool_()),
        ("unsafe_start_char", pa.int64()), ("is_human", pa.bool_()), ("split", pa.string()), ("meta", pa.string()),
    ]
)  # fmt: skip
"""Columns of a part; `risk` in lower case and `category` as in the data schema, `meta` as JSON text."""

AGAIN = "move {} away and run the same stages again: what models have answered is kept, and nothing is paid for twice"
"""What to do about a folder with a part that is missing or damaged; people may have filled in a sheet beside it."""

_COUNTS = b"guardrail.counts"
_READ_ROWS = 512
"""Rows that are decoded at once. Our choice."""


@dataclass(frozen=True, slots=True)
class RecipeRow:
    """One conversation on its way through the recipe.

    Attributes:
        id: unique within the recipe; a row made from another one has that one's id and a suffix.
        root: id of the row that its family goes back to: pair partners, answers and translations share it.
        source: data set, or stage, that it comes from.
        lang: language code, ISO 639-1 where there is one.
        messages: the conversation; the judged message stands last. Thinking is the message's `reasoning`.
        target: what is judged.
        risk: the label; None while there is none.
        categories: canonical names of the kinds of harm.
        refusal: whether the answer refuses; None when not said.
        unsafe_start_char: first risky character of the judged message (Python str); None when not said.
        is_human: whether a person gave the label; no stage changes it then.
        split: part of the data that it falls into, once `mix` has said so.
        meta: JSON values by name: what stages note about it, such as `votes`, `pair`, `model`.
    """

    id: str
    root: str
    source: str
    lang: str
    messages: tuple[Message, ...]
    target: Direction
    risk: RiskLevel | None = None
    categories: tuple[str, ...] = ()
    refusal: bool | None = None
    unsafe_start_char: int | None = None
    is_human: bool = False
    split: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged_text(self) -> str:
        """The text under judgement; several tool results are joined by newlines."""
        return judged_text(self.messages, self.target)


def to_values(row: RecipeRow) -> dict[str, Any]:
    """Return a row as the columns of a part."""
    return {
        "id": row.id, "root": row.root, "source": row.source, "lang": row.lang,
        "messages": [{"role": m.role.value, "content": m.content, "reasoning": m.reasoning} for m in row.messages],
        "target": row.target.value, "risk": row.risk.value.lower() if row.risk else None,
        "category": list(row.categories), "refusal": row.refusal, "unsafe_start_char": row.unsafe_start_char,
        "is_human": row.is_human, "split": row.split,
        "meta": json.dumps(row.meta, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    }  # fmt: skip


def from_values(values: Mapping[str, Any]) -> RecipeRow:
    """Return the row that the columns of a part hold."""
    messages = (Message(Role(m["role"]), m["content"], m["reasoning"]) for m in values["messages"])
    return RecipeRow(
        values["id"], values["root"], values["source"], values["lang"], tuple(messages), Direction(values["target"]),
        RiskLevel(values["risk"].capitalize()) if values["risk"] else None, tuple(values["category"] or ()),
        values["refusal"], values["unsafe_start_char"], bool(values["is_human"]), values["split"],
        json.loads(values["meta"]),
    )  # fmt: skip


def write_part(path: Path, rows: Iterable[RecipeRow], counts: Mapping[str, int] | None = None) -> int:
    """Write a part, whole or not at all, and return its number of rows.

    Args:
        path: of the file.
        rows: in order; they are held in memory.
        counts: what was counted while they were made, kept in the file.
    """
    table = pa.Table.from_pylist([to_values(row) for row in rows], schema=SCHEMA)
    table = table.replace_schema_metadata({_COUNTS: json.dumps(dict(counts or {}), sort_keys=True).encode()})
    make_whole(path, lambda unfinished: pq.write_table(table, unfinished, compression="zstd"))
    return int(table.num_rows)


def read_part(path: Path) -> Iterator[RecipeRow]:
    """Yield the rows of a part.

    Raises:
        ConfigurationError: it is missing, damaged, or no part.
    """
    with _readable(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_READ_ROWS):
            yield from map(from_values, batch.to_pylist())


def counts_of(path: Path) -> dict[str, int]:
    """Return what was counted while a part was made.

    Raises:
        ConfigurationError: as `read_part`.
    """
    with _readable(path):
        metadata = pq.read_schema(path).metadata or {}
        return dict(json.loads(metadata.get(_COUNTS, b"{}")))


def n_rows_of(path: Path) -> int:
    """Return how many rows a part has.

    Raises:
        ConfigurationError: as `read_part`.
    """
    with _readable(path):
        return int(pq.read_metadata(path).num_rows)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the part that cannot be read. It lies two folders deep in what is made again once that is gone: the stage,
    its work, or the imported inputs.
    """
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        why = "is missing" if is_missing else f"is damaged, or no part of a recipe ({type(error).__name__})"
        raise ConfigurationError(f"{path} {why}", hint=AGAIN.format(path.parents[1])) from error


def hash_of(text: str) -> int:
    """Return a hash of a text as it stands: 64 bits, never 0."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def place_of(root: str, salt: str) -> float:
    """Return where a family stands in [0, 1), evenly spread; another salt gives an independent place."""
    digest = hashlib.blake2b(f"{salt}\0{root}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def half_of(root: str, salt: str) -> int:
    """Return 0 or 1: the half of the data that a family falls into."""
    return int(place_of(root, salt) >= 0.5)
