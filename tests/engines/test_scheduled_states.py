"""Whatever callers do in whatever order: no session leaks, no cross-talk, no verdict but that of a session alone.

The machine submits, lets the model run one call at a time, withdraws, closes, forks, rolls back and overloads, and
compares each answer with that of the same ids in an engine of its own.
"""

import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from guardrail.engines.base import Engine, Feed, Logits
from guardrail.engines.onnx import OnnxEngine
from guardrail.engines.requests import ScheduledSession, ScheduledTicket
from guardrail.engines.runtime import Runtime
from guardrail.engines.scheduled import ScheduledEngine
from guardrail.errors import EngineError, EngineOverloaded
from guardrail.onnx_export import export_checkpoint
from guardrail.testing import HashEngine
from tests.conftest import open_onnx
from tests.engines.gated import RAISES, SPOILS, GatedEngine
from tests.engines.test_contract import OUTPUTS

MOST_WAITING = 4
SLOTS = 6
LIVE = st.integers(0, 7)
ROWS = st.lists(st.sampled_from([1, 2, 3, 5, RAISES, SPOILS, 101, 202]), min_size=1, max_size=30) | st.lists(
    st.integers(20, 400), min_size=1, max_size=30
)


@dataclass
class Known:
    """What the machine knows of a session."""

    session: ScheduledSession
    ids: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    ticket: ScheduledTicket | None = None
    is_withdrawn: bool = False


class Machine(RuleBasedStateMachine):
    """Drives one engine; `inner` and `alone` are set by the tests."""

    inner: Engine
    alone: Engine

    @initialize()
    def begin(self) -> None:
        self.gated = GatedEngine(self.inner)
        self.engine = ScheduledEngine(self.gated, Runtime(step_tokens=8, max_waiting=MOST_WAITING))
        self.known: list[Known] = []

    @rule()
    def open(self) -> None:
        try:
            self.known.append(Known(self.engine.open()))
        except EngineOverloaded:
            assert isinstance(self.inner, OnnxEngine)
            assert len(self.known) >= SLOTS

    @rule(number=LIVE, row=ROWS)
    def submit(self, number: int, row: list[int]) -> None:
        one = self.at(number)
        if not one:
            return
        feed = [Feed(one.session, row)]
        if one.ticket:
            with pytest.raises(EngineError, match="still being read"):
                self.engine.submit(feed)
        elif self.engine.n_waiting >= MOST_WAITING:
            with pytest.raises(EngineOverloaded):
                self.engine.submit(feed)
        else:
            one.row, one.ticket, one.is_withdrawn = row, self.engine.submit(feed), False
            self.gated.wait_for_step()

    @precondition(lambda self: any(one.ticket for one in self.known))
    @rule()
    def let_run(self) -> None:
        n_before = len(self.gated.batches)
        self.gated.let_run()
        assert len(self.gated.batches) > n_before
        self.settle()

    @rule(number=LIVE, row=st.lists(st.integers(20, 400), min_size=1, max_size=30))
    def submit_and_run(self, number: int, row: list[int]) -> None:
        self.submit(number, row)
        one = self.at(number)
        while one and one.ticket:
            self.let_run()

    @rule(number=LIVE)
    def withdraw(self, number: int) -> None:
        one = self.at(number)
        if one and one.ticket:
            one.ticket.withdraw()
            one.is_withdrawn = True
            self.settle()

    @rule(number=LIVE)
    def close(self, number: int) -> None:
        one = self.at(number)
        if one:
            one.session.close()
            self.known.remove(one)

    @rule(number=LIVE, share=st.floats(0, 1))
    def roll_back(self, number: int, share: float) -> None:
        one = self.at(number)
        if one and not one.ticket:
            one.ids = one.ids[: int(share * len(one.ids))]
            one.session.rollback(len(one.ids))

    @rule(number=LIVE, share=st.floats(0, 1))
    def fork(self, number: int, share: float) -> None:
        one = self.at(number)
        if not one or one.ticket:
            return
        ids = one.ids[: int(share * len(one.ids))]
        try:
            self.known.append(Known(one.session.fork(len(ids)), ids))
        except EngineOverloaded:
            assert isinstance(self.inner, OnnxEngine)

    @invariant()
    def lengths_are_those_of_finished_work(self) -> None:
        for one in getattr(self, "known", ()):
            if not one.ticket:
                assert one.session.length == len(one.ids)

    def teardown(self) -> None:
        if not hasattr(self, "known"):
            return
        self.gated.open_up()
        for one in self.known:
            if one.ticket:
                one.ticket.future.exception(20)
        self.look()
        for one in self.known:
            one.session.close()
        if isinstance(self.inner, OnnxEngine):
            assert self.inner.n_free == SLOTS
        else:
            assert all(session.is_closed for session in self.gated.opened)  # type: ignore[attr-defined]  # fake sessions say so

    def at(self, number: int) -> Known | None:
        return self.known[number % len(self.known)] if self.known else None

    def settle(self) -> None:
        """Wait until the worker is idle or in its next call, then take in what has ended."""
        while not self.gated.is_waiting and self.engine._is_working:
            time.sleep(0.0005)
        self.look()

    def look(self) -> None:
        """Take in what has ended."""
        for one in self.known:
            ticket = one.ticket
            if ticket is None or not ticket.future.done():
                continue
            error = ticket.future.exception()
            assert error is None or one.is_withdrawn or {RAISES, SPOILS} & {*one.row}
            assert isinstance(error, CancelledError | EngineError | None)
            if error is None:
                assert not {RAISES, SPOILS} & {*one.row}
                self.compare(one, ticket.future.result()[0])
                one.ids += one.row
            one.ticket = None

    def compare(self, one: Known, logits: Logits) -> None:
        session = self.alone.open()
        (expected,) = self.alone.step([Feed(session, one.ids + one.row)])
        session.close()
        for name in OUTPUTS:
            np.testing.assert_allclose(getattr(logits, name), getattr(expected, name)[len(one.ids) :], atol=1e-4)


def run(inner: Engine, alone: Engine, n_examples: int) -> None:
    machine = type("Bound", (Machine,), {"inner": inner, "alone": alone})
    run_state_machine_as_test(machine, settings=settings(max_examples=n_examples, stateful_step_count=40))


def test_no_order_of_calls_changes_a_verdict_or_leaks_a_session() -> None:
    """Over the fake engine, whose verdicts depend on every id before them."""
    run(HashEngine(vocab_size=1000), HashEngine(vocab_size=1000), 60)


@pytest.mark.slow
def test_no_order_of_calls_changes_a_verdict_or_leaks_a_slot(
    engines: dict[str, Engine], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Over the ONNX engine with six slots: logits are those of another engine's fresh session, and slots come back."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="fp32")
    run(open_onnx(folder, max_sessions=SLOTS), engines["onnx-fp32"], 40)
