"""Which server is asked: one that rests only if all do, the same one for the same beginning, none beyond its share."""

from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role
from guardrail.training.recipe.calls import Call
from guardrail.training.recipe.replicas import SPREAD, Replicas, beginning_of

URLS = ("http://a/v1", "http://b/v1", "http://c/v1")


class Clock:
    """Stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        """Return the moment."""
        return self.now


def test_a_server_that_rests_is_left_alone_until_it_is_over() -> None:
    """If all rest, the one whose rest ends first is waited for."""
    clock = Clock()
    replicas = Replicas(URLS, clock)
    first = replicas.choose(b"x")
    replicas.let_rest(first, 5, 60)
    assert replicas.choose(b"x") is not first
    for one, seconds in zip(replicas.all, (30, 20, 40), strict=True):
        replicas.let_rest(one, seconds, 60)
    assert replicas.choose(b"x") is replicas.all[1]
    assert replicas.rest_of(replicas.all[1]) == 20
    clock.now += 41
    assert replicas.choose(b"x") is first


def test_a_server_that_just_failed_a_call_is_avoided_by_it() -> None:
    """Unless there is no other."""
    replicas = Replicas(URLS, Clock())
    first = replicas.choose(b"x")
    assert replicas.choose(b"x", {first}) is not first
    assert replicas.choose(b"x", {*replicas.all}) is first


def test_failures_of_one_moment_count_once() -> None:
    """A server that drops all its connections was down once; a rest is never longer than allowed."""
    clock = Clock()
    replicas = Replicas(URLS[:1], clock)
    (only,) = replicas.all
    for _ in range(8):
        replicas.let_rest(only, 500, 60)
    assert (only.n_failures, replicas.rest_of(only)) == (1, 60)
    clock.now += 61
    replicas.let_rest(only, 1, 60)
    assert only.n_failures == 2


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=60))
def test_no_server_has_more_than_its_share_under_way(beginnings: list[bytes]) -> None:
    """Whatever the calls begin with."""
    replicas = Replicas(URLS, Clock())
    for n, beginning in enumerate(beginnings, 1):
        replicas.choose(beginning).n_under_way += 1
        assert max(one.n_under_way for one in replicas.all) <= SPREAD * n / len(URLS) + 1


def test_the_beginning_ends_with_the_first_turn_of_the_user() -> None:
    """Answers under way of one question share it, questions do not."""
    system, question = Message(Role.SYSTEM, "s"), Message(Role.USER, "q")
    one = beginning_of(Call("m", messages=(system, question, Message(Role.ASSISTANT, "a"))))
    assert one == beginning_of(Call("m", messages=(system, question)))
    assert one != beginning_of(Call("m", messages=(system, Message(Role.USER, "r"))))
    assert beginning_of(Call("m", "completion", prompt="p" * 2000)) == b"p" * 1024
