"""The cache of tapes: what it gives out, keeps and lets go, in any order and from many threads."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guardrail.driving import drive
from guardrail.errors import EngineError, EngineOverloaded
from guardrail.prefixes import Owner
from guardrail.reuse import COPY_FROM, KeptTapes, Tapes
from guardrail.tape import Tape, common_prefix
from guardrail.testing import HashEngine
from tests.counting import CountedSession, CountingEngine

SLOTS, TOKENS, BYTES = 5, 120, 10
SYSTEM = [1] * 40


def hash_engine() -> HashEngine:
    return HashEngine(vocab_size=100)


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine(hash_engine(), max_sessions=SLOTS, kv_bytes_per_token=BYTES)


def read(engine: CountingEngine, kept: KeptTapes, owner: Owner, ids: list[int]) -> int:
    """Read ids and keep the tape; return how many tokens were read."""

    def work() -> None:
        tapes = Tapes(engine, kept, owner)
        tape = drive(engine, tapes.open(ids))
        drive(engine, tape.feed(ids[tape.length :]))
        tapes.put_back(tape)

    return engine.count(work)


@dataclass(eq=False)
class Held:
    """What the model of the cache knows of a tape."""

    owner: Owner
    ids: list[int]
    session: CountedSession


def session_of(tape: Tape) -> CountedSession:
    """The session of a tape."""
    session: Any = tape._session
    assert isinstance(session, CountedSession)
    return session


beginnings = st.sampled_from([[], SYSTEM[:20], SYSTEM, [2] * 17, [*SYSTEM[:20], *[3] * 30]])
some_ids = st.builds(lambda head, tail: head + tail, beginnings, st.lists(st.integers(0, 2), min_size=1, max_size=30))
owners = st.builds(Owner, st.sampled_from([None, "x"]), st.sampled_from([None, "a", "b"]))


class AnyOrder(RuleBasedStateMachine):
    """Take, copy, keep, fail and crowd out in any order, beside a list that says what must be kept."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = CountingEngine(hash_engine(), max_sessions=SLOTS, kv_bytes_per_token=BYTES)
        self.kept = KeptTapes(self.engine, TOKENS * BYTES + 3)
        self.resting: list[Held] = []  # the longest unused first
        self.working: list[tuple[Tapes, Tape, Owner, list[int]]] = []

    @precondition(lambda self: len(self.working) < SLOTS)
    @rule(owner=owners, ids=some_ids)
    def begin(self, owner: Owner, ids: list[int]) -> None:
        """A live request always finds room, and never reads what rests with its tenant."""
        tapes = Tapes(self.engine, self.kept, owner)
        alike = [common_prefix(one.ids, ids) for one in self.resting if one.owner.tenant == owner.tenant]
        tape = drive(self.engine, tapes.open(ids))
        assert tape.ids == ids[: tape.length] == session_of(tape).inner.ids  # type: ignore[attr-defined]  # a fake's
        assert min(max(alike, default=0), len(ids) - 1) - COPY_FROM < tape.length < len(ids)
        self.account_for(tape, owner)
        self.working.append((tapes, tape, owner, ids))

    def account_for(self, tape: Tape, owner: Owner) -> None:
        """Where a tape came from: its tenant; and what went for it were the longest unused."""
        session = session_of(tape)
        resting = {one.session: one for one in self.resting}
        taken, origin = resting.get(session), session.origin
        copied = resting.get(origin) if origin and not taken else None
        others = [one for one in self.resting if one not in (taken, copied)]
        gone = [one for one in others if one.session.is_closed]
        assert gone == others[: len(gone)]
        self.resting = others[len(gone) :]
        if copied:
            assert copied.owner.tenant == owner.tenant
            self.resting.append(copied)
        if taken:
            assert taken.owner == owner or (taken.owner.tenant == owner.tenant and not self.resting)

    @precondition(lambda self: self.working)
    @rule(at=st.integers(0, SLOTS))
    def end(self, at: int) -> None:
        """What was read is kept in the place of what it contains of its own or nobody's; the longest unused go."""
        tapes, tape, owner, ids = self.working.pop(at % len(self.working))
        drive(self.engine, tape.feed(ids[tape.length :]))
        tapes.put_back(tape)
        new = Held(owner, ids[:TOKENS], session_of(tape))
        self.resting = [
            one
            for one in self.resting
            if one.owner not in (owner, Owner(owner.tenant)) or common_prefix(one.ids, new.ids) < len(one.ids)
        ]
        self.resting.append(new)
        while sum(len(one.ids) for one in self.resting) > TOKENS:
            del self.resting[0]

    @precondition(lambda self: self.working)
    @rule(at=st.integers(0, SLOTS))
    def fail(self, at: int) -> None:
        """A tape whose step failed is never kept."""
        self.working.pop(at % len(self.working))[1].close()

    @precondition(lambda self: len(self.working) == SLOTS)
    @rule(owner=owners, ids=some_ids)
    def find_no_room(self, owner: Owner, ids: list[int]) -> None:
        """With all sessions in live hands one more request is refused, and nothing rests."""
        with pytest.raises(EngineOverloaded):
            drive(self.engine, Tapes(self.engine, self.kept, owner).open(ids))

    @invariant()
    def nothing_leaks(self) -> None:
        """Every open session rests or works, and memory is bounded."""
        sessions = [one.session for one in self.resting] + [session_of(tape) for _, tape, *_ in self.working]
        assert set(self.engine.live) == set(sessions)
        assert len(self.kept) == len(self.resting)
        assert self.kept.n_bytes == BYTES * sum(len(one.ids) for one in self.resting) <= TOKENS * BYTES
        assert not self.engine.clashes

    def teardown(self) -> None:
        self.kept.close()
        for tapes, tape, *_ in self.working:
            tapes.put_back(tape)
        assert not self.engine.live
        assert not len(self.kept)


TestAnyOrder = AnyOrder.TestCase


def test_a_beginning_is_copied_and_stays_for_others(engine: CountingEngine) -> None:
    """Each conversation reads what is its own; the one that was copied from reads on in its own session."""
    kept = KeptTapes(engine, 10**9)
    counts = [read(engine, kept, Owner(None, name), [*SYSTEM, 5, n]) for n, name in enumerate("abc")]
    assert counts == [42, 1, 1]
    assert len(kept) == 3
    assert read(engine, kept, Owner(None, "a"), [*SYSTEM, 5, 0, 7, 8]) == 2
    assert len(engine.opened) == 3


@pytest.mark.parametrize("owner", [Owner("x"), Owner("x", "a"), Owner("", "a"), Owner("None", "a")])
def test_nothing_passes_from_tenant_to_tenant(engine: CountingEngine, owner: Owner) -> None:
    """The same conversation id and the same words under another tenant are read anew; no tenant is one of its own."""
    kept = KeptTapes(engine, 10**9)
    read(engine, kept, Owner(None, "a"), [*SYSTEM, 5])
    assert read(engine, kept, owner, [*SYSTEM, 5]) == 41
    assert read(engine, kept, Owner(None, "a"), [*SYSTEM, 5]) == 1
    assert read(engine, kept, owner, [*SYSTEM, 5]) == 1


def test_a_short_aside_costs_a_conversation_nothing(engine: CountingEngine) -> None:
    """A document that shares the system prompt with a long conversation does not roll its tape back."""
    kept, owner = KeptTapes(engine, 10**9), Owner(None, "a")
    history = [*SYSTEM, *[5] * 100]
    read(engine, kept, owner, history)
    assert read(engine, kept, owner, [*SYSTEM, 6]) == 1
    assert read(engine, kept, owner, [7, 8]) == 2
    assert read(engine, kept, owner, [*history, 5]) == 1


def test_another_conversation_that_holds_much_more_is_copied(engine: CountingEngine) -> None:
    """A branch goes on from where it left, not from its own first turn."""
    kept = KeptTapes(engine, 10**9)
    read(engine, kept, Owner(None, "branch"), SYSTEM[:20])
    read(engine, kept, Owner(None, "trunk"), [*SYSTEM, 5])
    assert read(engine, kept, Owner(None, "branch"), [*SYSTEM, 6]) == 1


def test_the_beginning_of_what_is_too_large_is_kept(engine: CountingEngine) -> None:
    """A conversation that outgrows the bound loses its end, not everything."""
    kept = KeptTapes(engine, 50 * BYTES)
    ids = [*SYSTEM, *[5] * 40]
    assert [read(engine, kept, Owner(None, "a"), ids) for _ in range(3)] == [80, 30, 30]
    assert kept.n_bytes == 50 * BYTES


@pytest.mark.parametrize("max_bytes", [0, BYTES - 1])
def test_without_room_nothing_is_kept(engine: CountingEngine, max_bytes: int) -> None:
    """And every session is closed."""
    kept = KeptTapes(engine, max_bytes)
    assert [read(engine, kept, Owner(), SYSTEM) for _ in range(2)] == [40, 40]
    assert not engine.live


def test_sessions_that_cannot_be_copied_serve_their_own_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others read anew, and what has no conversation is not kept: nobody could use it."""
    monkeypatch.delattr(CountedSession, "fork")
    engine = CountingEngine(hash_engine())
    kept = KeptTapes(engine, 10**9)
    assert [read(engine, kept, Owner(None, name), [*SYSTEM, 5]) for name in ("a", "b", "a", None)] == [41, 41, 1, 41]
    assert len(kept) == len(engine.live) == 2


@pytest.mark.parametrize("error", [EngineError("no"), RuntimeError("no")])
def test_a_copy_that_fails_is_read_anew(engine: CountingEngine, error: Exception) -> None:
    """What it would have been copied from stays as it is."""
    kept = KeptTapes(engine, 10**9)
    read(engine, kept, Owner(None, "a"), [*SYSTEM, 5])
    engine.before_fork = partial(raise_, error)
    assert read(engine, kept, Owner(None, "b"), [*SYSTEM, 6]) == 41
    assert read(engine, kept, Owner(None, "a"), [*SYSTEM, 5, 6]) == 1


def raise_(error: Exception) -> None:
    raise error


def test_a_rollback_that_fails_is_read_anew(engine: CountingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is closed, since nobody knows what it holds."""
    kept, owner = KeptTapes(engine, 10**9), Owner(None, "a")
    read(engine, kept, owner, [*SYSTEM, 5])
    monkeypatch.setattr(CountedSession, "rollback", lambda *_: raise_(RuntimeError("no")))
    assert read(engine, kept, owner, [*SYSTEM, 6]) == 41
    assert [session.is_closed for session in engine.opened] == [True, False]


def test_where_no_session_is_left_for_a_copy_the_tape_itself_goes() -> None:
    """A live request is never refused for what is kept, and still does not read it again."""
    engine = CountingEngine(hash_engine(), max_sessions=1)
    kept = KeptTapes(engine, 10**9)
    read(engine, kept, Owner(None, "a"), [*SYSTEM, 5])
    assert read(engine, kept, Owner(None, "b"), [*SYSTEM, 6]) == 1
    assert read(engine, kept, Owner("x", "c"), [*SYSTEM, 6]) == 41
    assert len(kept) == len(engine.live) == 1
