"""Streaming figures by hand, and through the guard."""

from dataclasses import replace
from typing import Any

import pytest

from guardrail.conversation import Message, Role
from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.judged import Judged
from guardrail.evaluation.judges import GuardJudge, Judgement
from guardrail.evaluation.streaming import streaming
from guardrail.guard import Guard
from guardrail.policy import ReleaseMode
from guardrail.policy_file import load_policy
from guardrail.testing import MarkerEngine
from tests.evaluation.judged_rows import judged, judgement, row, trace


def answers(risks: str, judgements: list[Judgement], **fields: Any) -> Judged:
    """Answers with judgements; risks are letters."""
    return judged([row(one, str(i), answer=True, **fields) for i, one in enumerate(risks)], judgements)


def test_prompts_and_whole_answers_have_no_streaming_figures() -> None:
    """Nothing was read token by token."""
    assert streaming(answers("us", [judgement("u"), judgement("s")])) is None


def test_leaks_count_risky_characters_that_left() -> None:
    """Stopped before the onset, behind it with 3 risky characters out, never; a safe answer and one without onset."""
    said = [
        judgement("u", stop_token=3, trace=trace("s" * 20, onset_char=10, released_chars=8)),
        judgement("u", stop_token=9, trace=trace("s" * 20, onset_char=10, released_chars=13)),
        judgement("s", trace=trace("s" * 20, onset_char=10)),
        judgement("s", trace=trace("s" * 20)),
        judgement("s", trace=trace("s" * 20)),
    ]
    found = streaming(answers("uuusu", said))
    assert found is not None
    assert found.leaks is not None
    assert (found.leaks.n, found.leaks.n_clean, found.leaks.n_late, found.leaks.n_missed) == (3, 1, 1, 1)
    assert (found.leaks.late_chars, found.leaks.median_late_chars, found.leaks.missed_chars) == (3, 3.0, 10)


def test_false_alarms_are_related_to_the_tokens_that_were_read() -> None:
    """20 tokens and no stop, 5 tokens up to one: 1 in 25; harmful answers do not count."""
    said = [judgement("s", trace=trace("s" * 20)), judgement("u", stop_token=4, trace=trace("s" * 20))]
    found = streaming(answers("ssu", [*said, said[1]]))
    assert found is not None
    assert found.alarms is not None
    assert (found.alarms.n_tokens, found.alarms.per_row.value) == (25, 0.5)
    assert found.alarms.per_1000_tokens.value == pytest.approx(40.0)
    assert found.alarms.per_1000_tokens.low == 0.0


def test_the_whole_answer_is_set_beside_the_stream() -> None:
    """Both, stream only, whole only, neither; at the end one of two harmful answers is found."""
    said = [judgement(one, trace=trace(f"s{end}")) for one, end in (("u", "u"), ("c", "s"), ("s", "c"), ("s", "s"))]
    found = streaming(answers("uuss", said))
    assert found is not None
    whole = found.whole
    assert (whole.n_both, whole.n_stream, whole.n_whole, whole.n_neither) == (1, 1, 1, 1)
    assert whole.agreement.value == 0.5
    assert (whole.strict.recall.value, whole.loose.precision.value) == (0.5, 1.0)


def test_bins_of_the_policys_stop_and_of_the_published_rule() -> None:
    """The policy stops at token 8, the rule fires at 5, the span is 4 to 6; from its first token the stop is late."""
    said = [judgement("u", stop_token=8, onset_token=4, trace=trace("ssssuusss", onset_char=4, end_token=6))]
    found = streaming(answers("u", said))
    assert found is not None
    assert found.policy_bins is not None
    assert found.rule_bins is not None
    assert found.onset_bins is not None
    assert (found.policy_bins.to_32, found.rule_bins.hit, found.onset_bins.to_32) == (1, 1, 1)


def test_where_only_the_beginning_is_known_there_is_no_span() -> None:
    """The stricter figure remains."""
    found = streaming(answers("u", [judgement("u", stop_token=4, onset_token=4, trace=trace("ssss", onset_char=2))]))
    assert found is not None
    assert (found.policy_bins, found.rule_bins) == (None, None)
    assert found.onset_bins is not None
    assert found.onset_bins.hit == 1


@pytest.mark.parametrize("release", ["token", "answer", "optimistic"])
def test_what_is_released_is_what_a_stream_releases(release: str, tokenizer: GuardTokenizer) -> None:
    """In the holding modes to the character; where text leaves at once, a stream may know a token a little later."""
    policy = replace(load_policy("strict"), release=ReleaseMode(release))
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer, policy=policy)
    text = "all is well and then ☠ comes and more of it"
    messages = (Message(Role.USER, "hi"), Message(Role.ASSISTANT, text))
    asked = row("u", answer=True, messages=messages, unsafe_start_char=text.index("☠"))
    (said,) = GuardJudge(guard).judge([asked])
    with guard.open_stream("hi") as stream:
        for character in text:
            stream.feed(character)
        stream.finish()
    assert said.trace is not None
    if release == "optimistic":
        assert text.index("☠") < said.trace.released_chars <= stream.released_chars
    else:
        assert said.trace.released_chars == stream.released_chars <= text.index("☠")


def test_shadow_is_measured_as_if_it_enforced(tokenizer: GuardTokenizer) -> None:
    """What would have been released."""
    guard = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    messages = (Message(Role.USER, "hi"), Message(Role.ASSISTANT, "all is well and then ☠ comes and more of it"))
    asked = row("u", answer=True, messages=messages, unsafe_start_char=5)
    plain, shadow = GuardJudge(guard).judge_under(asked, [replace(guard.policy, enforce=e) for e in (True, False)])
    assert plain == shadow
    assert plain.stop_token is not None


def test_bins_count_answers_to_one_question_as_one() -> None:
    """Twenty answers to one question and one to another."""
    said = [judgement("u", stop_token=5, onset_token=4, trace=trace("s" * 9, onset_char=4, end_token=6))] * 20
    missed = judgement("s", onset_token=4, trace=trace("s" * 9, onset_char=4, end_token=6))
    asked = [row("u", answer=True)] * 20 + [row("u", "else", answer=True)]
    found = [streaming(judged(asked, [*said, missed], is_clustered=shared)) for shared in (True, False)]
    for name in ("policy_bins", "rule_bins", "onset_bins"):
        shared, alone = (getattr(one, name).first_128 for one in found)
        assert shared.value == alone.value
        assert shared.high - shared.low > alone.high - alone.low
