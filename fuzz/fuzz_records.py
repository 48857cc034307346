"""Record files read back: torn, damaged and foreign lines are counted, never a crash, and no text is in a message."""

import atexit
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.serving import SECRET, marked_guard
from fuzz.shaping import BRIEF, check_message, damaged_bytes, from_bytes, json_bytes
from guardrail.errors import RecordError
from guardrail.records import Positions, Privacy, Record, Skipped, Span, TextForm, read_record, read_records

FOLDER = Path(tempfile.mkdtemp(prefix="guardrail-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FILE = FOLDER / "records.jsonl"

TEXT = f"Mix {SECRET}, flour and ☠ forbidden."
DECISION = marked_guard().check_response("how?", TEXT)
TREE: dict[str, Any] = json.loads(Record.of(DECISION, TEXT, Privacy(TextForm.FULL, tokens=True)).to_json())
OLD: dict[str, Any] = {
    name: value for name, value in TREE.items() if name not in ("positions", "text_form", "text_hmac")
} | {"schema_version": 1}
"""A record as version 1 wrote it."""

ALSO = (
    *(OLD["tokens"], OLD["risk_probabilities"], {"Safe": 1.0}, {"Safe": 1, "Unsafe": 0, "Controversial": 0}),
    *("prompt", "response", "stop", "full", "hash", "2026-11-30", "2026-11-30T12:00:00+99:00", f"{SECRET}\ud800"),
    *(1, 3, 2**31, TREE["positions"], "AAAA", "ATk=", "risk", "category", "positions", "tokens"),
)
SPANS = (
    *(Span(), Span(tenant="x")),
    *(Span(since=datetime(2026, 1, 1, tzinfo=UTC)), Span(until=datetime(2026, 1, 1, tzinfo=UTC))),
)  # fmt: skip

LINES = st.one_of(
    json_bytes(TREE, ALSO), json_bytes(TREE, ALSO), json_bytes(OLD, ALSO), json_bytes(OLD, ALSO),
    st.sampled_from([b"", b" \r", b"[]", b"null", b"{}", b'{"schema_version": 3}', b"\xff"]), st.binary(max_size=60),
)  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Return lines, the last of which may have no end."""
    lines = draw(st.lists(LINES, max_size=3))
    whole = b"".join(line + draw(st.sampled_from([b"\n"] * 5 + [b"\r\n", b""])) for line in lines)
    return draw(damaged_bytes(whole)) if draw(st.booleans()) else whole


@BRIEF
@given(file=files(), rotated=files(), span=st.sampled_from(SPANS))
def holds(file: bytes, rotated: bytes, span: Span) -> None:
    """Each line is a record or is counted; without a count the first that is none is a RecordError."""
    FILE.write_bytes(file)
    FILE.with_name("records.jsonl.1").write_bytes(rotated)
    skipped = Skipped()
    try:
        found = list(read_records(FILE, span, skipped=skipped))
    except RecordError as error:  # the file's first bytes are those of a database
        assert file.startswith(b"SQLite format 3")
        check_told(str(error))
        return
    n_lines = sum(bool(line.strip()) for data in (rotated, file) for line in data.split(b"\n")[:-1])
    assert len(found) + skipped.n_lines <= n_lines
    assert len(found) + skipped.n_lines == n_lines or span != Span()
    check_told(skipped.first)
    for record in found:
        check_record(record)
    try:
        assert len(list(read_records(FILE, span))) == len(found)
        assert not skipped.n_lines
    except RecordError as error:
        assert skipped.n_lines
        check_told(str(error))


def check_told(message: str) -> None:
    """What is said of a line is short, and nothing that stands in it."""
    check_message(RecordError(message))
    assert SECRET not in message


def check_record(record: Record) -> None:
    """A record is written and read again as it is; its positions are positions or a RecordError."""
    written = record.to_json()
    assert read_record(json.loads(written)).to_json() == written
    if record.positions is not None:
        try:
            positions = Positions.from_bytes(record.positions)
        except RecordError as error:
            check_told(str(error))
            return
        for i in range(min(len(positions), 3)):
            assert positions.token(i).verdict.risk in positions.labels.risks


one_input = from_bytes(holds)
