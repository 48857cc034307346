"""A sink from where its records go, and what may be shown of that."""

from pathlib import Path

import pytest

from guardrail.errors import RecordError
from guardrail.records import Privacy, Queueing, TextForm, open_sink, without_password
from tests.records.made import decision, lines


def test_a_file_is_opened_with_everything_that_was_asked_for(tmp_path: Path) -> None:
    """What is kept of the text, how records wait, and when files are rotated."""
    path = tmp_path / "r.jsonl"
    privacy, queueing = Privacy(text=TextForm.FULL), Queueing(max_waiting=1, flush_s=600)
    with open_sink(str(path), privacy=privacy, queueing=queueing, max_bytes=1, max_files=1) as sink:
        for number in range(3):
            sink.write(decision(conversation_id=str(number)), f"text {number}")
            assert sink.flush()
        assert sink.n_lost == 0
        for _ in range(2):
            sink.write(decision(conversation_id="3"), "")
        assert sink.n_lost == 1
    assert {file.name for file in tmp_path.iterdir()} == {"r.jsonl", "r.jsonl.3"}
    assert [r.text for r in lines(tmp_path / "r.jsonl.3")] == ["text 2"]


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A folder in the way."""
    with pytest.raises(RecordError, match="cannot open the record file"):
        open_sink(tmp_path)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("decisions.jsonl", "decisions.jsonl"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:s@e/c:r@et@host/db?sslmode=require", "postgresql://me:***@host/db?sslmode=require"),
        ("postgresql://host/db?password=secret&user=me", "postgresql://host/db?password=***&user=me"),
        ("postgresql://me@corp:secret@host/db", "postgresql://me@corp:***@host/db"),
    ],
)
def test_a_password_is_not_shown(target: str, shown: str) -> None:
    """Wherever it stands in a URL, and whatever it holds."""
    assert without_password(target) == shown
