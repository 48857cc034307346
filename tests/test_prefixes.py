"""The index finds what begins most alike, and never looks over a tenant's wall."""

from hypothesis import given
from hypothesis import strategies as st

from guardrail.prefixes import Kept, Owner, Prefixes
from guardrail.tape import Tape, common_prefix
from guardrail.testing import FakeSession, HashEngine

ENGINE = HashEngine(vocab_size=10)

ids = st.builds(
    lambda head, tail: head + tail, st.sampled_from([[], [1] * 5, [1, 2, 1, 2]]), st.lists(st.integers(0, 2))
)
owners = st.builds(Owner, st.sampled_from([None, "a", "b"]), st.sampled_from([None, "c", "d"]))
tapes = st.lists(
    st.builds(lambda held, owner: Kept(Tape(ENGINE, FakeSession(), held), owner), ids, owners), max_size=12
)


def indexed(kept: list[Kept]) -> Prefixes:
    """An index of tapes."""
    prefixes = Prefixes()
    for one in kept:
        prefixes.add(one)
    return prefixes


def length(kept: Kept, wanted: list[int]) -> int:
    """How much of what is wanted a tape holds."""
    return common_prefix(kept.tape.ids, wanted)


@given(kept=tapes, owner=owners, wanted=ids)
def test_what_is_found_begins_as_much_alike_as_anything_of_the_tenant(
    kept: list[Kept], owner: Owner, wanted: list[int]
) -> None:
    """As a look at every tape would find it; among the conversation's own tapes too, if it has an id."""
    prefixes = indexed(kept)
    own = [one for one in kept if one.owner == owner and owner.conversation_id is not None]
    tenants = [one for one in kept if one.owner.tenant == owner.tenant]
    for among, match in ((own, prefixes.of_conversation(owner, wanted)), (tenants, prefixes.of_tenant(owner, wanted))):
        assert (match is None) == (not among)
        if match:
            assert match.kept in among
            assert match.n_common == length(match.kept, wanted) == max(length(one, wanted) for one in among)


@given(kept=tapes, owner=owners, wanted=ids)
def test_contained_is_every_tape_of_the_tenant_that_is_a_beginning(
    kept: list[Kept], owner: Owner, wanted: list[int]
) -> None:
    """The longest first."""
    found = indexed(kept).contained(owner, wanted)
    expected = [one for one in kept if one.owner.tenant == owner.tenant and length(one, wanted) == len(one.tape.ids)]
    assert set(found) == set(expected)
    assert [one.tape.length for one in found] == sorted((one.tape.length for one in expected), reverse=True)


@given(kept=tapes, wanted=ids, gone=st.sets(st.integers(0, 11)))
def test_a_removed_tape_is_found_no_more(kept: list[Kept], wanted: list[int], gone: set[int]) -> None:
    """The index is as if it had never been there."""
    prefixes = indexed(kept)
    for i, one in enumerate(kept):
        if i in gone:
            prefixes.remove(one)
    left = [one for i, one in enumerate(kept) if i not in gone]
    for one in kept:
        match, expected = prefixes.of_tenant(one.owner, wanted), indexed(left).of_tenant(one.owner, wanted)
        assert (match and match.n_common) == (expected and expected.n_common)
