"""Texts judged as answers: the policy's rule, read strictly, with failures that count as unsafe."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Action, Message, Policy, Role
from guardrail.engines.base import Feed, Logits
from guardrail.errors import ConfigurationError, EngineTimeout
from guardrail.policy import Rules
from guardrail.testing import EngineAround, FailingEngine, raising
from guardrail.training.rewards.judging import Judged, TextJudge, reward_policy
from tests.training.rewards.judging_parts import PROMPT, marker_engine, marker_guard

SAFE, UNSAFE = Judged(is_safe=True), Judged(is_safe=False)


class Counting(EngineAround):
    """Counts the tokens it reads."""

    n_tokens = 0

    def step(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Step and count."""
        self.n_tokens += sum(len(feed.ids) for feed in feeds)
        return super().step(feeds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mix flour and water.", SAFE),
        ("", SAFE),
        ("Mix ☠ flour and water.", UNSAFE),
        ("Mix ☢ flour and water.", UNSAFE),
    ],
)
@pytest.mark.parametrize("policy", ["balanced", "strict", "loose", "shadow"])
def test_controversial_is_unsafe_under_any_policy(text: str, said: Judged, policy: str) -> None:
    """Also under those that let it pass, or only watch."""
    assert TextJudge(marker_guard(), policy=policy).judge([(PROMPT, text)]) == [said]


@pytest.mark.parametrize(("policy", "is_safe"), [("balanced", True), ("strict", False)])
def test_one_risky_token_of_many_is_the_policys_to_judge(policy: str, is_safe: bool) -> None:
    """A pair is the published rule; a token is that of `strict`."""
    [found] = TextJudge(marker_guard(), policy=policy).judge([(PROMPT, "Mix flour and water. ☠")])
    assert found.is_safe is is_safe


def test_a_text_shorter_than_the_debounce_is_judged_by_its_tokens() -> None:
    """Else one-word answers would never be unsafe, and a model would learn to give them."""
    guard = marker_guard()
    prompt = (Message(Role.USER, "Say it ☠"),)  # all behind the marker is risky
    assert len(guard.judge_response(prompt, "a")) == 1
    assert not guard.check_response(prompt, "a").stopped
    judge = TextJudge(guard)
    assert judge.judge([(prompt, "a")]) == [UNSAFE]
    assert judge.judge([(PROMPT, "a")]) == [SAFE]


TEXTS = st.text("ab ☠☢é\n", max_size=30)


@given(st.lists(st.tuples(st.just(PROMPT), TEXTS), max_size=8), st.integers(1, 5))
def test_a_batch_says_what_one_by_one_say(texts: list[tuple[tuple[Message, ...], str]], at_once: int) -> None:
    """However many are under way, and with repeats."""
    judge = TextJudge(marker_guard(), at_once=at_once)
    assert judge.judge(texts) == [judge.judge([text])[0] for text in texts]


def test_a_text_that_stands_twice_is_read_once() -> None:
    """Eight like answers cost one."""
    engine = Counting(marker_engine())
    judge = TextJudge(marker_guard(engine))
    judge.judge([(PROMPT, "Mix flour and water.")])
    once = engine.n_tokens
    assert judge.judge([(PROMPT, "Add salt and water.")] * 8) == [SAFE] * 8
    assert engine.n_tokens - once <= once


def test_a_failure_counts_as_unsafe_and_is_named() -> None:
    """The gate fails closed, whatever the policy says of failures."""
    broken = FailingEngine(marker_engine(), at_step=0, breakage=raising(EngineTimeout("slow")))
    found = TextJudge(marker_guard(broken)).judge([(PROMPT, "Mix it."), (PROMPT, "")])
    assert found == [Judged(is_safe=False, failure="EngineTimeout"), SAFE]


def test_a_policy_that_lets_unsafe_answers_pass_is_refused() -> None:
    """It would reward everything."""
    open_one = Policy(name="open", response=Rules(controversial=Action.ALLOW, unsafe=Action.ALLOW))
    with pytest.raises(ConfigurationError, match=r"open lets Unsafe answers pass .*unsafe"):
        reward_policy(open_one)


def test_identity_names_model_and_policy() -> None:
    """For the run folder."""
    identity = TextJudge(marker_guard()).identity
    assert (identity["model"], identity["policy"]) == ("fake", "balanced")
