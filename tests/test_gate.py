"""The gate's laws and states, on scripted verdicts; the same laws over real engines stand in test_laws.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.decision import Failure, Reason
from guardrail.errors import StreamClosed
from guardrail.gate import Gate
from guardrail.policy import DebounceRule, Policy, ReleaseMode, Rules
from guardrail.taxonomy import RESPONSE_LABELS, Category, RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

SAFE, CONTROVERSIAL, UNSAFE = RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE


def verdict(level: RiskLevel, category: Category = Category.VIOLENT) -> Verdict:
    """A clear verdict of one level."""
    risks = tuple(0.9 if risk is level else 0.05 for risk in RESPONSE_LABELS.risks)
    categories = tuple(0.93 if name == category else 0.01 for name in RESPONSE_LABELS.categories)
    return Verdict(RESPONSE_LABELS, risks, categories)


def token(start: int, level: RiskLevel = SAFE, *, end: int | None = None, complete: bool = True) -> TokenVerdict:
    """A verdict on the character at `start`, or on more of them."""
    return TokenVerdict(verdict(level), start, start, start + 1 if end is None else end, complete)


def play(policy: Policy, levels: list[RiskLevel], text: str = "") -> tuple[Gate, str]:
    """Feed one character a verdict and finish."""
    gate = Gate(policy)
    text = text or "abcdefghijklmnopqrstuvwxyz"[: len(levels)]
    released = gate.feed(text) + "".join(gate.judge(token(i, level)) for i, level in enumerate(levels))
    return gate, released + gate.finish()


def policy(**changes: object) -> Policy:
    """A policy whose response rules stop at any risk, changed as asked."""
    rules = {name: changes.pop(name) for name in ("debounce", "debounce_rule", "controversial") if name in changes}
    return replace(Policy(), response=replace(Rules(debounce=2), **rules), **changes)  # type: ignore[arg-type]


levels = st.lists(st.sampled_from([SAFE, SAFE, CONTROVERSIAL, UNSAFE]), max_size=20)


@given(
    levels, st.integers(1, 3), st.sampled_from(DebounceRule), st.sampled_from([ReleaseMode.TOKEN, ReleaseMode.ANSWER])
)
def test_what_is_released_ends_before_the_run_that_stops(
    levels: list[RiskLevel], debounce: int, rule: DebounceRule, release: ReleaseMode
) -> None:
    """Laws 1, 2 and 5 in the holding modes, against a direct reading of the rule."""
    gate, released = play(policy(debounce=debounce, debounce_rule=rule, release=release), levels)
    start = expected_stop(levels, debounce, rule)
    text = "abcdefghijklmnopqrstuvwxyz"[: len(levels)]
    assert gate.stop_offset == start
    whole = text if start is None else text[:start]
    assert released == (whole if release is ReleaseMode.TOKEN or start is None else "")
    assert gate.released_chars == len(released)
    assert gate.leaked_chars == 0


def expected_stop(levels: list[RiskLevel], debounce: int, rule: DebounceRule) -> int | None:
    """First character of the first run that is long enough, by brute force."""
    for end in range(debounce, len(levels) + 1):
        run = levels[end - debounce : end]
        if SAFE not in run and (rule is DebounceRule.NON_SAFE or len(set(run)) == 1):
            return end - debounce
    return None


@given(levels)
def test_optimistic_mode_counts_what_leaked(levels: list[RiskLevel]) -> None:
    """What left beyond the stop's offset is counted, not hidden."""
    gate, released = play(policy(release=ReleaseMode.OPTIMISTIC), levels)
    assert released == "abcdefghijklmnopqrstuvwxyz"[: len(levels)]
    assert gate.leaked_chars == (0 if gate.stop_offset is None else len(levels) - gate.stop_offset)


def test_a_lone_risky_token_that_the_next_clears_is_released() -> None:
    """Debounce 2 as published."""
    assert play(policy(), [SAFE, UNSAFE, SAFE])[1] == "abc"


def test_a_lone_risky_token_at_the_end_is_released() -> None:
    """The published rule needs a pair."""
    assert play(policy(), [SAFE, UNSAFE])[1] == "ab"


def test_a_mixed_pair_stops_under_the_report_rule_only() -> None:
    """Unsafe then Controversial fires for non-safe pairs and not for pairs of one level."""
    assert play(policy(), [UNSAFE, CONTROVERSIAL])[0].is_stopped
    assert not play(policy(debounce_rule=DebounceRule.SAME_LEVEL), [UNSAFE, CONTROVERSIAL])[0].is_stopped


def test_the_category_of_a_stop_is_the_last_tokens() -> None:
    """As published: the second token of the pair names the category."""
    gate = Gate(policy())
    gate.feed("ab")
    gate.judge(replace(token(0, UNSAFE), verdict=verdict(UNSAFE, Category.PII)))
    gate.judge(replace(token(1, UNSAFE), verdict=verdict(UNSAFE, Category.COPYRIGHT)))
    assert gate.finding is not None
    assert gate.finding.category == Category.COPYRIGHT


def test_a_character_of_several_tokens_is_released_by_its_last_one() -> None:
    """An incomplete token clears what stands before its character, not the character."""
    gate = Gate(policy(debounce=1))
    gate.feed("a😀")
    assert gate.judge(token(0)) == "a"
    assert gate.judge(token(1, complete=False)) == ""
    assert gate.judge(token(1, UNSAFE)) == ""
    assert (gate.stop_offset, gate.is_stopped) == (1, True)


def test_nothing_follows_a_stop() -> None:
    """Law 1: text and verdicts after a stop release nothing, and finish adds nothing."""
    gate = Gate(policy(debounce=1))
    gate.feed("ab")
    gate.judge(token(0, UNSAFE))
    assert [gate.feed("c"), gate.judge(token(1)), gate.judge(token(2)), gate.finish()] == ["", "", "", ""]
    assert gate.fed_chars == 3


def test_flagged_text_flows_and_the_finding_is_kept() -> None:
    """An action of flag marks and releases."""
    rules = Rules(controversial=Action.FLAG, debounce=1)
    gate, released = play(replace(Policy(), response=rules), [SAFE, CONTROVERSIAL, SAFE])
    assert released == "abc"
    assert gate.would_action is Action.FLAG
    assert gate.finding is not None
    assert gate.finding.start == 1


def test_the_gravest_finding_wins_and_the_first_of_its_kind_stays() -> None:
    """A flag gives way to a stop; a later flag does not replace an earlier one."""
    rules = Rules(controversial=Action.FLAG, debounce=1)
    gate, _ = play(replace(Policy(), response=rules), [CONTROVERSIAL, CONTROVERSIAL, UNSAFE])
    assert gate.finding is not None
    assert (gate.finding.action, gate.finding.start) == (Action.STOP, 2)


def test_an_allowed_level_still_names_the_risk() -> None:
    """Loose reading lets Controversial pass, and the finding says what the model saw."""
    rules = Rules(controversial=Action.ALLOW, debounce=2)
    gate, released = play(replace(Policy(), response=rules), [CONTROVERSIAL, CONTROVERSIAL])
    assert released == "ab"
    assert gate.finding is not None
    assert (gate.finding.action, gate.finding.risk) == (Action.ALLOW, CONTROVERSIAL)


def test_shadow_says_where_it_would_have_stopped_and_lets_go() -> None:
    """Never stopping is not never judging."""
    gate, released = play(policy(enforce=False), [SAFE, UNSAFE, UNSAFE, SAFE, UNSAFE, UNSAFE])
    assert released == "abcdef"
    assert (gate.stop_offset, gate.is_stopped, gate.would_action) == (1, False, Action.STOP)


def test_a_failure_closes_the_gate_at_the_last_judged_character() -> None:
    """Fail closed: what was cleared stays released, nothing else follows."""
    gate = Gate(policy())
    gate.feed("abc")
    assert gate.judge(token(0)) == "a"
    assert gate.fail(Reason.FAILURE, Failure("EngineError", "broken"), Action.STOP) == ""
    assert (gate.stop_offset, gate.feed("d"), gate.finish()) == (1, "", "")


@pytest.mark.parametrize("action", [Action.ALLOW, Action.FLAG])
def test_a_failure_that_is_let_pass_opens_the_gate_and_is_counted(action: Action) -> None:
    """Fail open releases the rest unjudged, and says how much."""
    gate = Gate(policy())
    gate.feed("abc")
    gate.judge(token(0))
    assert gate.fail(Reason.FAILURE, None, action) == "bc"
    assert gate.feed("d") == "d"
    assert (gate.judge(token(1, UNSAFE)), gate.finish()) == ("", "")
    assert (gate.unjudged_chars, gate.would_action, gate.is_settled) == (3, action, True)


def test_a_second_failure_changes_nothing() -> None:
    """The first cause is the recorded one."""
    gate = Gate(policy())
    gate.fail(Reason.FAILURE, None, Action.STOP)
    gate.fail(Reason.TOO_LONG, None, Action.STOP)
    assert gate.cause is Reason.FAILURE


def test_a_failure_in_answer_mode_that_is_let_pass_releases_at_the_end() -> None:
    """Answer mode never releases before the end, failure or not."""
    gate = Gate(policy(release=ReleaseMode.ANSWER))
    gate.feed("ab")
    assert gate.fail(Reason.FAILURE, None, Action.ALLOW) == ""
    assert gate.feed("c") == ""
    assert gate.finish() == "abc"


def test_a_failure_in_shadow_mode_never_stops() -> None:
    """Shadow records that it would have failed closed."""
    gate = Gate(policy(enforce=False))
    gate.feed("ab")
    assert gate.fail(Reason.FAILURE, None, Action.STOP) == "ab"
    assert (gate.would_action, gate.is_stopped, gate.stop_offset) == (Action.STOP, False, 0)


def test_a_failure_after_a_shadow_stop_keeps_the_stop_offset() -> None:
    """The first would-have-stopped is the one that counts."""
    gate = Gate(policy(enforce=False, debounce=1))
    gate.feed("abc")
    gate.judge(token(0))
    gate.judge(token(1, UNSAFE))
    gate.fail(Reason.FAILURE, None, Action.STOP)
    assert gate.stop_offset == 1


def test_a_mark_flags_without_releasing() -> None:
    """Unread text is never released by a mark."""
    gate = Gate(policy())
    gate.feed("abc")
    gate.mark(Reason.HELD)
    gate.mark(Reason.UNREADABLE)
    assert (gate.released_chars, gate.would_action, gate.cause) == (0, Action.FLAG, Reason.HELD)


def test_an_abandoned_text_keeps_what_was_held() -> None:
    """Law 5 without a finish: nothing held leaves, and feeding on is an error."""
    gate = Gate(policy())
    gate.feed("abc")
    gate.judge(token(0))
    gate.abandon()
    assert (gate.finish(), gate.released_chars, gate.cause) == ("", 1, Reason.ABANDONED)
    with pytest.raises(StreamClosed):
        gate.feed("d")


def test_feeding_after_finish_is_an_error_and_a_second_finish_is_not() -> None:
    """As settled: feed raises StreamClosed, finish returns nothing."""
    gate = Gate(policy())
    gate.feed("a")
    assert (gate.finish(), gate.finish()) == ("a", "")
    with pytest.raises(StreamClosed):
        gate.feed("b")
