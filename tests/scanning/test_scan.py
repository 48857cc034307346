"""Whole scans with scripted verdicts: outputs, resumption, plans that changed."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guardrail import ConfigurationError, Guard
from guardrail.engines.base import Feed, Logits
from guardrail.errors import EngineError
from guardrail.scanning.columns import Columns
from guardrail.testing import EngineAround
from tests.scanning.files import TOKENIZER, Watching, marker_guard, read_jsonl, scanned, write_jsonl

ROWS: list[dict[str, Any] | bytes] = [
    {"id": "a", "prompt": "hello"},
    {"id": "b", "prompt": "hello ☠ dead"},
    b"{broken",
    {"id": 4, "prompt": "q", "response": "fine so far ☠ and then"},
    {"id": "e", "prompt": "a doubtful ☢ thing"},
    {"id": "f", "prompt": None},
    {"id": "g", "prompt": "surrogate \ud800"},
]


def test_every_row_has_a_result(tmp_path: Path) -> None:
    """In order: what was decided, or why nothing could be; such a row is stopped, and has no risk."""
    (report,) = scanned([write_jsonl(tmp_path / "x.jsonl", ROWS)], tmp_path / "out")
    results = read_jsonl(tmp_path / "out" / "x.jsonl")
    told = [(r["row"], r["id"], r["direction"], r["action"], r["risk"], r["category"]) for r in results]
    assert told == [
        (1, "a", "prompt", "allow", "Safe", None),
        (2, "b", "prompt", "stop", "Unsafe", "Violent"),
        (3, None, None, "stop", None, None),
        (4, 4, "response", "stop", "Unsafe", "Violent"),
        (5, "e", "prompt", "flag", "Controversial", "Unethical Acts"),
        (6, "f", None, "stop", None, None),
        (7, "g", "prompt", "allow", "Safe", None),
    ]
    assert [r["reason"] for r in results if r["error"]] == ["unreadable", "unreadable"]
    assert results[3]["stop_offset"] == len("fine so far ")
    assert len({json.dumps(r["model_sha256"]) + r["policy_sha256"] for r in results}) == 1
    assert report.tally.actions == {"allow": 2, "stop": 2, "unreadable": 2, "flag": 1}
    assert report.tally.categories == {"Violent": 2, "Unethical Acts": 1}


def test_columns_of_the_input_are_kept_when_asked_for(tmp_path: Path) -> None:
    """Under `input`, as they were; ours never take their names."""
    rows = [{"prompt": "x", "risk": {"of": [1, 2.5, "é\ud800"]}, "action": None}]
    scanned([write_jsonl(tmp_path / "x.jsonl", rows)], tmp_path / "out", keep_columns=True)
    (result,) = read_jsonl(tmp_path / "out" / "x.jsonl")
    assert result["input"] == rows[0]
    assert result["action"] == "allow"


def test_a_packed_input_gives_a_packed_output(tmp_path: Path) -> None:
    """With the same results as the plain one."""
    packed, plain = (write_jsonl(tmp_path / name, ROWS) for name in ("x.jsonl.gz", "x.jsonl"))
    scanned([packed, plain], tmp_path / "out")
    unpacked = gzip.decompress((tmp_path / "out" / "x.jsonl.gz").read_bytes())
    assert unpacked == (tmp_path / "out" / "x.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.parquet"])
@pytest.mark.parametrize("killed_after", [0, 1, 3])
def test_an_interrupted_scan_goes_on_where_it_was(tmp_path: Path, name: str, killed_after: int) -> None:
    """No finished part is judged again, and the output is that of a scan in one go, byte for byte."""
    rows = [{"prompt": f"row {i} {'☠ x' * (i % 3)}"} for i in range(20)]
    path = write_rows(tmp_path / name, rows)
    scanned([path], tmp_path / "whole", part_rows=5)
    guard = marker_guard()
    killed, second = Watching(guard, killed_after=killed_after), Watching(guard)
    with pytest.raises(KeyboardInterrupt):
        scanned([path], tmp_path / "out", part_rows=5, runner=killed)
    assert not (tmp_path / "out" / name).exists()
    (report,) = scanned([path], tmp_path / "out", part_rows=5, runner=second)
    assert killed.judged + second.judged == [0, 1, 2, 3]
    assert report.n_judged == 20 - 5 * killed_after
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_finished_scan_does_nothing(tmp_path: Path) -> None:
    """And reports what it came to."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    (first,) = scanned([path], tmp_path / "out")
    before = files_of(tmp_path / "out")
    again = Watching(marker_guard())
    (second,) = scanned([path], tmp_path / "out", runner=again)
    assert not again.judged
    assert (second.n_judged, second.tally) == (0, first.tally)
    assert files_of(tmp_path / "out") == before


def test_an_output_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """The manifest alone is no output."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    scanned([path], tmp_path / "out")
    before = files_of(tmp_path / "out")
    (tmp_path / "out" / "x.jsonl").unlink()
    scanned([path], tmp_path / "out")
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"guard": marker_guard("strict")}, "identity"),
        ({"columns": Columns(target="prompt")}, "columns"),
        ({"limit": 3}, "limit"),
        ({"keep_columns": True}, "keep_columns"),
        ({"at_once": 3}, "at_once"),
    ],
)
def test_parts_of_another_plan_are_never_joined(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    """Whatever the output depends on is compared first, and nothing is overwritten."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    with pytest.raises(KeyboardInterrupt):
        scanned([path], tmp_path / "out", part_rows=2, runner=Watching(marker_guard(), killed_after=1))
    before = files_of(tmp_path / "out")
    with pytest.raises(ConfigurationError, match=f"another {named}"):
        scanned([path], tmp_path / "out", part_rows=2, **change)
    assert files_of(tmp_path / "out") == before


def test_an_input_that_changed_is_another_plan(tmp_path: Path) -> None:
    """Its name is the same, its bytes are not."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    scanned([path], tmp_path / "out")
    write_jsonl(path, ROWS[:3])
    with pytest.raises(ConfigurationError, match="another input_sha256"):
        scanned([path], tmp_path / "out")


def test_parts_without_a_manifest_are_not_trusted(tmp_path: Path) -> None:
    """Nobody knows what they were made from."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    with pytest.raises(KeyboardInterrupt):
        scanned([path], tmp_path / "out", part_rows=2, runner=Watching(marker_guard("strict"), killed_after=1))
    (tmp_path / "out" / "x.jsonl.scan.json").unlink()
    second = Watching(marker_guard())
    scanned([path], tmp_path / "out", part_rows=2, runner=second)
    assert second.judged == [0, 1, 2, 3]


def test_foreign_files_are_never_overwritten(tmp_path: Path) -> None:
    """Neither another file of that name, nor the input itself, nor one output by another."""
    path = write_jsonl(tmp_path / "x.jsonl", ROWS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.jsonl").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        scanned([path], tmp_path / "out")
    with pytest.raises(ConfigurationError, match="overwrite its input"):
        scanned([path], tmp_path)
    with pytest.raises(ConfigurationError, match="two files"):
        scanned([path, path], tmp_path / "other")
    assert (tmp_path / "out" / "x.jsonl").read_text() == "mine"


def test_a_row_at_which_the_model_fails_is_stopped_and_counted(tmp_path: Path) -> None:
    """A failure never looks like a verdict, and costs no other row."""

    class Broken(EngineAround):
        def step(self, feeds: Sequence[Feed]) -> list[Logits]:
            if any("zebra" in TOKENIZER.decode(feed.ids) for feed in feeds):
                raise EngineError("broken")
            return super().step(feeds)

    guard = Guard(Broken(marker_guard().engine), TOKENIZER, kept_bytes=0)
    path = write_jsonl(tmp_path / "x.jsonl", [{"prompt": "a cat"}, {"prompt": "a zebra"}, {"prompt": "a dog"}])
    (report,) = scanned([path], tmp_path / "out", guard=guard)
    results = read_jsonl(tmp_path / "out" / "x.jsonl")
    assert [(r["action"], r["reason"], r["risk"]) for r in results] == [
        ("allow", "clear", "Safe"), ("stop", "failure", None), ("allow", "clear", "Safe"),
    ]  # fmt: skip
    assert results[1]["failure"]["kind"] == "EngineError"
    assert report.tally.actions == {"allow": 2, "failed": 1}


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_a_limit_takes_the_first_rows(tmp_path: Path, name: str) -> None:
    """Of each file."""
    path = write_rows(tmp_path / name, [{"prompt": str(i)} for i in range(9)])
    (report,) = scanned([path], tmp_path / "out", limit=4, part_rows=3)
    assert report.tally.rows == 4


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.parquet"])
def test_a_file_without_rows_gives_an_output_without_rows(tmp_path: Path, name: str) -> None:
    """Shards may be empty."""
    if name == "x.parquet":
        pa = pytest.importorskip("pyarrow")
        empty = pa.table({"prompt": pa.array([], pa.string())})
        pytest.importorskip("pyarrow.parquet").write_table(empty, tmp_path / name)
    else:
        write_jsonl(tmp_path / name, [])
    (report,) = scanned([tmp_path / name], tmp_path / "out")
    assert report.tally.rows == 0
    assert (tmp_path / "out" / name).exists()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the kind of file that the name asks for."""
    if path.suffix != ".parquet":
        return write_jsonl(path, rows)
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, and what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
