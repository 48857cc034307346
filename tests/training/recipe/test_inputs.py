"""Rows from outside: every kind of file, ids that are unique, a draw that does not move, and errors without text."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.inputs import import_rows, notes_as_imported
from guardrail.training.recipe.rows import RecipeRow, write_part
from guardrail.training.recipe.settings import InputSettings, RecipeSettings
from tests.training.recipe.runs import row, write_rows


def recipe(folder: Path, *inputs: Path | InputSettings, seed: int = 1) -> RecipeSettings:
    """Return a recipe of files."""
    named = tuple(one if isinstance(one, InputSettings) else InputSettings(one) for one in inputs)
    return RecipeSettings(output=folder / "out", inputs=named, part_rows=5, seed=seed)


def ids(rows: Sequence[RecipeRow] | Any) -> list[str]:
    """Return the ids of rows."""
    return [one.id for one in rows]


ANSWER = row(
    "a1", target="response", risk="unsafe", category=["violent"], refusal=False, unsafe_start_char=2,
    messages=[{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "A knife."}], meta={"votes": [1]},
)  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_a_row_is_the_same_whatever_file_it_comes_from(tmp_path: Path, kind: str) -> None:
    """With a label and without one."""
    rows = [row("p1"), ANSWER]
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        columns = {name: None for one in rows for name in one}
        whole = [columns | one | {"meta": json.dumps(one.get("meta", {}))} for one in rows]
        pq.write_table(pa.Table.from_pylist(whole), path)
    else:
        data = "".join(json.dumps(one) + "\n" for one in rows).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    first, second = import_rows(recipe(tmp_path, path)).rows
    assert first == RecipeRow(
        "p1", "p1", "made", "en", (Message(Role.USER, "How do I bake bread of kind p1?"),), Direction.PROMPT
    )
    assert second == RecipeRow(
        "a1", "a1", "made", "en", (Message(Role.USER, "Hm?"), Message(Role.ASSISTANT, "A knife.")), Direction.RESPONSE,
        RiskLevel.UNSAFE, ("Violent",), False, 2, False, None, {"votes": [1]},
    )  # fmt: skip


def test_parts_of_another_recipe_are_inputs(tmp_path: Path) -> None:
    """What it knew of a row is kept: its family, its thinking, and whether a person labelled it."""
    given = RecipeRow(
        "a/t-de", "a", "made", "de", (Message(Role.USER, "Hm?"), Message(Role.ASSISTANT, "Nein.", "Well.")),
        Direction.RESPONSE, RiskLevel.SAFE, is_human=True, meta={"model": "m"},
    )  # fmt: skip
    write_part(tmp_path / "part.parquet", [given])
    assert list(import_rows(recipe(tmp_path, tmp_path / "part.parquet")).rows) == [given]


def test_labels_of_people_are_marked(tmp_path: Path) -> None:
    """Only where there is a label."""
    path = write_rows(tmp_path / "rows.jsonl", [row("p1"), ANSWER])
    rows = import_rows(recipe(tmp_path, InputSettings(path, is_human=True))).rows
    assert [one.is_human for one in rows] == [False, True]


def test_files_that_share_ids_put_their_name_in_front(tmp_path: Path) -> None:
    """These two do; a third one keeps its ids."""
    (tmp_path / "more").mkdir()
    paths = [
        write_rows(tmp_path / "x.jsonl", [row("1", meta={"root": "0"}), row("2")]),
        write_rows(tmp_path / "more" / "x.jsonl", [row("2"), row("3")]),
        write_rows(tmp_path / "y.jsonl", [row("4")]),
    ]
    rows = list(import_rows(recipe(tmp_path, *paths)).rows)
    assert ids(rows) == ["x:1", "x:2", "x-2:2", "x-2:3", "4"]
    assert [one.root for one in rows] == ["x:0", "x:2", "x-2:2", "x-2:3", "4"]


def test_rows_are_drawn_by_the_seed(tmp_path: Path) -> None:
    """The same ones every time, in the order of the file; others by another seed; more of them hold the fewer."""
    path = write_rows(tmp_path / "rows.jsonl", (row(f"r{i}") for i in range(60)))

    def drawn(n: int, seed: int) -> list[str]:
        folder = tmp_path / f"{n}-{seed}"
        return ids(import_rows(recipe(folder, InputSettings(path, max_rows=n), seed=seed)).rows)

    assert len(drawn(20, 1)) == 20
    assert drawn(20, 1) == sorted(drawn(20, 1), key=lambda name: int(name[1:]))
    assert drawn(20, 1) != drawn(20, 2)
    assert set(drawn(10, 1)) < set(drawn(20, 1))
    assert len(drawn(100, 1)) == 60


def test_files_are_imported_once(tmp_path: Path) -> None:
    """Again only when a file, or what the recipe says of it, has changed."""
    path = write_rows(tmp_path / "rows.jsonl", [row("p1"), row("p2")])
    n_read: list[int] = []
    for settings, n in ((InputSettings(path), 4), (InputSettings(path), 0), (InputSettings(path, max_rows=1), 4)):
        n_read.clear()
        assert notes_as_imported(recipe(tmp_path, settings)) is None or not n
        imported = import_rows(recipe(tmp_path, settings), n_read.append)
        assert sum(n_read) == n
        assert notes_as_imported(recipe(tmp_path, settings)) == imported.notes
    write_rows(path, [row("p3")])
    assert ids(import_rows(recipe(tmp_path, path)).rows) == ["p3"]


@pytest.mark.parametrize("damage", ["missing", "cut", "manifest"])
def test_imported_parts_that_are_not_whole_are_imported_again(tmp_path: Path, damage: str) -> None:
    """No row is lost without a word; a file that does not belong there is not read."""
    settings = recipe(tmp_path, write_rows(tmp_path / "rows.jsonl", (row(f"r{i}") for i in range(12))))
    whole = ids(import_rows(settings).rows)
    folder = tmp_path / "out" / "inputs"
    part = folder / "rows" / "00001.parquet"
    if damage == "missing":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    else:
        (folder / "manifest.json").write_text("{}")
    assert ids(import_rows(settings).rows) == whole
    write_part(folder / "rows" / "00009.parquet", [])
    (folder / "rows" / "00008.parquet").write_bytes(part.read_bytes())
    assert ids(import_rows(settings).rows) == whole


def test_halves_of_characters_are_replaced(tmp_path: Path) -> None:
    """JSON can hold them, parts cannot: in texts, languages, sources, names and notes; whole ones stay."""
    message = {"role": "user", "content": "a\ud800 \U0001f600", "reasoning": "\udc00"}
    values = row("p\ud801", lang="\udfff", source="\ud800", messages=[message], meta={"\ud800": ["\ud800"]})
    (found,) = import_rows(recipe(tmp_path, write_rows(tmp_path / "rows.jsonl", [values]))).rows
    assert found == RecipeRow(
        "p\ufffd", "p\ufffd", "\ufffd", "\ufffd", (Message(Role.USER, "a\ufffd \U0001f600", "\ufffd"),),
        Direction.PROMPT, meta={"\ufffd": ["\ufffd"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense, SECRET", "line 2: not JSON"),
        ('["SECRET"]', "line 2: not an object"),
        (json.dumps({"source": "SECRET"}), "line 2: has no id"),
        (json.dumps(row("p2", "SECRET", risk="dangerous")), "line 2: risk"),
        (json.dumps(row("p2", "SECRET", target="response")), "line 2: messages: target is response"),
        (json.dumps(row("p2", "SECRET") | {"messages": "SECRET"}), "line 2: messages"),
        (json.dumps(row("p2", "SECRET", note="x")), "line 2: note: unknown key"),
        (json.dumps(row("p2", "SECRET", meta="DEEP")).replace('"DEEP"', "[" * 5000 + "]" * 5000), "line 2: not JSON"),
        (json.dumps(row("p1", "SECRET")), "row 2: has the id of another row"),
    ],
)
def test_a_bad_line_is_named_without_its_text(tmp_path: Path, line: str, said: str) -> None:
    """File, line and reason; nothing is imported."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(row('p1'))}\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        import_rows(recipe(tmp_path, path))
    assert f"rows.jsonl, {said}" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert not (tmp_path / "out" / "inputs").exists()


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    """It begins like one, and is none."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ConfigurationError, match=r"rows.parquet"):
        import_rows(recipe(tmp_path, path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(ConfigurationError, match=r"nothing\.jsonl: No such file"):
        import_rows(recipe(tmp_path, tmp_path / "nothing.jsonl"))
