"""What a public benchmark is: where it lies, whose it is, what counts as harmful in it, and who says so."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from guardrail.decision import Direction
from guardrail.evaluation.datasets.entries import Entry
from guardrail.evaluation.datasets.fields import Fields
from guardrail.evaluation.rows import Row

Reader = Callable[[Fields], list[Row | None]]
"""Makes the rows of an entry: none when the entry is not part of what is measured, and None for a row without label or
without text. Their ids say only which of an entry's rows they are, and their source is empty."""

Basis = Literal["report", "wildguard", "ours"]
"""Whose counting it is: the Qwen3Guard report's own script or card, the WildGuard evaluation's, or our reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One benchmark with one target.

    Attributes:
        name: what commands and rows call it.
        title: what its authors call it.
        target: what is judged.
        read: makes rows of an entry.
        files: the file in the repository, or a pattern of names when there are several.
        other_files: patterns of other releases of the same set, taken from a folder that lacks the first.
        licence: of the data, by its SPDX name where it has one.
        is_non_commercial: whether the licence forbids commercial use.
        languages: codes as rows carry them; empty when many.
        split: which part is measured.
        harmful: what counts as harmful.
        basis: whose counting that is.
        sources: where its schema, labels and counting were looked up.
        unverified: what could not be looked up; may be empty.
        hub_id: repository on the Hugging Face hub; empty when it has none.
        revision: commit there.
        is_gated: whether the hub asks for an account that accepted its conditions.
        url: where a person finds it.
        n_published: entries of the published file; None when not looked up.
        counted: rows and harmful rows that other people's code counted in it, to compare with; None when not known.
        n_pairs: seeded sample of so many entries; None takes all.
        companion: a second file, or a pattern, that may lie beside the first; empty when there is none.
        read_with: makes the reader that knows the companion's entries.
    """

    name: str
    title: str
    target: Direction
    read: Reader
    files: str
    licence: str
    languages: tuple[str, ...]
    split: str
    harmful: str
    basis: Basis
    sources: tuple[str, ...]
    url: str
    other_files: tuple[str, ...] = ()
    hub_id: str = ""
    revision: str = ""
    is_non_commercial: bool = False
    is_gated: bool = False
    unverified: str = ""
    n_published: int | None = None
    counted: tuple[int, int] | None = None
    n_pairs: int | None = None
    companion: str = ""
    read_with: Callable[[Iterable[Entry]], Reader] | None = None

    def __post_init__(self) -> None:
        if bool(self.hub_id) != bool(self.revision):
            raise ValueError(f"{self.name}: a hub id and a revision belong together")
        if bool(self.companion) != bool(self.read_with):
            raise ValueError(f"{self.name}: a companion and its reader belong together")
