"""What every store must do, be it a file of JSON lines, a SQLite file or a PostgreSQL server."""

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.decision import Decision
from guardrail.errors import RecordError
from guardrail.records import JsonlStore, Privacy, Record, Skipped, Span, Store, TextForm, read_records
from guardrail.records.sql import SqlStore
from tests.postgres import PostgresServer
from tests.records.generated import decisions, odd_texts

KINDS = ("jsonl", "sqlite", "postgresql")
LARGEST = 2**63 - 1
START = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Place:
    """Where a kind of store keeps its records."""

    def __init__(self, kind: str, new_target: Callable[[], str]) -> None:
        self.kind, self.new_target = kind, new_target

    def open(self, target: str) -> Store:
        """A store there."""
        if self.kind == "jsonl":
            return JsonlStore(target)
        return SqlStore(target if "://" in target else f"sqlite:///{target}")

    def expected(self, record: Record) -> Record:
        """What is read back of a record."""
        return record if self.kind == "jsonl" else Record.model_validate(self._as_kept(record.model_dump()))

    def _as_kept(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._as_kept(key): self._as_kept(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._as_kept(item) for item in value]
        if isinstance(value, str) and self.kind == "postgresql":
            return value.replace("\x00", "\ufffd")
        return min(value, LARGEST) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.fixture(params=KINDS, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One kind of store after the other."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return Place("postgresql", server.new_url)
    folder, end = tmp_path_factory.mktemp("stores"), "jsonl" if request.param == "jsonl" else "db"
    return Place(request.param, lambda: str(folder / f"{uuid.uuid4().hex}.{end}"))


@pytest.fixture
def target(place: Place) -> str:
    """Of a store that does not exist yet."""
    return place.new_target()


@pytest.fixture
def store(place: Place, target: str) -> Iterator[Store]:
    """A new store there."""
    opened = place.open(target)
    yield opened
    opened.close()


def made(n: int, **changes: Any) -> list[Record]:
    """Records of consecutive seconds."""
    plain: dict[str, Any] = {
        "stream_id": "s", "conversation_id": "c", "direction": "prompt", "action": "allow", "would_action": "allow",
        "reason": "clear", "risk": "Safe", "category": None, "risk_probabilities": {"Safe": 0.75, "Unsafe": 0.25},
        "category_probabilities": {"Violent": 1.0}, "stop_offset": None, "released_chars": 5, "withheld_chars": 0,
        "leaked_chars": 0, "unjudged_chars": 0, "n_tokens": 3, "n_windows": 1, "n_dropped_turns": 0, "unreadable": [],
        "model": "m", "model_sha256": "0", "engine": "e", "precision": "int8", "policy": "p", "policy_sha256": "1",
        "latency_ms": 1.5, "failure": None, **changes,
    }  # fmt: skip
    times = [(START + timedelta(seconds=i)).isoformat() for i in range(n)]
    return [Record(id=uuid.uuid4().hex, **{"time": time, **plain}) for time in times]


def record_of(decision: Decision, text: str, privacy: Privacy) -> Record:
    """A record with an id of its own: hypothesis draws the same one again."""
    return Record.of(decision, text, privacy).model_copy(update={"id": uuid.uuid4().hex})


@settings(max_examples=30)
@given(
    batches=st.lists(st.lists(decisions, min_size=1, max_size=4), min_size=1, max_size=2),
    text=odd_texts,
    form=st.sampled_from([TextForm.NONE, TextForm.FULL]),
    keeps_tokens=st.booleans(),
)
def test_every_field_comes_back(
    place: Place,
    shared: tuple[str, Store],
    batches: list[list[Decision]],
    text: str,
    form: TextForm,
    keeps_tokens: bool,
) -> None:
    """Texts, vectors, numbers and times as they were; a database's largest integer for larger ones, and in PostgreSQL,
    which has no NUL, U+FFFD.
    """
    target, store = shared
    privacy = Privacy(form, hash_key=b"k" * 16, tokens=keeps_tokens)
    made = [[record_of(decision, text, privacy) for decision in batch] for batch in batches]
    for i, batch in enumerate(made):
        store.append(batch, sync=bool(i))
    found = {record.id: record for record in read_records(target)}
    for record in chain.from_iterable(made):
        assert found[record.id] == place.expected(record)
        for name in ("risk_probabilities", "category_probabilities"):
            kept, expected = getattr(found[record.id], name), getattr(place.expected(record), name)
            assert list(kept or ()) == list(expected or ())  # the order of labels is that of vectors


@pytest.fixture(scope="module")
def shared(place: Place) -> Iterator[tuple[str, Store]]:
    """One store for all examples."""
    target = place.new_target()
    store = place.open(target)
    yield target, store
    store.close()


def test_order_is_kept(target: str, store: Store) -> None:
    """Over batches, and among records of one moment."""
    records = made(6) + made(5, time=(START + timedelta(minutes=1)).isoformat())
    for i in range(0, len(records), 3):
        store.append(records[i : i + 3], sync=i % 2 == 0)
    assert [record.id for record in read_records(target)] == [record.id for record in records]


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
def test_a_record_is_stored_once(target: str, store: Store) -> None:
    """A batch whose answer was lost is sent again; what a file of lines has taken is known at once."""
    records = made(3)
    store.append(records[:2], sync=True)
    store.append(records, sync=False)
    store.append([*records, records[0]], sync=True)
    assert list(read_records(target)) == records


def test_a_batch_that_is_refused_leaves_nothing(place: Place, target: str, store: Store) -> None:
    """All or none, for good, with nothing of the record in the message; and the store goes on."""
    good, bad = made(2), made(1)[0].model_copy(update={"time": "SECRET"})
    if place.kind == "jsonl":
        bad = bad.model_copy(update={"model": "\ud800 SECRET"})
    with pytest.raises((RecordError, ValueError)) as caught:
        store.append([good[0], bad], sync=True)
    assert not getattr(caught.value, "retryable", False)
    store.append([good[1]], sync=True)
    assert list(read_records(target)) == [good[1]]


def test_spans_choose_records(target: str, store: Store) -> None:
    """From a moment on, up to another one that does not count, of one tenant."""
    records = made(6, tenant="shop") + made(6, tenant=None)
    store.append(records, sync=False)
    span = Span(START + timedelta(seconds=1), START + timedelta(seconds=3), "shop")
    assert list(read_records(target, span)) == records[1:3]
    assert len(list(read_records(target, Span(since=START + timedelta(seconds=4))))) == 4
    assert list(read_records(target, Span(tenant="nobody"))) == []


def test_reading_goes_on_while_records_come(target: str, store: Store) -> None:
    """A reader sees what was there, at least, and keeps no writer waiting."""
    store.append(made(1000), sync=False)
    reader = read_records(target)
    next(reader)
    store.append(made(1, tenant="later"), sync=True)
    assert 999 <= len(list(reader)) <= 1000
    assert len(list(read_records(target))) == 1001


def test_several_stores_of_one_place_lose_nothing(place: Place, target: str, store: Store) -> None:
    """As threads of a process, each with a store of its own, opened at once where nothing is yet."""
    target, failed = place.new_target(), []
    gate = threading.Barrier(4)

    def write() -> None:
        try:
            gate.wait()
            own = place.open(target)
            for _ in range(10):
                own.append(made(3), sync=False)
            own.close()
        except Exception as error:  # noqa: BLE001  # told by the test
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len({record.id for record in read_records(target)}) == 120


def test_closing_twice_is_harmless(store: Store) -> None:
    """And nothing is taken any more, for good."""
    store.append(made(1), sync=False)
    store.close()
    store.close()
    with pytest.raises((RecordError, ValueError)):
        store.append(made(1), sync=False)


def test_what_is_closed_is_opened_again(place: Place, target: str, store: Store) -> None:
    """With all that it held."""
    records = made(4)
    store.append(records[:2], sync=False)
    store.close()
    again = place.open(target)
    again.append(records[2:], sync=False)
    again.close()
    assert list(read_records(target, skipped=Skipped())) == records


def test_a_store_that_is_not_there_is_said(place: Place, tmp_path: Path, postgres: PostgresServer) -> None:
    """Reading makes none."""
    missing = {
        "jsonl": str(tmp_path / "no.jsonl"), "sqlite": str(tmp_path / "no.db"), "postgresql": postgres.new_url(),
    }  # fmt: skip
    with pytest.raises(RecordError, match=r"no record file|holds no records"):
        next(read_records(missing[place.kind]))
    assert not list(tmp_path.iterdir())
