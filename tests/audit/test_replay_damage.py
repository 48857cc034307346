"""Damaged records are told apart before anything is made of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardrail.audit.replay import MAX_CHARS, Gap, Recorded, Replayed, replay, unpacked
from guardrail.encoding import GuardTokenizer
from guardrail.guard import Guard
from guardrail.policy_file import load_policy
from guardrail.records import Positions, Privacy, Record
from guardrail.testing import HashEngine

TEXT = "some words and more words, quite a few of them"


@given(st.binary(max_size=400), st.integers(-(2**70), 2**70), st.integers(0, 400))
def test_damaged_records_are_told_apart(tokenizer: GuardTokenizer, junk: bytes, n_chars: int, at: int) -> None:
    """Whatever the bytes and numbers are, nothing is raised, and nothing large is made."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.3)
    record = Record.of(Guard(engine, tokenizer).check_response("hi", TEXT), privacy=Privacy())
    assert record.positions is not None
    spliced = record.positions[:at] + junk + record.positions[at + len(junk) :]
    for changes in (
        {"positions": junk}, {"positions": spliced}, {"released_chars": n_chars}, {"withheld_chars": n_chars},
    ):  # fmt: skip
        found = unpacked(record.model_copy(update=changes))
        if isinstance(found, Recorded):
            assert isinstance(replay(found, load_policy("strict")), Replayed)
            assert found.n_chars <= MAX_CHARS
        else:
            assert found is Gap.DAMAGED


def test_a_probability_that_is_none_is_damage(tokenizer: GuardTokenizer) -> None:
    """Not a number would compare as nothing does."""
    decision = Guard(HashEngine(vocab_size=tokenizer.vocab_size), tokenizer).check_response("hi", TEXT)
    positions = Positions.of(decision.tokens)
    positions.risk[0] = np.nan
    record = Record.of(decision).model_copy(update={"positions": positions.to_bytes()})
    assert unpacked(record) is Gap.DAMAGED
