"""Reading records back: which ones are meant, what is no record, and that no text of a line gets into a message."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guardrail.errors import RecordError
from guardrail.records import JsonlStore, Skipped, Span, read_records
from guardrail.records.reading import database_url, moment, store_kind
from tests.records.made import record

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a record of each of ten days, for two tenants in turn."""
    store = JsonlStore(tmp_path / "r.jsonl")
    for day in range(10):
        time = NEW_YEAR.timestamp() + day * 86400
        store.append([record(day, time=time, tenant=f"t{day % 2}")], sync=False)
    store.close()
    return tmp_path / "r.jsonl"


def numbers(path: Path, span: Span = Span()) -> list[int]:  # frozen
    return [int(r.conversation_id or -1) for r in read_records(path, span)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), list(range(10))),
        (Span(since=moment("2026-01-03")), list(range(2, 10))),
        (Span(until=moment("2026-01-03")), [0, 1]),
        (Span(since=moment("2026-01-03"), until=moment("2026-01-05T00:00:01")), [2, 3, 4]),
        (Span(tenant="t1"), [1, 3, 5, 7, 9]),
        (Span(since=moment("2026-01-08T02:00+03:00"), tenant="t0"), [8]),
        (Span(tenant="nobody"), []),
    ],
)
def test_a_span_says_which_records_are_meant(path: Path, span: Span, expected: list[int]) -> None:
    """From its first moment to before its end, in UTC unless a time says otherwise; one tenant's, or all."""
    assert numbers(path, span) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"null", b"[]", b"7", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000, b"9" * 5000,
        b'{"schema_version": null}',
        b'{"schema_version": "SECRET"}', b'{"schema_version": 0}', b'{"schema_version": 3, "id": "SECRET"}',
        b'{"schema_version": 2, "SECRET": "SECRET"}', b'{"schema_version": 1, "tokens": "SECRET"}', b'SECRET {"a": 1}',
        b'{"schema_version": 1, "risk_probabilities": {"SECRET": 1}, "category_probabilities": {"SECRET": "SECRET"}}',
    ],
)  # fmt: skip
def test_what_is_no_record_is_counted_or_refused(path: Path, line: bytes) -> None:
    """By file and line, without a word of what it holds; the records around it are read."""
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([whole[0], b"\n", line, b"\n", *whole[1:]]))
    skipped = Skipped()
    assert len(list(read_records(path, skipped=skipped))) == 10
    assert skipped.n_lines == 1
    assert skipped.first.startswith("r.jsonl, line 3: ")
    assert "SECRET" not in skipped.first
    with pytest.raises(RecordError, match=r"r\.jsonl, line 3: ") as caught:
        list(read_records(path))
    assert "SECRET" not in str(caught.value)


def test_a_field_that_is_wrong_is_named_by_name_alone(path: Path) -> None:
    """Its value may be somebody's text; so may the name of a field that is not ours."""
    values = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**values, "text": ["SECRET"], "unreadable": [["SECRET"]], "SECRET": "SECRET"}) + "\n")
    with pytest.raises(RecordError) as caught:
        list(read_records(path))
    assert str(caught.value) == (
        "r.jsonl, line 1: not a record: unreadable: string_type; text: string_type; an unknown field: extra_forbidden"
    )


def test_a_last_line_without_an_end_is_not_read_yet(path: Path) -> None:
    """Its writer may still be at it: it is no damage."""
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    skipped = Skipped()
    assert len(list(read_records(path, skipped=skipped))) == 10
    assert skipped.n_lines == 0


def test_lines_may_hold_any_character_that_is_no_newline(tmp_path: Path) -> None:
    """Other readers take U+2028 or NEL for the end of a line."""
    kept = record().model_copy(update={"text": "a\u2028b\x85c\rd"})
    store = JsonlStore(tmp_path / "r.jsonl")
    store.append([kept], sync=False)
    store.close()
    assert list(read_records(tmp_path / "r.jsonl")) == [kept]


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """And so is a folder."""
    with pytest.raises(RecordError, match=r"there is no record file r\.jsonl"):
        list(read_records(tmp_path / "r.jsonl"))
    with pytest.raises(RecordError, match="cannot read"):
        list(read_records(tmp_path))


def test_rotated_files_alone_are_a_store(path: Path) -> None:
    """Between a rotation and the next record there is no other."""
    path.rename(path.with_name("r.jsonl.1"))
    assert numbers(path) == list(range(10))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("r.jsonl", None, "jsonl"), ("r.db", None, "sql"), ("r.sqlite3", b"", "sql"), ("r.jsonl", b"", "jsonl"),
        ("r.db", b"{}\n", "jsonl"), ("r.jsonl", b"SQLite format 3\x00...", "sql"), ("r", None, "jsonl"),
    ],
)  # fmt: skip
def test_what_a_store_is_shows_its_first_bytes_or_its_name(
    tmp_path: Path, name: str, content: bytes | None, kind: str
) -> None:
    """The name counts only where there is nothing yet."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert store_kind(path) == store_kind(str(path)) == kind
    assert store_kind("postgresql://host/database") == "sql"
    assert database_url(path) == f"sqlite:///{path}"
    assert database_url("postgresql://host/database") == "postgresql://host/database"


def test_no_time_is_an_error() -> None:
    """With what one looks like."""
    with pytest.raises(RecordError, match="2026-11-30"):
        moment("yesterday")
    assert moment("2026-01-01") == NEW_YEAR
