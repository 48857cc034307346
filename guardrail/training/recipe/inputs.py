"""The rows that a recipe starts from: files of the data schema, imported once as parts.

Files are JSONL, gzipped or not, or Parquet, also the parts of another recipe. Ids that several files use get the file's
name in front. They are imported again when a file has changed, or what the recipe says of it, or when a part is gone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import ConfigurationError
from guardrail.file_hash import hash_file
from guardrail.training.recipe.input_rows import id_of, read_values, to_recipe_row
from guardrail.training.recipe.manifest import Part, RowsNote, damage_in, note_parts, rows_note
from guardrail.training.recipe.parts import PartRows, write_parts
from guardrail.training.recipe.rows import RecipeRow, hash_of, place_of
from guardrail.training.recipe.settings import InputSettings, RecipeSettings
from guardrail.training.recipe.stages import INPUTS
from guardrail.whole_files import whole_folder, write_whole

_FILE = "manifest.json"

Progress = Callable[[int], object]


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class _File(_Strict):
    """What the rows of one file depend on."""

    name: str
    sha256: str
    is_human: bool
    max_rows: int


class _Look(_Strict):
    """What a file looks like from outside: while that stays, so does its content."""

    n_bytes: int
    changed_ns: int


class _Import(_Strict):
    """What stands beside imported rows; `looks` and `parts` are those of each file, by its name."""

    schema_version: int = 1
    files: list[_File]
    seed: int
    part_rows: int
    looks: dict[str, _Look] = {}
    parts: dict[str, list[Part]] = {}

    def is_for(self, other: "_Import") -> bool:
        """Whether another import would bring the same rows."""
        bare: dict[str, Any] = {"parts": {}, "looks": {}}
        return self.model_copy(update=bare) == other.model_copy(update=bare)

    def damage(self, folder: Path) -> str:
        """Return what is wrong with its parts in a folder; empty when they are all there."""
        found = (damage_in(folder / name, parts) for name, parts in self.parts.items())
        return next(filter(None, found), "")


@dataclass(frozen=True, slots=True)
class Imported:
    """Input rows of a recipe.

    Attributes:
        rows: in the order of the files.
        notes: of each file's rows, by its name.
    """

    rows: PartRows
    notes: dict[str, RowsNote]


def import_rows(recipe: RecipeSettings, progress: Progress = lambda _: None) -> Imported:
    """Return the input rows of a recipe, imported unless they are already.

    Args:
        recipe: names the files.
        progress: is told how many more rows were read; each one is read twice.

    Raises:
        ConfigurationError: a file cannot be read, two of its rows share an id, or a row does not follow the schema
            (named by file and line, without its text).
    """
    folder, wanted = recipe.output / INPUTS, _wanted(recipe)
    found = _read(folder)
    if found is None or not found.is_for(wanted) or found.damage(folder):
        found = _import(recipe, wanted, folder, progress)
    elif found.looks != wanted.looks:  # another copy of the same files
        found = found.model_copy(update={"looks": wanted.looks})
        _write(folder, found)
    paths = (folder / one.name / part.name for one in wanted.files for part in found.parts[one.name])
    return Imported(PartRows(paths), _notes(found))


def notes_as_imported(recipe: RecipeSettings) -> dict[str, RowsNote] | None:
    """Return the notes of the input rows as they were imported; None when the recipe names others, when a file is not
    what it was, or when none were imported.

    A file is read only when it looks changed. One that is gone is taken for what it was: its rows were imported.
    """
    found = _read(recipe.output / INPUTS)
    if found is None:
        return None
    asked = [(name, one.is_human, one.max_rows) for one, name in _named(recipe)]
    if asked != [(one.name, one.is_human, one.max_rows) for one in found.files]:
        return None
    files = zip(recipe.inputs, found.files, strict=True)
    is_same = all(_is_unchanged(one.path, noted, found.looks.get(noted.name)) for one, noted in files)
    return _notes(found) if is_same else None


def names_of(inputs: Sequence[InputSettings]) -> list[str]:
    """Return the files' names without their endings, told apart by a number where they are equal."""
    names, seen = [], Counter[str]()
    for one in inputs:
        name = one.path.name.partition(".")[0] or "rows"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _is_unchanged(path: Path, noted: _File, look: _Look | None) -> bool:
    now = _look_at(path)
    return now is None or now == look or _sha256_of(path) == noted.sha256


def _look_at(path: Path) -> _Look | None:
    """Return what a file looks like; None when it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _Look(n_bytes=found.st_size, changed_ns=found.st_mtime_ns)


def _read(folder: Path) -> _Import | None:
    """Return what was imported; None when nothing was, or by another version: then it is imported anew."""
    try:
        return _Import.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _notes(found: _Import) -> dict[str, RowsNote]:
    return {name: rows_note(parts) for name, parts in found.parts.items()}


def _wanted(recipe: RecipeSettings) -> _Import:
    looks = {name: look for one, name in _named(recipe) if (look := _look_at(one.path))}  # before they are read
    files = [
        _File(name=name, sha256=_sha256_of(one.path), is_human=one.is_human, max_rows=one.max_rows)
        for one, name in _named(recipe)
    ]
    return _Import(files=files, seed=recipe.seed, part_rows=recipe.part_rows, looks=looks)


def _import(recipe: RecipeSettings, wanted: _Import, folder: Path, progress: Progress) -> _Import:
    """Import all files into a folder that takes its place when it is whole."""
    ids = [_Ids(one.path, name, recipe.seed, progress) for one, name in _named(recipe)]
    clashing = _clashing([one.hashes for one in ids])
    parts: dict[str, list[Part]] = {}
    with whole_folder(folder) as unfinished:
        for place, (one, name) in enumerate(_named(recipe)):
            prefix = f"{name}:" if place in clashing else ""
            rows = _rows(one, ids[place], prefix, progress)
            parts[name] = note_parts(write_parts(unfinished / name, rows, recipe.part_rows).paths)
        made = wanted.model_copy(update={"parts": parts})
        _write(unfinished, made)
    return made


def _write(folder: Path, made: _Import) -> None:
    write_whole(folder / _FILE, (made.model_dump_json(indent=2) + "\n").encode())


class _Ids:
    """The ids of a file: a first look at it, which holds few bytes a row."""

    def __init__(self, path: Path, name: str, seed: int, progress: Progress) -> None:
        """Read them.

        Raises:
            ConfigurationError: the file cannot be read, or two rows share an id.
        """
        hashes, places, self._salt = [], [], f"{seed} {name}"
        for where, values in read_values(path):
            row_id = id_of(where, values)
            hashes.append(hash_of(row_id))
            places.append(place_of(row_id, self._salt))
            progress(1)
        self.hashes = np.array(hashes, np.uint64)
        self._places = np.array(places, np.float64)
        if len(first := np.unique(self.hashes, return_index=True)[1]) < len(hashes):
            again = next(i for i, n in enumerate(np.bincount(first, minlength=len(hashes))) if not n)
            raise ConfigurationError(f"{path.name}, row {again + 1}: has the id of another row")

    def drawn(self, max_rows: int) -> Callable[[str], bool]:
        """Return what says whether the row of an id is among `max_rows` that are drawn at random; 0 draws all."""
        if not 0 < max_rows < len(self._places):
            return lambda _: True
        last = np.partition(self._places, max_rows - 1)[max_rows - 1]
        return lambda row_id: place_of(row_id, self._salt) <= last


def _rows(one: InputSettings, ids: _Ids, prefix: str, progress: Progress) -> Iterator[RecipeRow]:
    is_drawn = ids.drawn(one.max_rows)
    for where, values in read_values(one.path):
        progress(1)
        if is_drawn(id_of(where, values)):
            yield to_recipe_row(where, values, prefix=prefix, is_human=one.is_human)


def _clashing(hashes: Sequence[NDArray[np.uint64]]) -> set[int]:
    """Return the places of files that share an id with another one."""
    places = np.repeat(np.arange(len(hashes)), [len(one) for one in hashes])
    together = np.concatenate([*hashes, np.array([], np.uint64)])
    order = np.argsort(together, kind="stable")
    again = together[order][1:] == together[order][:-1]
    return {*places[order][1:][again].tolist(), *places[order][:-1][again].tolist()}


def _named(recipe: RecipeSettings) -> Iterator[tuple[InputSettings, str]]:
    return zip(recipe.inputs, names_of(recipe.inputs), strict=True)


def _sha256_of(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read the input {path}: {error.strerror}") from error
